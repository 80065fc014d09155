// SPDX-License-Identifier: Apache-2.0
// RMS_NORM asked of TFLite, which has no such operator.
// expect: qwq::tflite has no RMS_NORM
#include <qwq/targets/circle.hpp>

using namespace qwq;

static_assert(circle<circle_options{.fused_norm = true}>::supports(op::rms_norm));
static_assert(!tflite<>::supports(op::rms_norm));
#ifdef FAIL
static_assert(tflite<circle_options{.fused_norm = true}>::supports(op::rms_norm));
#endif
