// SPDX-License-Identifier: Apache-2.0
// RoPE rotates pairs of channels.
// expect: qwq::layer::attention requires an even HeadDim
#include <qwq/layer/layers.hpp>

using namespace qwq;

static_assert(sizeof(layer::attention<128, 4, 2, 64, 512>) > 0);
#ifdef FAIL
static_assert(sizeof(layer::attention<128, 4, 2, 63, 512>) > 0);
#endif
