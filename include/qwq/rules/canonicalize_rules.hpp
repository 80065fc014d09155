// SPDX-License-Identifier: Apache-2.0
// Defines the rules that turn a target's graph into row-major operators on floats, before a session fuses and runs it.
#pragma once

#include "qwq/rules/attention_rules.hpp"
#include "qwq/rules/layout_rules.hpp"

namespace qwq::rules {

namespace detail {

/// `x`, with its node's slot set.
constexpr expr with_slot(expr x, std::int16_t slot) {
  if (x.ok()) (*x.b)[x.id].slot = slot;
  return x;
}

/// True if the permutation of transpose `n` is (a, b, c, d).
constexpr bool is_perm(const node& n, std::int32_t a, std::int32_t b, std::int32_t c, std::int32_t d) {
  return n.attr.ints == fixed_vector<std::int32_t, 5>{{a, b, c, d}, 4};
}

/// The matrix [N,K] with the bytes of a 1x1 kernel [N,K,1,1], stored as floats or as codes.
constexpr expr as_matrix(expr kernel) {
  const node n = kernel.definition();
  if (n.kind == op::dequantize)  // codes are leaves, which no rule replaces
    return with_slot(apply(op::dequantize, {}, as_matrix(expr{kernel.b, n.args[0]})), n.slot);
  return leaf_like(*kernel.b, n, {n.type.type, {n.dims()[0], n.dims()[1]}});
}

}  // namespace detail

/// dequantize(quantize(x)) = fake_quant(x), if both have the same slot.
inline constexpr rule fuse_fake_quant{
    "fuse_fake_quant", match_op(op::dequantize, match_op(op::quantize, var('x')).as('q')),
    [](match& m) { return detail::with_slot(apply(op::fake_quant, {}, m[var('x')]), m.root().slot); },
    [](const match& m) {
      return require(m(var('q')).slot == m.root().slot, "quantize and dequantize have different slots");
    }};

/// The same with quantization parameters for each expert.
inline constexpr rule fuse_expert_fake_quant{
    "fuse_expert_fake_quant", match_op(op::dequantize, match_op(op::quantize, var('x'), var('e')).as('q'), var('e')),
    [](match& m) { return detail::with_slot(apply(op::fake_quant, {}, m[var('x')], m[var('e')]), m.root().slot); },
    [](const match& m) {
      return require(m(var('q')).slot == m.root().slot, "quantize and dequantize have different slots");
    }};

/// fake_quant(x) = x if x is a rearrangement of a value that was fake-quantized with the same slot: quantizing twice
/// with the same parameters changes nothing.
inline constexpr rule drop_requantize{
    "drop_requantize", match_op(op::fake_quant, var('x')), [](match& m) { return m[var('x')]; },
    [](const match& m) {
      const node* x = &m(var('x'));
      while (schema(*x).is(trait::layout)) x = &m.argument(*x, 0);
      return require(x->kind == op::fake_quant && x->slot == m.root().slot && x->args.size() == 1,
                     "the value is not on the grid of this slot");
    }};

/// transpose(fake_quant(conv1x1(x))) = fake_quant(transpose(conv1x1(x))), because fake_quant is elementwise.
inline constexpr rule hoist_transpose{
    "hoist_transpose", transpose(match_op(op::fake_quant, match_op(op::conv1x1, var('x'), var('w')).as('c')).as('q')),
    [](match& m) {
      const expr moved = transpose(m[var('c')], m.root().attr.ints);
      return detail::with_slot(apply(op::fake_quant, {}, moved), m(var('q')).slot);
    },
    [](const match& m) { return require(detail::is_perm(m.root(), 0, 2, 3, 1), "the transpose is not back to rows"); }};

/// fake_quant(transpose(x)) = transpose(fake_quant(x)), for the transpose before a convolution.
inline constexpr rule sink_transpose{
    "sink_transpose", match_op(op::fake_quant, transpose(var('x')).as('t').shared()),
    [](match& m) {
      const fixed_vector<std::int32_t, 5> perm = m(var('t')).attr.ints;
      return transpose(detail::with_slot(apply(op::fake_quant, {}, m[var('x')]), m.root().slot), perm);
    },
    [](const match& m) {
      return require(detail::is_perm(m(var('t')), 0, 3, 1, 2), "the transpose is not to [1,K,1,S]");
    }};

/// A 1x1 convolution between its two transposes is a linear.
inline constexpr rule conv1x1_to_linear{
    "conv1x1_to_linear", transpose(match_op(op::conv1x1, transpose(var('x')).as('t').shared(), var('w'))),
    [](match& m) {
      const shape dims = m.root().dims();
      const expr x = m[var('x')];
      return reshape(linear(detail::squeeze(x), detail::as_matrix(m[var('w')])), dims);
    },
    [](const match& m) {
      return require(detail::is_perm(m.root(), 0, 2, 3, 1) && detail::is_perm(m(var('t')), 0, 3, 1, 2),
                     "the transposes are not to [1,K,1,S] and back",
                     m(var('x')).dims()[0] == dim{1} && m(var('x')).dims()[1] == dim{1}, "the image is no row",
                     m.is_constant(m(var('w'))), "the kernel is computed");
    }};

namespace detail {

/// [1,S,heads*D] in the cache's type -> [1,S,heads,D] in f32.
constexpr expr split_heads(const match& m, expr x, std::int64_t heads) {
  return reshape(as_type(x, dtype::f32), {1, x.dims()[1], heads, m(key_cache).dims().last()});
}
/// RoPE of `x` [1,S,heads*D], with the operands of the matched GroupQueryAttention -> [1,S,heads,D].
constexpr expr rotated(const match& m, expr x, std::int64_t heads) {
  const expr rows = split_heads(m, x, heads);
  const dim tokens = rows.dims()[1];
  return rope(rows, table_rows(m[cos], m[position], tokens), table_rows(m[sin], m[position], tokens));
}

}  // namespace detail

/// Decomposes GroupQueryAttention. It computes in the type of the cache: its operands and its result are rounded to
/// that type; RoPE and softmax are computed in f32.
inline constexpr rule gqa_to_attention{
    "gqa_to_attention",
    match_op(op::get_tuple_element, match_op(op::gqa, detail::q, detail::k, detail::v, detail::key_cache,
                                             detail::value_cache, detail::position, var('t'), detail::cos, detail::sin)
                                        .as('g')
                                        .shared()),
    [](match& m) {
      using namespace detail;
      const node g = m(var('g'));
      const std::int32_t heads = g.attr.ints[0], kv_heads = g.attr.ints[1];
      const dtype narrow = g.type.type;
      const expr keys = kv_cache_update(m[key_cache], rotated(m, m[k], kv_heads), m[position]);
      const expr values = kv_cache_update(m[value_cache], split_heads(m, m[v], kv_heads), m[position]);
      if (m.root().attr.ints[0] > 0) return m.root().attr.ints[0] == 1 ? keys : values;
      const expr rounded = as_type(as_type(rotated(m, m[q], heads), narrow), dtype::f32);
      return as_type(reshape(attention(rounded, keys, values, m[position], g.attr.value), g.dims()), narrow);
    }};

/// All canonicalization rules. A session's graph is rewritten with them before the fusions of `rules::fuse`.
inline constexpr rule run[] = {fuse_fake_quant, fuse_expert_fake_quant, drop_requantize,
                               hoist_transpose, sink_transpose,         conv1x1_to_linear,
                               merge_reshapes,  drop_reshape,           gqa_to_attention};

}  // namespace qwq::rules
