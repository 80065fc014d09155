// SPDX-License-Identifier: Apache-2.0
// A part more than the library's models have: an entry of the list is all that it takes.
#include <doctest/doctest.h>

#include "support.hpp"

using namespace qwq;
using namespace qwq::test;

namespace {

/// The small model with embeddings that are multiplied by `Percent` / 100, by a part of its own.
template <int Percent>
struct scaled : tinyqwen {
  template <std::int64_t Rows>
  struct scale {
    static constexpr std::string_view prefix = "model.";
    static constexpr auto value = [] {
      graph<> g;
      builder b{g};
      const expr h = leaf(b, op::input, "hidden_states", hidden_type(Rows));
      b.output("hidden_states", (h * leaf(b, op::splat, "factor", {dtype::f32, {1}}, Percent / 100.0)).id);
      return g;
    }();
  };
  template <std::int64_t Rows, dtype Kv>
  using part_types = type_list<embedding<Rows>, decoder_layer<Rows, Kv>, final_norm<Rows>, lm_head<Rows>, scale<Rows>>;
  static constexpr auto parts = join_parts(single_part(stage::embedding, 0), single_part(stage::embedding, 4),
                                           layer_parts<config.num_hidden_layers>([](std::int64_t) { return 1; }),
                                           single_part(stage::norm, 2), single_part(stage::head, 3));
};
static_assert(parameter_count<scaled<100>>() == parameter_count<tinyqwen>());
static_assert(program<scaled<100>, onnx_genai, w4_g32, 1>::kinds::size == 5);

template <class Model>
std::vector<float> logits(const checkpoint& weights) {
  const bound_model<Model> bound(weights, {.positions = 96});
  session<Model> s(bound);
  std::vector<std::int32_t> ids(80);
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int32_t>(7 * i % 1000);
  s.prefill(ids);
  const auto x = s.decode(5);
  return {x.begin(), x.end()};
}

}  // namespace

TEST_CASE("sessions run a further part in its place") {
  const checkpoint weights = checkpoint::open(data / "tinyqwen");
  const std::vector<float> expected = logits<tinyqwen>(weights);
  CHECK(logits<scaled<100>>(weights) == expected);
  CHECK(logits<scaled<150>>(weights) != expected);
}
