// SPDX-License-Identifier: Apache-2.0
// Defines rules that decompose RMSNorm, RoPE and attention into basic operators, for targets without a cache.
#pragma once

#include "qwq/rules/attention_rules.hpp"
#include "qwq/rules/norm_rules.hpp"

namespace qwq::rules {

/// rms_norm(x, w, eps) = x * rsqrt(mean(x * x) + eps) * w
inline constexpr rule decompose_rms_norm{
    "decompose_rms_norm", rms_norm(var('x'), var('w')),
    [](match& m) {
      const expr x = m[var('x')];
      const expr epsilon = leaf(m.graph(), op::splat, "epsilon", {dtype::f32, {1}}, m.root().attr.value);
      return x * rsqrt(mean(x * x) + epsilon) * m[var('w')];
    },
    [](const match& m) { return detail::is_f32(m, var('x')); }};

namespace detail {
/// True if every `table_rows` of the graph reads one of the two matched tables.
constexpr bool has_one_table(const match& m) {
  const auto same = [](const node& a, const node& b) {
    return a.kind == b.kind && a.name == b.name && a.attr.value == b.attr.value && a.dims() == b.dims();
  };
  const graph_ref& g = m.graph().target();
  for (std::size_t i = 0; i < g.size(); ++i)
    if (g[i].kind == op::table_rows) {
      const node& table = m.argument(g[i], 0);
      if (!same(table, m(cos)) && !same(table, m(sin))) return false;
    }
  return true;
}
}  // namespace detail

/// rope(x) = x * cos + rotate_half(x) * sin, with rotate_half(x) = concat(-x[R/2:R], x[:R/2]) of the first R channels
/// of a head; channels from R on are copied. The table rows of the run's tokens become inputs `cos` and `sin`, [1,S,R],
/// which the host looks up.
inline constexpr rule rope_to_products{
    "rope_to_products", rope(var('x'), detail::cos_rows, detail::sin_rows),
    [](match& m) {
      const expr whole = m[var('x')];
      const shape d = whole.dims();
      const std::int32_t half = static_cast<std::int32_t>(m(detail::cos).dims().last().extent), width = 2 * half;
      const auto row_of_each_token = [&](std::string_view name) {
        return reshape(leaf(m.graph(), op::input, name, {dtype::f32, {1, d[1], width}}), {1, d[1], 1, width});
      };
      const bool partial = width < d[3].extent;
      const expr x = partial ? slice(whole, 0, width) : whole;
      const expr turned = concat(neg(slice(x, half, width)), slice(x, 0, half));
      const expr rotated = x * row_of_each_token("cos") + turned * row_of_each_token("sin");
      return partial ? concat(rotated, slice(whole, width, static_cast<std::int32_t>(d[3].extent))) : rotated;
    },
    [](const match& m) {
      return require(detail::reads_tables(m), "the tables of cos and sin are computed", detail::has_one_table(m),
                     "the graph reads other tables too, and the host makes one");
    }};

/// Moves the scale of attention into the keys: the gain of their norm is multiplied by it, and the cache holds scaled
/// keys. Only the graph's own leaf is scaled; the checkpoint does not change.
inline constexpr rule fold_scale_into_k_norm{
    "fold_scale_into_k_norm",
    attention(detail::q,
              kv_cache_update(detail::key_cache, rope(rms_norm(detail::k, var('w')).as('n'), var('c'), var('s')),
                              detail::position)
                  .as('1')
                  .shared(),
              detail::v, detail::position),
    [](match& m) {
      using namespace detail;
      const node norm = m(var('n'));
      const auto module = m.graph().module;
      m.graph().module = norm.name;
      const expr normalized =
          rms_norm(m[k], scaled_weight(m.graph(), m(var('w')), m.root().attr.value), norm.attr.value);
      m.graph().module = module;
      const expr key = rope(normalized, m[cos], m[sin]);
      const expr keys = kv_cache_update(m[key_cache], key, m[position]);
      m.replace(new_key_cache, keys);
      return attention(m[q], keys, m[v], m[position], 1);
    },
    [](const match& m) {
      return require(m.root().attr.value != 1, "the scale is 1 already", m(var('w')).kind == op::weight,
                     "the gain of the norm is no weight", m.only_root_reads(detail::new_key_cache),
                     "another operator reads the keys");
    }};

/// Decomposes causal attention, over a cache that the host keeps, into batched matmuls. A decode graph (one token)
/// reads the states of keys and values, [1,Hk,Length-1,D], and appends its own token. A prefill graph (more tokens)
/// reads no state: its first token is the first of the text. `attention_mask`, [1,1,S,T], is added to the logits. The
/// outputs of the states are only the new rows, [1,Hk,S,D]. Query heads that share a key/value head are rows of one
/// matrix, [1,Hk,G*S,D].
template <std::int64_t Length>
inline constexpr rule attention_to_matmuls{
    "attention_to_matmuls",
    attention(detail::q, kv_cache_update(detail::key_cache, detail::k, detail::position).as('1').shared(),
              kv_cache_update(detail::value_cache, detail::v, detail::position).as('2').shared(), detail::position),
    [](match& m) {
      using namespace detail;
      builder& b = m.graph();
      const auto heads_first = [](expr x) { return transpose(x, {{0, 2, 1, 3}, 4}); };
      const expr query = heads_first(m[q]), new_key = heads_first(m[k]), new_value = heads_first(m[v]);
      const shape per_head = query.dims();
      const std::int64_t kv_heads = new_key.dims()[1].extent, width = per_head.last().extent;
      const bool decodes = per_head[2] == dim{1};
      const auto with_past = [&](const pattern& past, expr x) {
        tensor_type cached{dtype::f32, {1, kv_heads, Length - 1, width}};
        return decodes ? concat(state(b, m(past).name, cached, state_update::host), x, 2) : x;
      };
      const expr keys = with_past(key_cache, new_key), values = with_past(value_cache, new_value);
      const dim seen = keys.dims()[2];
      const auto grouped = [&](expr x) {
        const dim last = x.dims().last();
        return reshape(x, {1, kv_heads, per_head[1].extent / kv_heads * per_head[2].extent, last});
      };
      expr logits = matmul(grouped(query), transpose(keys, {{0, 1, 3, 2}, 4}));
      logits = reshape(logits, {1, per_head[1], per_head[2], seen});
      if (const double scale = m.root().attr.value; scale != 1)
        logits = logits * leaf(b, op::splat, "scale", {dtype::f32, {1}}, scale);
      const expr mask = leaf(b, op::input, "attention_mask", {dtype::f32, {1, 1, per_head[2], seen}});
      const expr mixed = matmul(grouped(softmax(logits + mask)), values);
      m.replace(new_key_cache, new_key);
      m.replace(new_value_cache, new_value);
      return heads_first(reshape(mixed, per_head));
    },
    [](const match& m) {
      return require(detail::only_attention_reads_states(m), "another operator reads the states after the run");
    }};

}  // namespace qwq::rules
