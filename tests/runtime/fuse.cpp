// SPDX-License-Identifier: Apache-2.0
// Fused sessions compute what unfused ones do.
#include <doctest/doctest.h>

#include <cmath>

#include "support.hpp"

using namespace qwq;
using namespace qwq::test;

namespace {

/// Largest difference of the logits of a prompt and of the tokens after it, as a part of the largest logit.
template <class Scheme, class Target>
float worst_difference(const calibration_result* tuned) {
  const checkpoint weights = checkpoint::open(data / "tinyqwen");
  const bound_model<tinyqwen, Target, Scheme> fused_weights(weights, {.positions = 256});
  const bound_model<tinyqwen, unfused<Target>, Scheme> unfused_weights(weights, {.positions = 256});
  session<tinyqwen, Target, Scheme> fused(fused_weights, tuned);
  session<tinyqwen, unfused<Target>, Scheme> plain(unfused_weights, tuned);
  const prompt p = prompts("tinyqwen").front();
  float worst = 0, largest = 0;
  const auto compare = [&](std::span<const float> a, std::span<const float> b) {
    REQUIRE(a.size() == b.size());
    for (std::size_t i = 0; i < a.size(); ++i) {
      worst = std::max(worst, std::abs(a[i] - b[i]));
      largest = std::max(largest, std::abs(b[i]));
    }
  };
  compare(fused.prefill(p.ids), plain.prefill(p.ids));
  for (const std::int32_t id : p.continuation) compare(fused.decode(id), plain.decode(id));
  return worst / largest;
}

/// Steps of a kind in one decoder layer.
template <class Target>
constexpr std::size_t steps(op kind) {
  std::size_t n = 0;
  for (const node& s : compiled<tinyqwen::decoder_layer<1, Target::cache>, Target, placement{}>::executed::value.nodes)
    n += s.kind == kind ? 1 : 0;
  return n;
}
static_assert(steps<native<>>(op::norm_rope) == 2 && steps<native<>>(op::rope) == 0);
static_assert(steps<without<native<>, "fuse_qk_norm_rope">>(op::norm_rope) == 0);

}  // namespace

TEST_CASE("fusions change nothing but the order of sums") {
  CHECK(worst_difference<f32, native<>>(nullptr) < 1e-5f);
}
