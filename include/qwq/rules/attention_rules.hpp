// SPDX-License-Identifier: Apache-2.0
// Defines `attention_to_gqa`, a rule that fuses RoPE, cache update and attention into GroupQueryAttention.
#pragma once

#include "qwq/rewrite/rule.hpp"

namespace qwq::rules {

namespace detail {
inline constexpr pattern q = var('q');
inline constexpr pattern k = var('k');
inline constexpr pattern v = var('v');
inline constexpr pattern key_cache = var('K');
inline constexpr pattern value_cache = var('V');
inline constexpr pattern cos = var('c');
inline constexpr pattern sin = var('s');
inline constexpr pattern position = var('p');
/// Rows of the cos and sin tables at the positions of the run's tokens.
inline constexpr pattern cos_rows = table_rows(cos, position).shared();
inline constexpr pattern sin_rows = table_rows(sin, position).shared();
inline constexpr pattern new_key_cache = var('1');
inline constexpr pattern new_value_cache = var('2');

/// [1,S,heads,D] -> [1,S,heads*D]
constexpr expr merge_heads(expr x) {
  const shape d = x.dims();
  return reshape(x, {d[0], d[1], d[2].extent * d[3].extent});
}

/// True if the matched attention is the only use of the updated states, so that their replacement affects no other
/// node.
constexpr bool only_attention_reads_states(const match& m) {
  return m.only_root_reads(new_key_cache) && m.only_root_reads(new_value_cache);
}
/// True if the cos and sin tables are leaves, not computed values.
constexpr bool reads_tables(const match& m) { return m(cos).args.empty() && m(sin).args.empty(); }

/// `x` converted to element type `to`; `x` itself if it has that type.
constexpr expr as_type(expr x, dtype to) { return x.definition().type.type == to ? x : cast(x, to); }
}  // namespace detail

/// Fuses RoPE on q and k, the cache updates and causal attention into one com.microsoft GroupQueryAttention, which
/// computes in the element type of the cache. Its seqlens_k is last_position; total_seq_len becomes a new input of the
/// graph.
inline constexpr rule attention_to_gqa{
    "attention_to_gqa",
    attention(rope(detail::q, detail::cos_rows, detail::sin_rows),
              kv_cache_update(detail::key_cache, rope(detail::k, detail::cos_rows, detail::sin_rows), detail::position)
                  .as('1')
                  .shared(),
              kv_cache_update(detail::value_cache, detail::v, detail::position).as('2').shared(), detail::position),
    [](match& m) {
      using namespace detail;
      builder& b = m.graph();
      const node attention = m.root();
      const tensor_type cache = m(key_cache).type;
      const auto heads = static_cast<std::int32_t>(attention.dims()[2].extent);
      const auto kv_heads = static_cast<std::int32_t>(cache.dims[1].extent);
      const auto table = [&](const pattern& t) {
        const node& n = m(t);
        return leaf_like(b, n, {cache.type, n.dims()});
      };
      const auto narrow = [&](const pattern& x) { return as_type(merge_heads(m[x]), cache.type); };
      const expr total = leaf(b, op::input, "total_seq_len", {dtype::i32, {1}});
      const expr out =
          apply(op::gqa, {.value = attention.attr.value, .ints = {{heads, kv_heads}, 2}, .type = {}}, narrow(q),
                narrow(k), narrow(v), m[key_cache], m[value_cache], m[position], total, table(cos), table(sin));
      m.replace(new_key_cache, get_tuple_element(out, 1, cache));
      m.replace(new_value_cache, get_tuple_element(out, 2, cache));
      return reshape(as_type(get_tuple_element(out, 0, out.definition().type), dtype::f32), attention.dims());
    },
    [](const match& m) {
      using namespace detail;
      return require(only_attention_reads_states(m), "another operator reads the states after the run", reads_tables(m),
                     "the tables of cos and sin are computed", m(q).dims()[1] == m(k).dims()[1],
                     "queries and keys have different numbers of tokens",
                     m(key_cache).type.type == m(value_cache).type.type,
                     "keys and values have caches of different types");
    }};

}  // namespace qwq::rules
