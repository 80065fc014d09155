// SPDX-License-Identifier: Apache-2.0
// Fused sessions compute what unfused ones do.
#include <doctest/doctest.h>

#include <cmath>

#include "qwq/runtime/calibrate.hpp"
#include "support.hpp"

using namespace qwq;
using namespace qwq::test;

namespace {

/// Largest difference of the logits of a prompt and of the tokens after it, as a part of the largest logit.
template <class Scheme, class Target, class Other = unfused<Target>>
float worst_difference(const calibration_result* tuned) {
  const checkpoint weights = checkpoint::open(data / "tinyqwen");
  const bound_model<tinyqwen, Target, Scheme> fused_weights(weights, {.positions = 256});
  const bound_model<tinyqwen, Other, Scheme> unfused_weights(weights, {.positions = 256});
  session<tinyqwen, Target, Scheme> fused(fused_weights, tuned);
  session<tinyqwen, Other, Scheme> plain(unfused_weights, tuned);
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
template <class Target, placement Types = placement{}>
constexpr std::size_t steps(op kind) {
  std::size_t n = 0;
  for (const node& s : compiled<tinyqwen::decoder_layer<1, Target::cache>, Target, Types>::executed::value.nodes)
    n += s.kind == kind ? 1 : 0;
  return n;
}
static_assert(steps<native<>>(op::norm_rope) == 2 && steps<native<>>(op::rope) == 0);
static_assert(steps<without<native<>, "fuse_qk_norm_rope">>(op::norm_rope) == 0);
static_assert(steps<native<>>(op::gated_linear) == 1 && steps<native<>>(op::linear_add) == 2);
static_assert(steps<native<>>(op::linear) == 3 && steps<unfused<native<>>>(op::linear) == 7);

/// What puts values on grids is a step of its own.
using separate_grids =
    without<onnx_winml, "fuse_norm_fake_quant", "fuse_swiglu_fake_quant", "fuse_add_fake_quant", "fuse_mul_fake_quant">;
static_assert(steps<onnx_winml, w8a16::types>(op::fake_quant) < steps<separate_grids, w8a16::types>(op::fake_quant));

}  // namespace

TEST_CASE("fusions change nothing but the order of sums") { CHECK(worst_difference<f32, native<>>(nullptr) < 1e-5f); }

TEST_CASE("steps that put their results on a grid themselves give the same bits") {
  const checkpoint weights = checkpoint::open(data / "tinyqwen");
  const auto tuned =
      calibrate<tinyqwen, onnx_winml, w8a16>(weights, texts("calib.jsonl", 2), {.decode_steps = 2}, [](std::size_t) {});
  CHECK(worst_difference<w8a16, onnx_winml, separate_grids>(&tuned) == 0);
}
