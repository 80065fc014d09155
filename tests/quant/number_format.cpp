// SPDX-License-Identifier: Apache-2.0
// Number formats as values: what schemes of today and of other ecosystems are in them, and slots that have no
// parameters.
#include <doctest/doctest.h>

#include <qwq/quant/insert_qdq.hpp>
#include <qwq/quant/tico_scheme.hpp>
#include <qwq/targets/all_targets.hpp>

using namespace qwq;

namespace {

static_assert(w8a16::spec.weight == number_format{.element = dtype::i8});
static_assert(w8a16::spec.activation == number_format{.element = dtype::u16, .symmetric = false});
static_assert(w4_g32::spec.weight == number_format{.element = dtype::u4, .block = 32} &&
              !w4_g32::spec.quantizes_activations());
static_assert(tico_w8a16::spec.weight == number_format{.element = dtype::u8, .symmetric = false} &&
              tico_w8a16::spec.scope == quant_scope::all);
static_assert(!f32::spec.quantizes() && !f32::spec.weight.quantizes());

// Formats that no kernel of ours reads yet are values all the same, and no target takes them for integers.
constexpr number_format nvfp4{.element = dtype::f4e2m1, .block = 16, .scale = dtype::f8e4m3, .global_scale = true};
constexpr number_format mxfp8{.element = dtype::f8e4m3, .block = 32, .scale = dtype::f8e8m0};
constexpr number_format fp8_blocks{.element = dtype::f8e4m3, .block = 128, .block_rows = 128};
constexpr number_format per_token{.element = dtype::i8, .dynamic = true};
constexpr number_format w4a8{.element = dtype::i4, .block = 128, .then = dtype::f8e4m3};
static_assert(nvfp4 != number_format{.element = dtype::f4e2m1, .block = 16, .scale = dtype::f8e4m3});
static_assert(!nvfp4.is_static_integer() && !mxfp8.is_static_integer() && !fp8_blocks.is_static_integer() &&
              !per_token.is_static_integer() && !w4a8.is_static_integer());
static_assert(w8a16::spec.weight.is_static_integer() && w4_g32::spec.weight.is_static_integer());

template <target... Targets>
constexpr bool none_accepts(const quant_spec& spec) {
  return (!Targets::accepts(spec) && ...);
}
constexpr bool is_refused(const quant_spec& spec) {
  return none_accepts<onnx_winml, onnx_standard, onnx_standard_21, onnx_genai, circle<>, circle_qdq<>, tflite<>>(spec);
}
constexpr number_format u16{.element = dtype::u16, .symmetric = false};
static_assert(is_refused({{}, nvfp4}) && is_refused({{}, mxfp8}) && is_refused({{}, fp8_blocks}) &&
              is_refused({{}, w4a8}));
static_assert(is_refused({per_token, {.element = dtype::i8}}) && is_refused({u16, fp8_blocks}));

/// y = linear(x, w) with activations whose scales are computed in each run.
constexpr auto dynamic = [] {
  graph<16> g;
  builder b{g};
  const expr x = leaf(b, op::input, "x", {dtype::f32, {1, 4, 8}});
  b.output("y", linear(x, weight_leaf(b, "w", {dtype::f32, {8, 8}}, role::none)).id);
  return insert_qdq(g, {per_token, {.element = dtype::i8}}, [](const node& n) { return n.kind == op::linear; });
}();
static_assert(dynamic.value.error.ok() && dynamic.slots.size() == 3);

}  // namespace

TEST_CASE("slots have the formats of their scheme") {
  int activations = 0, weights = 0;
  for (const slot& s : dynamic.slots) {
    if (s.kind == slot_kind::activation) {
      ++activations;
      CHECK(s.format == per_token);
    } else {
      ++weights;
      CHECK(s.format == number_format{.element = dtype::i8});
    }
  }
  CHECK(activations == 2);
  CHECK(weights == 1);
}
