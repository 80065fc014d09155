// SPDX-License-Identifier: Apache-2.0
// Sessions whose products quantize activations follow those whose products don't.
#include <doctest/doctest.h>

#include "qwq/targets/onnx_genai.hpp"
#include "support.hpp"

using namespace qwq;
using namespace qwq::test;

namespace {

template <class Scheme>
against_float follow_f32() {
  const checkpoint weights = checkpoint::open(data / "tinyqwen");
  using bound = bound_model<tinyqwen, onnx_genai, Scheme>;
  const bound identity_epilogue(weights, {.positions = 256});
  const bound quantizing(weights, {.positions = 256, .activations = kernel::activation_mode::int8});
  session<tinyqwen, onnx_genai, Scheme> reference(identity_epilogue), s(quantizing);
  const std::vector<prompt> all = prompts("tinyqwen");
  const against_float found = follow(reference, s, all);
  CHECK(found.kl > 0);
  MESSAGE(Scheme::name << ": KL " << found.kl << ", continued " << found.continued << " of " << all.size());
  return found;
}

}  // namespace

// Codes of 8 bits for each 32 elements: about what a weight of 8 bits costs.
TEST_CASE("int8 activations change little") {
  CHECK(follow_f32<w8_g32>().kl < 1e-4);
  CHECK(follow_f32<w4_g32>().kl < 1e-4);
}
