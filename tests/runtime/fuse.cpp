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
template <class Scheme, class Target, class Other = disable_fusions<Target>>
float worst_difference(const calibration_result* tuned,
                       kernel::activation_mode activations = kernel::activation_mode::f32) {
  const checkpoint weights = checkpoint::open(data / "tinyqwen");
  const bound_model<tinyqwen, Target, Scheme> fused_weights(weights, {.positions = 256, .activations = activations});
  const bound_model<tinyqwen, Other, Scheme> unfused_weights(weights, {.positions = 256, .activations = activations});
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
template <class Target, quantization_scheme Scheme = f32>
constexpr std::size_t steps(op kind) {
  std::size_t n = 0;
  for (const node& s : compiled<tinyqwen::decoder_layer<1, Target::cache>, Target, Scheme>::executed::value.nodes)
    n += s.kind == kind ? 1 : 0;
  return n;
}
static_assert(steps<native<>>(op::norm_rope) == 2 && steps<native<>>(op::rope) == 0);
static_assert(steps<disable_fusions<native<>, "fuse_qk_norm_rope">>(op::norm_rope) == 0);
static_assert(steps<native<>>(op::norm_linear) == 1 && steps<native<>>(op::norm_linear_swiglu) == 1);
static_assert(steps<native<>>(op::linear_add) == 2 && steps<native<>>(op::rms_norm) == 0);
static_assert(steps<native<>>(op::linear) == 0 && steps<disable_fusions<native<>>>(op::linear) == 7);

/// Norms in front of products are steps of their own, and gates and sums behind them.
using separate_norms = disable_fusions<native<>, "fuse_norm_linear">;
static_assert(steps<separate_norms>(op::linear_swiglu) == 1 && steps<separate_norms>(op::linear) == 3);
using separate_sums = disable_fusions<native<>, "fuse_norm_linear", "fuse_residual">;
static_assert(steps<separate_sums>(op::add_norm) == 1 && steps<separate_sums>(op::rms_norm) == 1);

/// A sum that a product with a grid of its own leaves to its norm.
using plain_sums = disable_fusions<onnx_standard, "fuse_residual_norm">;
static_assert(steps<onnx_standard, w8a16>(op::add_norm) == 1);
static_assert(steps<plain_sums, w8a16>(op::add_norm) == 0);

/// What puts values on grids is a step of its own.
using separate_grids = disable_fusions<onnx_winml, "fuse_norm_fake_quant", "fuse_swiglu_fake_quant",
                                       "fuse_add_fake_quant", "fuse_mul_fake_quant">;
static_assert(steps<onnx_winml, w8a16>(op::fake_quant) < steps<separate_grids, w8a16>(op::fake_quant));

}  // namespace

TEST_CASE("fusions change nothing but the order of sums") { CHECK(worst_difference<f32, native<>>(nullptr) < 1e-5f); }

TEST_CASE("norms in one step with products, or with the sum in front of them, give the same bits") {
  CHECK(worst_difference<f32, native<>, separate_norms>(nullptr) == 0);
  CHECK(worst_difference<f32, separate_sums, disable_fusions<separate_sums, "fuse_residual_norm">>(nullptr) == 0);
  CHECK(worst_difference<w8_g32, onnx_genai, disable_fusions<onnx_genai, "fuse_norm_linear">>(
            nullptr, kernel::activation_mode::int8) == 0);
}

TEST_CASE("a norm's result on a grid has the same bits in one step with its sum") {
  const checkpoint weights = checkpoint::open(data / "tinyqwen");
  const auto tuned = calibrate<tinyqwen, onnx_standard, w8a16>(weights, texts("calib.jsonl", 2), {.decode_steps = 2},
                                                               [](std::size_t) {});
  CHECK(worst_difference<w8a16, onnx_standard, plain_sums>(&tuned) == 0);
}

TEST_CASE("steps that put their results on a grid themselves give the same bits") {
  const checkpoint weights = checkpoint::open(data / "tinyqwen");
  const auto tuned =
      calibrate<tinyqwen, onnx_winml, w8a16>(weights, texts("calib.jsonl", 2), {.decode_steps = 2}, [](std::size_t) {});
  CHECK(worst_difference<w8a16, onnx_winml, separate_grids>(&tuned) == 0);
}
