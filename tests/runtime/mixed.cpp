// SPDX-License-Identifier: Apache-2.0
// Mixed precision: every layer and every tensor has the type that its scheme says.
#include <doctest/doctest.h>

#include "qwq/quant/mixed.hpp"
#include "qwq/runtime/calibrate.hpp"
#include "support.hpp"

using namespace qwq;
using namespace qwq::test;

namespace {

struct careful : mixed<w4a16_g32, in_tensors<w8a16, "mlp.down_proj.weight">, in_tensors<f32, "self_attn.o_proj.weight">,
                       in_layers<w8a16, 0, -1>, in_layers<f32, 2>> {
  static constexpr std::string_view name = "careful";
};
using parts = program<tinyqwen, onnx_winml, careful, 1>;

template <class Layer>
constexpr int weights_of(dtype type) {
  int n = 0;
  for (const slot& s : Layer::slots) n += s.kind == slot_kind::weight && s.format.element == type ? 1 : 0;
  return n;
}
static_assert(layer_schemes<careful>::size == 3);
/// The kind of layer `I`, which comes after the embedding.
template <std::size_t I>
using nth_layer = qwq::detail::type_at<parts::kind_of(I + 1), parts::kinds>;
static_assert(weights_of<nth_layer<1>>(dtype::i4) == 5 && weights_of<nth_layer<1>>(dtype::i8) == 1);
static_assert(weights_of<nth_layer<0>>(dtype::i8) == 7);
static_assert(nth_layer<2>::slots.empty());
static_assert(parts::kind_of(1) == parts::kind_of(6) && parts::kind_of(2) == parts::kind_of(4) &&
              parts::kind_of(1) != parts::kind_of(2) && parts::kind_of(3) != parts::kind_of(2));
static_assert(parts::kinds::size == 6);  // embedding, three kinds of layers, norm and head

template <class Scheme>
against_float fidelity(const checkpoint& weights) {
  const auto tuned = calibrate<tinyqwen, onnx_winml, Scheme>(weights, texts("calib.jsonl", 8), {.decode_steps = 8},
                                                             [](std::size_t) {});
  const bound_model<tinyqwen> floats(weights, {.positions = 320});
  const bound_model<tinyqwen, onnx_winml, Scheme> codes(weights, {.positions = 320});
  session<tinyqwen> reference(floats);
  session<tinyqwen, onnx_winml, Scheme> quantized(codes, &tuned);
  return follow(reference, quantized, prompts("tinyqwen"));
}

}  // namespace

TEST_CASE("a mixed scheme is closer to the float model than its base, and not as close as its exceptions") {
  const checkpoint weights = checkpoint::open(data / "tinyqwen");
  const against_float four = fidelity<w4a16_g32>(weights), both = fidelity<careful>(weights),
                      eight = fidelity<w8a16>(weights);
  CHECK(both.kl < four.kl);
  CHECK(both.kl > eight.kl);
  CHECK(both.continued == 12);
}

TEST_CASE("layers in float have no parameters") {
  const checkpoint weights = checkpoint::open(data / "tinyqwen");
  const auto tuned = calibrate<tinyqwen, onnx_winml, careful>(weights, texts("calib.jsonl", 1), {.decode_steps = 1},
                                                              [](std::size_t) {});
  REQUIRE(tuned.decode.size() == 9);
  CHECK(tuned.decode[3].empty());
  CHECK(tuned.decode[1].size() == nth_layer<0>::slots.size());
  CHECK(tuned.decode[2].size() == nth_layer<1>::slots.size());
}
