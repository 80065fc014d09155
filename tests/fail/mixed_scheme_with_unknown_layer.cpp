// SPDX-License-Identifier: Apache-2.0
// A mixed scheme with an exception for a layer that the model does not have: the message says the number of layers.
// expect: scheme_names_a_layer_that_the_model_has_not
// expect: qwq::in_layers<qwq::w8_g32, 2>
#include <qwq/compile/program.hpp>
#include <qwq/model/qwen3.hpp>

using namespace qwq;

using model = qwen3<qwen3_config{64, 32, 48, 2, 4, 2, 16, 128, 1e-6, 1e6, true}>;
template <std::int64_t Layer>
using scheme = mixed<w4_g32, in_layers<w8_g32, Layer>>;

static_assert(program<model, onnx_genai, scheme<1>, 1>::kinds::size > 0);
#ifdef FAIL
static_assert(program<model, onnx_genai, scheme<2>, 1>::kinds::size > 0);
#endif
