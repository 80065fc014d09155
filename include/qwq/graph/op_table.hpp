// SPDX-License-Identifier: Apache-2.0
// One row per operator: name, arity, attributes, and the rule for the type of its result.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "qwq/graph/op.hpp"
#include "qwq/graph/problem.hpp"
#include "qwq/graph/tensor_type.hpp"

namespace qwq {

/// Attributes of a node. What `value` and `ints` mean is named in the operator's row.
struct attributes {
  double value = 0;
  fixed_vector<std::int32_t, 5> ints{};  ///< Integers: axes, a permutation, a range.
  /// Result type of leaves, `cast` and `reshape`, which no argument determines.
  tensor_type type{};
  /// Of a weight leaf: what is added to each stored element. The graph reads value * (stored + offset), so the gain
  /// 1 + w of Qwen3.5's norms has offset 1.
  double offset = 0;
  friend constexpr bool operator==(const attributes& a, const attributes& b) = default;
};

/// Arguments and attributes of a node whose type is being worked out: what an operator's rule for shape and dtype
/// reads, and where it puts the type of the result (`out`) or what is wrong (`fail`).
struct inference {
  const attributes& attr;
  fixed_vector<tensor_type, 10> args{};
  tensor_type out{};
  problem error{};

  constexpr const shape& dims(std::size_t i) const { return args[i].dims; }

