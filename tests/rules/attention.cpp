// SPDX-License-Identifier: Apache-2.0
// Attention as GroupQueryAttention and back, and the other rules of a session.
#include "qwq/rules/attention_rules.hpp"

#include "qwq/rules/canonicalize_rules.hpp"
#include "support.hpp"

using namespace qwq;
using namespace qwq::test;

namespace {

constexpr std::int64_t head_dim = 6, heads = 4, kv_heads = 2;
constexpr dim rows{rows_bound, "sequence_length"};

/// Attention over a fresh cache. `position_of_v` and `sin_of_k` make the near misses.
template <bool OtherPosition = false, bool OtherTable = false, dtype Cache = dtype::f32>
struct attention_graph {
  static constexpr auto value = around([](builder& b) {
    tensor_type cache{Cache, {1, kv_heads, dim{64, "max_seq_len"}, head_dim}};
    tensor_type table{dtype::f32, {64, head_dim / 2}};
    const expr last = leaf(b, op::input, "last_position", {dtype::i32, {1, 1}});
    const expr other = leaf(b, op::input, "other_position", {dtype::i32, {1, 1}});
    const expr cos = leaf(b, op::weight, "cos", table), sin = leaf(b, op::weight, "sin", table),
               sin2 = leaf(b, op::weight, "sin2", table);
    const auto split = [&](std::string_view name, std::int64_t n) {
      return reshape(input(b, name, {dtype::f32, {1, rows, n * head_dim}}), {1, rows, n, head_dim});
    };
    const auto of_tokens = [&](expr table) { return table_rows(table, last, rows); };
    const expr q = rope(split("q", heads), of_tokens(cos), of_tokens(sin));
    const expr k = rope(split("k", kv_heads), of_tokens(cos), of_tokens(OtherTable ? sin2 : sin));
    const expr keys = kv_cache_update(state(b, "key", cache, state_update::append), k, last);
    const expr values = kv_cache_update(state(b, "value", cache, state_update::append), split("v", kv_heads),
                                        OtherPosition ? other : last);
    const expr out = reshape(attention(q, keys, values, last, 0.4), {1, rows, heads * head_dim});
    return out;
  });
};

constexpr std::array to_gqa{rules::attention_to_gqa, rules::merge_reshapes, rules::drop_reshape};
static_assert(fires(rules::attention_to_gqa, attention_graph<>::value) == 1);
static_assert(fires(rules::attention_to_gqa, attention_graph<true>::value) == 0);  // k and v at different positions
static_assert(fires(rules::attention_to_gqa, attention_graph<false, true>::value) == 0);  // q and k rotated differently

using with_gqa = after<attention_graph<>, to_gqa>;
static_assert(count(op::gqa, with_gqa::value) == 1 && count(op::attention, with_gqa::value) == 0);
static_assert(count(op::rope, with_gqa::value) == 0 && count(op::kv_cache_update, with_gqa::value) == 0);
using back = after<with_gqa, rules::run>;
static_assert(count(op::gqa, back::value) == 0 && count(op::attention, back::value) == 1);
static_assert(back::result.log.count("gqa_to_attention") == 1);

/// The caches that a graph hands out are those of the GroupQueryAttention.
struct with_cache_outputs {
  static constexpr auto value = [] {
    auto g = attention_graph<>::value;
    for (std::size_t i = 0; i < g.size(); ++i)
      if (g[i].kind == op::kv_cache_update) g.outputs.push_back({"present", static_cast<node_id>(i)});
    return g;
  }();
};
using gqa_with_caches = after<with_cache_outputs, to_gqa>;
static_assert(count(op::get_tuple_element, gqa_with_caches::value) == 3);
static_assert(gqa_with_caches::value[gqa_with_caches::value.outputs[1].id].attr.ints[0] == 1);
static_assert(gqa_with_caches::value[gqa_with_caches::value.outputs[2].id].attr.ints[0] == 2);
using with_caches_back = after<gqa_with_caches, rules::run>;
static_assert(with_caches_back::result.log.count("gqa_to_attention") == 3);
static_assert(count(op::kv_cache_update, with_caches_back::value) == 2);

/// Around an f16 cache there are casts, around one in f32 there are none.
using with_f16_cache = after<attention_graph<false, false, dtype::f16>, to_gqa>;
static_assert(count(op::cast, with_gqa::value) == 0 && count(op::cast, with_f16_cache::value) == 4);

// Rules of a session on quantized graphs.

constexpr expr quantize_pair(expr x, std::int16_t q, std::int16_t d) {
  const expr codes =
      rules::detail::with_slot(apply(op::quantize, {.value = 0, .ints = {}, .type = {dtype::u8, {}}}, x), q);
  return rules::detail::with_slot(apply(op::dequantize, {}, codes), d);
}
constexpr expr fake(expr x, std::int16_t slot) { return rules::detail::with_slot(apply(op::fake_quant, {}, x), slot); }

static_assert(fires(rules::fuse_fake_quant, around([](builder& b) { return quantize_pair(input(b, "x"), 3, 3); })) ==
              1);
static_assert(fires(rules::fuse_fake_quant, around([](builder& b) { return quantize_pair(input(b, "x"), 3, 4); })) ==
              0);

static_assert(fires(rules::drop_requantize, around([](builder& b) {
                      return fake(reshape(fake(input(b, "x"), 1), {1, 1, rows, channels}), 1);
                    })) == 1);
static_assert(fires(rules::drop_requantize, around([](builder& b) {
                      return fake(reshape(fake(input(b, "x"), 1), {1, 1, rows, channels}), 2);
                    })) == 0);
static_assert(fires(rules::drop_requantize,
                    around([](builder& b) { return fake(sigmoid(fake(input(b, "x"), 1)), 1); })) == 0);

constexpr expr convolved(builder& b, const fixed_vector<std::int32_t, 5>& out) {
  const expr x = transpose(rules::detail::unsqueeze(input(b, "x")), {{0, 3, 1, 2}, 4});
  return transpose(fake(conv1x1(x, leaf(b, op::weight, "w", {dtype::f32, {10, channels, 1, 1}})), 0), out);
}
static_assert(fires(rules::hoist_transpose, around([](builder& b) { return convolved(b, {{0, 2, 3, 1}, 4}); })) == 1);
static_assert(fires(rules::hoist_transpose, around([](builder& b) {
                      return transpose(fake(input(b, "x"), 0), {{0, 2, 1}, 3});
                    })) == 0);

static_assert(fires(rules::sink_transpose, around([](builder& b) {
                      return fake(transpose(rules::detail::unsqueeze(input(b, "x")), {{0, 3, 1, 2}, 4}), 0);
                    })) == 1);
static_assert(fires(rules::sink_transpose, around([](builder& b) {
                      return fake(transpose(input(b, "x", {dtype::f32, {1, channels, 1, rows}}), {{0, 2, 3, 1}, 4}), 0);
                    })) == 0);

struct convolution {
  static constexpr auto value = around([](builder& b) { return convolved(b, {{0, 2, 3, 1}, 4}); });
};
static_assert(after<convolution, rules::run>::result.log.count("conv1x1_to_linear") == 1);
static_assert(after<with_gqa, rules::run>::result.log.count("conv1x1_to_linear") == 0);

}  // namespace

TEST_CASE("attention, turned into GroupQueryAttention and back, is the same") {
  check_same(evaluate<attention_graph<>>(), evaluate<back>());
}

TEST_CASE("a convolution between transposes runs as the product that it came from") {
  check_same(evaluate<convolution>(), evaluate<after<convolution, rules::run>>());
}
