// SPDX-License-Identifier: Apache-2.0
// Norms, RoPE and attention taken apart: the rules fire, not on near misses, and both sides mean the same.
#include "qwq/rules/decompose_rules.hpp"

#include <cmath>

#include "qwq/rules/layout_rules.hpp"
#include "support.hpp"

using namespace qwq;
using namespace qwq::test;

namespace {

// decompose_rms_norm

struct norm {
  static constexpr auto value = around([](builder& b) { return rms_norm(input(b, "x"), vector(b, "w"), 0.3); });
};
constexpr std::array decompose{rules::decompose_rms_norm};
static_assert(fires(rules::decompose_rms_norm, norm::value) == 1);
static_assert(count(op::rms_norm, after<norm, decompose>::value) == 0);
static_assert(fires(rules::fuse_rms_norm, after<norm, decompose>::value) == 1);  // it is the form that fuses
static_assert(fires(rules::decompose_rms_norm, around([](builder& b) { return lp_norm(input(b, "x")); })) == 0);

// Attention of `Rows` tokens, as a model has it. The near misses: a key that is not normalized, a gain that is
// computed, k and v at different positions, no scale.

constexpr std::int64_t width = 6, heads = 4, kv_heads = 2, table_length = 16;

enum class twist { none, plain_key, computed_gain, other_position, no_scale };

template <std::int64_t Rows, twist Twist = twist::none>
struct attended {
  static constexpr auto value = [] {
    graph<> g;
    builder b{g};
    tensor_type cache{dtype::f32, {1, kv_heads, dim{rows_bound, "max_seq_len"}, width}};
    tensor_type table{dtype::f32, {table_length, width / 2}};
    const expr last = leaf(b, op::input, "last_position", {dtype::i32, {1, 1}});
    const expr other = leaf(b, op::input, "other_position", {dtype::i32, {1, 1}});
    const expr cosines = leaf(b, op::rope_cos, "rope.cos", table), sines = leaf(b, op::rope_sin, "rope.sin", table);
    const auto rotated = [&](expr x) {
      return rope(x, table_rows(cosines, last, Rows), table_rows(sines, last, Rows));
    };
    const auto split = [&](std::string_view name, std::int64_t n) {
      return input(b, name, {dtype::f32, {1, Rows, n, width}});
    };
    const expr stored = leaf(b, op::weight, "k_norm.weight", {dtype::f32, {width}});
    const expr gain = Twist == twist::computed_gain ? stored + stored : stored;
    const expr k = Twist == twist::plain_key ? split("k", kv_heads) : rms_norm(split("k", kv_heads), gain, 1e-6);
    const expr keys = kv_cache_update(state(b, "key", cache, state_update::append), rotated(k), last);
    const expr values = kv_cache_update(state(b, "value", cache, state_update::append), split("v", kv_heads),
                                        Twist == twist::other_position ? other : last);
    const expr out = attention(rotated(split("q", heads)), keys, values, last, Twist == twist::no_scale ? 1 : 0.4);
    b.output("y", out.id);
    b.output("key", keys.id);
    b.output("value", values.id);
    return g;
  }();
};

constexpr std::int64_t length = rows_bound + 1;  // the static cache has the rows of the other one
constexpr rule to_matmuls = rules::attention_to_matmuls<length>;

// rope_to_products: one input for each table, whoever reads it.
constexpr std::array turn{rules::rope_to_products};
using with_rows_of_tables = after<attended<5>, turn>;
static_assert(fires(rules::rope_to_products, attended<5>::value) == 2);
static_assert(count(op::rope_cos, with_rows_of_tables::value) == 0 && count(op::rope, with_rows_of_tables::value) == 0);
static_assert(count(op::input, with_rows_of_tables::value) == 6);  // q, k, v, cos, sin, the position
static_assert(fires(rules::rope_to_products, norm::value) == 0);

// fold_scale_into_k_norm
constexpr std::array fold{rules::fold_scale_into_k_norm};
using folded = after<attended<5>, fold>;
static_assert(fires(rules::fold_scale_into_k_norm, attended<5>::value) == 1);
static_assert(fires(rules::fold_scale_into_k_norm, attended<5, twist::plain_key>::value) == 0);
static_assert(fires(rules::fold_scale_into_k_norm, attended<5, twist::computed_gain>::value) == 0);
static_assert(fires(rules::fold_scale_into_k_norm, attended<5, twist::no_scale>::value) == 0);
static_assert(count(op::kv_cache_update, folded::value) == 2);  // the cache that is handed out is the scaled one

// attention_to_matmuls
constexpr std::array multiply{to_matmuls};
template <std::int64_t Rows, twist Twist = twist::none>
using multiplied = after<attended<Rows, Twist>, multiply>;
static_assert(fires(to_matmuls, attended<5>::value) == 1 && fires(to_matmuls, attended<1>::value) == 1);
static_assert(fires(to_matmuls, attended<5, twist::other_position>::value) == 0);
static_assert(count(op::concat, multiplied<5>::value) == 0 && count(op::concat, multiplied<1>::value) == 2);
static_assert(count(op::matmul, multiplied<5>::value) == 2 && count(op::kv_cache_update, multiplied<5>::value) == 0);
static_assert(count(op::mul, multiplied<5>::value) == 1 &&  // the scale
              count(op::mul, multiplied<5, twist::no_scale>::value) == 0);
static_assert(multiplied<5>::value.outputs[1].name == "key" && multiplied<5>::value.outputs[2].name == "value");
static_assert(multiplied<5>::value[multiplied<5>::value.outputs[1].id].dims() == shape{1, kv_heads, 5, width});

// All of them, as a target has them.
constexpr std::array all{rules::rope_to_products, to_matmuls, rules::decompose_rms_norm, rules::merge_reshapes,
                         rules::drop_reshape};
template <std::int64_t Rows>
using apart = after<after<attended<Rows>, fold>, all>;
static_assert(count(op::attention, apart<5>::value) + count(op::rope, apart<5>::value) +
                  count(op::rms_norm, apart<5>::value) ==
              0);
/// What nobody reads any more is no input: the caches of another shape, and positions.
template <std::size_t N>
constexpr bool has_inputs(const graph<N>& g, std::initializer_list<std::string_view> names) {
  std::size_t found = 0;
  for (const node& n : g.nodes)
    for (std::string_view name : names)
      if (n.kind == op::input && n.name == name) ++found;
  return found == names.size() && count(op::input, g) == found;
}
static_assert(has_inputs(apart<5>::value, {"q", "k", "v", "cos", "sin", "attention_mask"}));
static_assert(has_inputs(apart<1>::value, {"q", "k", "v", "cos", "sin", "attention_mask"}));
static_assert(count(op::state, apart<5>::value) == 0 && count(op::state, apart<1>::value) == 2);

/// Tables of cosines and sines with the rows of the tokens, a mask, and a cache with something in all its rows.
named_values outside(std::int64_t rows, std::int64_t first, float fill) {
  named_values x;
  const auto angle = [](std::int64_t position, std::int64_t j) {
    return static_cast<float>(position) * std::pow(100.0f, -static_cast<float>(j) / (width / 2));
  };
  for (std::int64_t i = 0; i < table_length; ++i)
    for (std::int64_t j = 0; j < width / 2; ++j) {
      x["rope.cos"].push_back(std::cos(angle(i, j)));
      x["rope.sin"].push_back(std::sin(angle(i, j)));
    }
  for (std::int64_t i = first; i < first + rows; ++i)
    for (std::int64_t j = 0; j < width; ++j) {
      x["cos"].push_back(std::cos(angle(i, j % (width / 2))));
      x["sin"].push_back(std::sin(angle(i, j % (width / 2))));
    }
  if (rows == 1) {
    for (std::int64_t j = 0; j < length; ++j) x["attention_mask"].push_back(j < first || j == length - 1 ? 0.0f : fill);
  } else {
    for (std::int64_t i = 0; i < rows; ++i)
      for (std::int64_t j = 0; j < rows; ++j) x["attention_mask"].push_back(j <= i ? 0.0f : fill);
  }
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (const char* name : {"key", "value"})
    for (std::int64_t i = 0; i < kv_heads * rows_bound * width; ++i) x[name].push_back(normal(random));
  return x;
}

/// The row that a graph adds to the cache.
struct new_key {
  static constexpr auto value = [] {
    auto g = apart<5>::value;
    g.outputs[0] = g.outputs[1];
    return g;
  }();
};
struct scaled_key {
  static constexpr auto value = around([](builder& b) {
    tensor_type table{dtype::f32, {table_length, width / 2}};
    const expr k = rms_norm(input(b, "k", {dtype::f32, {1, 5, kv_heads, width}}),
                            leaf(b, op::weight, "k_norm.weight", {dtype::f32, {width}}, 0.4), 1e-6);
    const expr last = leaf(b, op::input, "last_position", {dtype::i32, {1, 1}});
    const auto rows = [&](op kind, std::string_view name) { return table_rows(leaf(b, kind, name, table), last, 5); };
    return transpose(rope(k, rows(op::rope_cos, "rope.cos"), rows(op::rope_sin, "rope.sin")), {{0, 2, 1, 3}, 4});
  });
};

}  // namespace

TEST_CASE("a norm in its parts is the norm") { check_same(evaluate<norm>(), evaluate<after<norm, decompose>>()); }

TEST_CASE("attention in its parts is attention") {
  const named_values prompt = outside(5, 0, -120), token = outside(1, 4, -120);
  const auto whole = evaluate<attended<5>>(5, 0, prompt), one = evaluate<attended<1>>(1, 4, token);
  check_same(whole, evaluate<with_rows_of_tables>(5, 0, prompt));
  check_same(whole, evaluate<folded>(5, 0, prompt));
  check_same(whole, evaluate<multiplied<5>>(5, 0, prompt));
  check_same(whole, evaluate<apart<5>>(5, 0, prompt));
  check_same(one, evaluate<multiplied<1>>(1, 4, token));
  // The keys in the cache are those that a graph with the same scale has put there.
  named_values scaled = token;
  for (float& x : scaled["key"]) x *= 0.4f;
  check_same(one, evaluate<apart<1>>(1, 4, scaled));
}

TEST_CASE("what a graph adds to the cache are the rotated keys, scaled") {
  const named_values prompt = outside(5, 0, -120);
  check_same(evaluate<scaled_key>(5, 0, prompt), evaluate<new_key>(5, 0, prompt));
}