  /// Says what is wrong; the graph then is an error.
  constexpr void fail(why what, text<31> expected, text<31> found) {
    error.what = what;
    error.expected = expected;
    error.found = found;
  }
  /// Argument i holds floats.
  constexpr bool want_float(std::size_t i) {
    if (is_float(args[i].type)) return true;
    fail(why::element_type_must_be_float, "f32, f16 or bf16", name(args[i].type));
    return false;
  }
  /// Keys or values: floats, or codes with a scale for each head and position.
  constexpr bool want_cache(std::size_t i) { return args[i].type == dtype::i8 || want_float(i); }
  /// Argument i has this element type.
  constexpr bool want_type(std::size_t i, dtype t) {
    if (args[i].type == t) return true;
    fail(why::element_types_differ, name(t), name(args[i].type));
    return false;
  }
  /// Argument i has so many axes.
  constexpr bool want_rank(std::size_t i, std::size_t rank) {
    if (dims(i).size() == rank) return true;
    fail(why::rank_is_wrong, text<31>{}.append(static_cast<long long>(rank)), to_text<31>(dims(i)));
    return false;
  }
  /// The axis that an operator works along must be there.
  constexpr bool want_axes(std::size_t i) {
    if (!dims(i).empty()) return true;
    fail(why::rank_is_wrong, "at least 1", "0");
    return false;
  }
  /// `ints` has `count` elements, and the last of them is an axis of the first argument.
  constexpr bool want_axis(std::size_t count) {
    if (attr.ints.size() == count && static_cast<std::size_t>(attr.ints.back()) < dims(0).size()) return true;
    fail(why::bad_attribute, "an axis of the argument", to_text<31>(dims(0)));
    return false;
  }
  /// Two shapes are equal.
  constexpr bool want_shape(const shape& expected, const shape& found, why what) {
    if (expected == found) return true;
    fail(what, to_text<31>(expected), to_text<31>(found));
    return false;
  }
};

namespace detail {

constexpr void infer_declared(inference& in) { in.out = in.attr.type; }

constexpr void infer_unary(inference& in) {
  if (in.want_float(0)) in.out = in.args[0];
}

constexpr void infer_binary(inference& in) {
  if (!in.want_float(0) || !in.want_type(1, in.args[0].type)) return;
  const bool first_is_longer = in.dims(0).size() >= in.dims(1).size();
  const shape& longer = first_is_longer ? in.dims(0) : in.dims(1);
  const shape& shorter = first_is_longer ? in.dims(1) : in.dims(0);
  in.out = {in.args[0].type, longer};
  const std::size_t lead = longer.size() - shorter.size();
  for (std::size_t i = 0; i < shorter.size(); ++i) {
    dim& d = in.out.dims[lead + i];
    if (d == shorter[i] || shorter[i] == dim{1}) continue;
    if (d != dim{1}) return in.fail(why::shapes_do_not_broadcast, to_text<31>(in.dims(0)), to_text<31>(in.dims(1)));
    d = shorter[i];
  }
}

constexpr void infer_softmax(inference& in) {
  if (in.want_float(0) && in.want_axes(0)) in.out = in.args[0];
}

constexpr void infer_mean(inference& in) {
  if (!in.want_float(0) || !in.want_axes(0)) return;
  in.out = in.args[0];
  in.out.dims[in.out.dims.size() - 1] = dim{1};
}

constexpr void infer_rms_norm(inference& in) {
  if (in.want_float(0) && in.want_axes(0) && in.want_type(1, in.args[0].type) &&
      in.want_shape({in.dims(0).last()}, in.dims(1), why::last_dimension_must_match))
    in.out = in.args[0];
}

constexpr void infer_linear(inference& in) {
  if (!in.want_float(0) || !in.want_float(1) || !in.want_axes(0) || !in.want_rank(1, 2)) return;
  if (in.dims(0).last() != in.dims(1)[1])
    return in.fail(why::x_and_weight_differ_in_columns, to_text<31>(in.dims(0)), to_text<31>(in.dims(1)));
  in.out = {dtype::f32, in.dims(0)};
  in.out.dims[in.out.dims.size() - 1] = in.dims(1)[0];
}

constexpr void infer_linear_add(inference& in) {
  infer_linear(in);
  if (in.error.ok() && in.want_float(2)) in.want_shape(in.out.dims, in.dims(2), why::shapes_do_not_broadcast);
}

constexpr void infer_gated_linear(inference& in) {
  infer_linear(in);
  if (in.error.ok() && in.want_float(2)) in.want_shape(in.dims(1), in.dims(2), why::shapes_do_not_broadcast);
}

// (x, gain, weights...)
constexpr void infer_norm_linear(inference& in) {
  infer_rms_norm(in);
  for (std::size_t i = 2; i < in.args.size(); ++i) {
    if (!in.error.ok() || !in.want_float(i) || !in.want_rank(i, 2)) return;
    if (in.dims(0).last() != in.dims(i)[1])
      return in.fail(why::x_and_weight_differ_in_columns, to_text<31>(in.dims(0)), to_text<31>(in.dims(i)));
  }
}

constexpr void infer_norm_gated_linear(inference& in) {
  infer_norm_linear(in);
  if (in.error.ok()) in.want_shape(in.dims(2), in.dims(3), why::shapes_do_not_broadcast);
}

constexpr void infer_add_norm(inference& in) {
  if (!in.want_float(0) || !in.want_axes(0) || !in.want_type(1, in.args[0].type) ||
      !in.want_type(2, in.args[0].type) || !in.want_shape(in.dims(0), in.dims(1), why::shapes_do_not_broadcast) ||
      !in.want_shape({in.dims(0).last()}, in.dims(2), why::last_dimension_must_match))
    return;
  in.out = in.args[0];
}

constexpr void infer_matmul(inference& in) {
  const std::size_t rank = in.dims(0).size();
  if (!in.want_float(0) || !in.want_type(1, in.args[0].type) || !in.want_rank(1, rank)) return;
  if (rank < 2) return in.fail(why::rank_is_wrong, "at least 2", to_text<31>(in.dims(0)));
  shape y = in.dims(0);  // what y should be
  y[rank - 2] = in.dims(0).last();
  y[rank - 1] = in.dims(1).last();
  if (!in.want_shape(y, in.dims(1), why::x_and_y_do_not_multiply)) return;
  in.out = in.args[0];
  in.out.dims[rank - 1] = y.last();
}

constexpr void infer_conv1x1(inference& in) {
  if (!in.want_float(0) || !in.want_float(1) || !in.want_rank(0, 4) || !in.want_rank(1, 4)) return;
  if (in.dims(0)[1] != in.dims(1)[1])
    return in.fail(why::x_and_weight_differ_in_columns, to_text<31>(in.dims(0)), to_text<31>(in.dims(1)));
  in.out = {in.args[0].type, {in.dims(0)[0], in.dims(1)[0], in.dims(0)[2], in.dims(0)[3]}};
}

constexpr void infer_swiglu(inference& in) {
  if (in.want_float(0) && in.want_shape(in.dims(0), in.dims(1), why::shapes_do_not_broadcast)) in.out = in.args[0];
}

constexpr void infer_reshape(inference& in) {
  if (in.dims(0).elements() != in.attr.type.dims.elements())
    return in.fail(why::element_count_changes, to_text<31>(in.dims(0)), to_text<31>(in.attr.type.dims));
  in.out = {in.args[0].type, in.attr.type.dims};
}

constexpr void infer_transpose(inference& in) {
  in.out = in.args[0];
  bool used[max_rank]{};
  bool is_permutation = in.attr.ints.size() == in.dims(0).size();
  for (std::int32_t axis : in.attr.ints) {
    const auto a = static_cast<std::size_t>(axis);
    is_permutation = is_permutation && a < in.dims(0).size() && !used[a];
    if (is_permutation) used[a] = true;
  }
  if (!is_permutation) return in.fail(why::bad_attribute, "a permutation of the axes", to_text<31>(in.dims(0)));
  for (std::size_t i = 0; i < in.attr.ints.size(); ++i)
    in.out.dims[i] = in.dims(0)[static_cast<std::size_t>(in.attr.ints[i])];
}

constexpr void infer_concat(inference& in) {
  if (!in.want_axis(1)) return;
  const auto axis = static_cast<std::size_t>(in.attr.ints[0]);
  in.out = in.args[0];
  for (std::size_t i = 1; i < in.args.size(); ++i) {
    shape other = in.dims(i);
    if (!in.want_type(i, in.args[0].type) || !in.want_rank(i, in.dims(0).size())) return;
    const std::int64_t extent = other[axis].extent;
    other[axis] = in.dims(0)[axis];
    if (!in.want_shape(in.dims(0), other, why::shapes_do_not_broadcast)) return;
    in.out.dims[axis] = dim{in.out.dims[axis].extent + extent};
  }
}

constexpr void infer_slice(inference& in) {
  if (!in.want_axis(3)) return;
  in.out = in.args[0];
  dim& along = in.out.dims[static_cast<std::size_t>(in.attr.ints[2])];
  if (in.attr.ints[0] < 0 || in.attr.ints[1] > along.extent || in.attr.ints[0] >= in.attr.ints[1])
    return in.fail(why::bad_attribute, "0 <= begin < end <= extent", to_text<31>(in.dims(0)));
  along = dim{in.attr.ints[1] - in.attr.ints[0]};
}

constexpr void infer_cast(inference& in) { in.out = {in.attr.type.type, in.dims(0)}; }

constexpr void infer_embedding(inference& in) {
  if (!in.want_float(0) || !in.want_rank(0, 2) || !in.want_type(1, dtype::i64) || !in.want_rank(1, 2)) return;
  in.out = {dtype::f32, {in.dims(1)[0], in.dims(1)[1], in.dims(0)[1]}};
}

// (x, the tables from argument `table` on, last_position)
constexpr void infer_rotated(inference& in, std::size_t table) {
  if (!in.want_float(0) || !in.want_rank(0, 4) || !in.want_type(table + 2, dtype::i32)) return;
  const dim half{in.dims(0).last().extent / 2};
  for (std::size_t i = table; i < table + 2; ++i)
    if (!in.want_rank(i, 2) || !in.want_shape({in.dims(i)[0], half}, in.dims(i), why::last_dimension_must_match))
      return;
  in.out = in.args[0];
}

constexpr void infer_rope(inference& in) { infer_rotated(in, 1); }

constexpr void infer_norm_rope(inference& in) {
  infer_rms_norm(in);
  if (in.error.ok()) infer_rotated(in, 2);
}

constexpr void infer_kv_append(inference& in) {
  if (!in.want_cache(0) || !in.want_float(1) || !in.want_rank(0, 4) || !in.want_rank(1, 4) ||
      !in.want_type(2, dtype::i32))
    return;
  const shape& past = in.dims(0);
  const shape& x = in.dims(1);
  if (in.want_shape({past[0], x[1], past[1], past[3]}, x, why::last_dimension_must_match)) in.out = in.args[0];
}

constexpr void infer_attention(inference& in) {
  if (!in.want_float(0) || !in.want_cache(1) || !in.want_cache(2)) return;
  for (std::size_t i = 0; i < 3; ++i)
    if (!in.want_rank(i, 4)) return;
  if (!in.want_type(3, dtype::i32) || !in.want_shape(in.dims(1), in.dims(2), why::last_dimension_must_match)) return;
  const std::int64_t heads = in.dims(0)[2].extent;
  const std::int64_t kv_heads = in.dims(1)[1].extent;
  if (kv_heads < 1 || heads % kv_heads != 0)
    return in.fail(why::heads_do_not_divide, text<31>{"a multiple of "}.append(kv_heads), text<31>{}.append(heads));
  if (in.dims(0).last() != in.dims(1).last())
    return in.fail(why::last_dimension_must_match, to_text<31>(in.dims(0)), to_text<31>(in.dims(1)));
  in.out = in.args[0];
}

// (q [1,S,Hq*D], k [1,S,Hk*D], v, past_key [1,Hk,max,D], past_value, last_position, total, cos, sin)
constexpr void infer_gqa(inference& in) {
  if (in.attr.ints.size() != 2) return in.fail(why::bad_attribute, "{heads, kv_heads}", "");
  if (!in.want_rank(0, 3) || !in.want_rank(3, 4)) return;
  const std::int64_t head_dim = in.dims(3).last().extent;
  if (in.dims(0).last().extent != in.attr.ints[0] * head_dim || in.dims(1).last().extent != in.attr.ints[1] * head_dim)
    return in.fail(why::last_dimension_must_match, to_text<31>(in.dims(0)), to_text<31>(in.dims(3)));
  for (std::size_t i = 1; i < 5; ++i)
    if (!in.want_type(i, in.args[0].type)) return;
  in.out = in.args[0];
}

// Codes of a slot: attr.type.type is their integer type.
constexpr void infer_quantize(inference& in) {
  if (in.want_type(0, dtype::f32)) in.out = {in.attr.type.type, in.dims(0)};
}

constexpr void infer_dequantize(inference& in) {
  if (is_float(in.args[0].type)) return in.fail(why::element_types_differ, "integer codes", name(in.args[0].type));
  in.out = {dtype::f32, in.dims(0)};
}

// A result of a node that has several: of gqa what it computes, the present key and the present value, of the types of
// the past ones.
constexpr void infer_result(inference& in) { in.out = in.attr.type; }

constexpr void infer_custom(inference& in) {
  in.fail(why::bad_attribute, "apply(row, ...)", "op::custom without a row");
}

}  // namespace detail

/// What the library knows about an operator. Its own are in `op_table`; a row outside of it, made by `custom_op`, is an
/// operator of the user's.
struct op_row {
  op kind;
  std::string_view name;
  std::int8_t min_args;  ///< Fewest arguments.
  std::int8_t max_args;  ///< Most arguments.
  /// Names of `attributes::value` and `attributes::ints`; empty where the operator has none.
  std::string_view value_name;
  std::string_view ints_name;  ///< The same for `attributes::ints`.
  bool commutative;  ///< Two arguments may change places.
  /// The result holds the argument's values in another arrangement: it shares quantization parameters with it.
  bool layout_only;
  /// Sets the result's type from those of the arguments, or says what is wrong with them.
  void (*infer)(inference&);
};

inline constexpr op_row op_table[] = {
    {op::input, "input", 0, 0, "", "", false, false, detail::infer_declared},
    {op::weight, "weight", 0, 0, "multiplier", "", false, false, detail::infer_declared},
    {op::fill, "fill", 0, 0, "value", "", false, false, detail::infer_declared},
    {op::rope_cos, "rope_cos", 0, 0, "theta", "", false, false, detail::infer_declared},
    {op::rope_sin, "rope_sin", 0, 0, "theta", "", false, false, detail::infer_declared},
    {op::add, "add", 2, 2, "", "", true, false, detail::infer_binary},
    {op::mul, "mul", 2, 2, "", "", true, false, detail::infer_binary},
    {op::neg, "neg", 1, 1, "", "", false, false, detail::infer_unary},
    {op::rsqrt, "rsqrt", 1, 1, "", "", false, false, detail::infer_unary},
    {op::sigmoid, "sigmoid", 1, 1, "", "", false, false, detail::infer_unary},
    {op::silu, "silu", 1, 1, "", "", false, false, detail::infer_unary},
    {op::mean, "mean", 1, 1, "", "", false, false, detail::infer_mean},
    {op::softmax, "softmax", 1, 1, "", "", false, false, detail::infer_softmax},
    {op::rms_norm, "rms_norm", 2, 2, "eps", "", false, false, detail::infer_rms_norm},
    {op::lp_norm, "lp_norm", 1, 1, "", "", false, false, detail::infer_unary},
    {op::linear, "linear", 2, 2, "", "", false, false, detail::infer_linear},
    {op::matmul, "matmul", 2, 2, "", "", false, false, detail::infer_matmul},
    {op::conv1x1, "conv1x1", 2, 2, "", "", false, false, detail::infer_conv1x1},
    {op::swiglu, "swiglu", 2, 2, "", "", false, false, detail::infer_swiglu},
    {op::linear_add, "linear_add", 3, 3, "", "", false, false, detail::infer_linear_add},
    {op::gated_linear, "gated_linear", 3, 3, "", "", false, false, detail::infer_gated_linear},
    {op::norm_linear, "norm_linear", 3, 6, "eps", "", false, false, detail::infer_norm_linear},
    {op::norm_gated_linear, "norm_gated_linear", 4, 4, "eps", "", false, false, detail::infer_norm_gated_linear},
    {op::add_norm, "add_norm", 3, 3, "eps", "", false, false, detail::infer_add_norm},
    {op::reshape, "reshape", 1, 1, "", "", false, true, detail::infer_reshape},
    {op::transpose, "transpose", 1, 1, "", "perm", false, true, detail::infer_transpose},
    {op::concat, "concat", 2, 4, "", "axis", false, false, detail::infer_concat},
    {op::slice, "slice", 1, 1, "", "range", false, true, detail::infer_slice},
    {op::cast, "cast", 1, 1, "", "", false, false, detail::infer_cast},
    {op::embedding, "embedding", 2, 2, "", "", false, false, detail::infer_embedding},
    {op::rope, "rope", 4, 4, "", "", false, false, detail::infer_rope},
    {op::norm_rope, "norm_rope", 5, 5, "eps", "", false, false, detail::infer_norm_rope},
    {op::kv_append, "kv_append", 3, 3, "", "", false, false, detail::infer_kv_append},
    {op::attention, "attention", 4, 4, "scale", "", false, false, detail::infer_attention},
    {op::gqa, "gqa", 9, 9, "scale", "heads", false, false, detail::infer_gqa},
    {op::result, "result", 1, 1, "", "index", false, false, detail::infer_result},
    {op::custom, "custom", 0, 10, "", "", false, false, detail::infer_custom},
    {op::quantize, "quantize", 1, 1, "", "", false, false, detail::infer_quantize},
    {op::dequantize, "dequantize", 1, 1, "", "", false, false, detail::infer_dequantize},
    {op::fake_quant, "fake_quant", 1, 1, "", "", false, false, detail::infer_unary},
};

static_assert(std::size(op_table) == op_count, "every op has a row");
static_assert(
    [] {
      for (std::size_t i = 0; i < op_count; ++i)
        if (static_cast<std::size_t>(op_table[i].kind) != i) return false;
      return true;
    }(),
    "the rows stand in the order of the enumeration");

constexpr const op_row& row(op kind) { return op_table[static_cast<std::size_t>(kind)]; }
constexpr std::string_view name(op kind) { return row(kind).name; }

/// The row of an operator from outside of the library. It must be a constant with static storage, because nodes point
/// to it and what belongs to the operator (`custom_kernel`, rows of op maps, patterns) is found by its address.
constexpr op_row custom_op(std::string_view name, std::int8_t args, void (*infer)(inference&),
                           std::string_view value_name = {}, std::string_view ints_name = {}) {
  return {op::custom, name, args, args, value_name, ints_name, false, false, infer};
}

}  // namespace qwq
