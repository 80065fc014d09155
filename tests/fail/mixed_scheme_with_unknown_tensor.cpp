// SPDX-License-Identifier: Apache-2.0
// A mixed scheme with an exception for a tensor that the model does not have: the message says the name.
// expect: no_weight_of_the_model_ends_in
// expect: mlp.dawn_proj.weight
#include <qwq/compile/program.hpp>
#include <qwq/model/qwen3.hpp>

using namespace qwq;

using model = qwen3<qwen3_config{64, 32, 48, 2, 4, 2, 16, 128, 1e-6, 1e6, true}>;
template <fixed_string Name>
struct scheme : mixed<w4_g32, in_tensors<w8_g32, Name>> {
  static constexpr std::string_view name = "scheme";
};

static_assert(program<model, onnx_genai, scheme<"mlp.down_proj.weight">, 1>::kinds::size > 0);
#ifdef FAIL
static_assert(program<model, onnx_genai, scheme<"mlp.dawn_proj.weight">, 1>::kinds::size > 0);
#endif
