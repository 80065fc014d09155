// SPDX-License-Identifier: Apache-2.0
// Defines `op_schema`, the arity, attributes, traits and type inference of an operator, and `op_table`.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string_view>

#include "qwq/graph/diagnostic.hpp"
#include "qwq/graph/op.hpp"
#include "qwq/graph/tensor_type.hpp"

namespace qwq {

/// Attributes of a node. The operator's schema names `value` and `ints`.
struct attributes {
  double value = 0;                      ///< Number: epsilon, scale, multiplier of a weight, value of a splat.
  fixed_vector<std::int32_t, 5> ints{};  ///< Integers: axes, a permutation, a range.
  /// Result type of leaves, `cast`, `reshape` and `table_rows`, which no argument determines.
  tensor_type type{};
  /// Offset that is added to each stored element of a weight leaf. The graph reads value * (stored + offset); the gain
  /// 1 + w of Qwen3.5's norms, for example, has offset 1.
  double offset = 0;
  /// Compares all members.
  friend constexpr bool operator==(const attributes& a, const attributes& b) = default;
};

/// Maximum number of arguments of a node.
inline constexpr std::size_t max_arguments = 10;

/// Context of type inference for one node. An operator's `infer` function reads attributes and argument types, and sets
/// the result type (`out`) or reports a problem (`fail`). The `want_...` functions return true if a requirement holds,
/// and report a problem otherwise.
struct type_inference {
  const attributes& attr;                           ///< Attributes of the node.
  fixed_vector<tensor_type, max_arguments> args{};  ///< Types of the arguments.
  tensor_type out{};                                ///< Type of the result.
  diagnostic error{};                               ///< The problem, if any.

  constexpr const shape& dims(std::size_t i) const { return args[i].dims; }  ///< Shape of argument `i`.

  /// Reports a problem, which becomes the error of the graph.
  constexpr void fail(error_code what, fixed_string<31> expected, fixed_string<31> found) {
    error.what = what;
    error.expected = expected;
    error.found = found;
  }
  /// Requires argument `i` to be f32, f16 or bf16.
  constexpr bool want_float(std::size_t i) {
    if (is_plain_float(args[i].type)) return true;
    fail(error_code::element_type_must_be_float, "f32, f16 or bf16", name(args[i].type));
    return false;
  }
  /// Requires argument `i` to be cached keys or values: floats, or int8 codes with a scale for each head and position.
  constexpr bool want_cache(std::size_t i) { return args[i].type == dtype::i8 || want_float(i); }
  /// Requires argument `i` to have element type `t`.
  constexpr bool want_type(std::size_t i, dtype t) {
    if (args[i].type == t) return true;
    fail(error_code::element_types_differ, name(t), name(args[i].type));
    return false;
  }
  /// Requires argument `i` to have `rank` axes.
  constexpr bool want_rank(std::size_t i, std::size_t rank) {
    if (dims(i).size() == rank) return true;
    fail(error_code::rank_is_wrong, fixed_string<31>{}.append(static_cast<long long>(rank)), to_text<31>(dims(i)));
    return false;
  }
  /// Requires argument `i` to have at least one axis.
  constexpr bool want_axes(std::size_t i) {
    if (!dims(i).empty()) return true;
    fail(error_code::rank_is_wrong, "at least 1", "0");
    return false;
  }
  /// Requires `ints` to have `count` elements, of which the last is an axis of the first argument.
  constexpr bool want_axis(std::size_t count) {
    if (attr.ints.size() == count && static_cast<std::size_t>(attr.ints.back()) < dims(0).size()) return true;
    fail(error_code::bad_attribute, "an axis of the argument", to_text<31>(dims(0)));
    return false;
  }
  /// Requires two shapes to be equal; reports `what` if they differ.
  constexpr bool want_shape(const shape& expected, const shape& found, error_code what) {
    if (expected == found) return true;
    fail(what, to_text<31>(expected), to_text<31>(found));
    return false;
  }
};

namespace detail {

constexpr void infer_declared(type_inference& in) { in.out = in.attr.type; }

constexpr void infer_unary(type_inference& in) {
  if (in.want_float(0)) in.out = in.args[0];
}

constexpr void infer_binary(type_inference& in) {
  if (!in.want_float(0) || !in.want_type(1, in.args[0].type)) return;
  const bool first_is_longer = in.dims(0).size() >= in.dims(1).size();
  const shape& longer = first_is_longer ? in.dims(0) : in.dims(1);
  const shape& shorter = first_is_longer ? in.dims(1) : in.dims(0);
  in.out = {in.args[0].type, longer};
  const std::size_t lead = longer.size() - shorter.size();
  for (std::size_t i = 0; i < shorter.size(); ++i) {
    dim& d = in.out.dims[lead + i];
    if (d == shorter[i] || shorter[i] == dim{1}) continue;
    if (d != dim{1})
      return in.fail(error_code::shapes_do_not_broadcast, to_text<31>(in.dims(0)), to_text<31>(in.dims(1)));
    d = shorter[i];
  }
}

constexpr void infer_softmax(type_inference& in) {
  if (in.want_float(0) && in.want_axes(0)) in.out = in.args[0];
}

constexpr void infer_mean(type_inference& in) {
  if (!in.want_float(0) || !in.want_axes(0)) return;
  in.out = in.args[0];
  in.out.dims[in.out.dims.size() - 1] = dim{1};
}

constexpr void infer_rms_norm(type_inference& in) {
  if (in.want_float(0) && in.want_axes(0) && in.want_type(1, in.args[0].type) &&
      in.want_shape({in.dims(0).last()}, in.dims(1), error_code::last_dimension_must_match))
    in.out = in.args[0];
}

// (x, w, ...)
constexpr void infer_product(type_inference& in) {
  if (!in.want_float(0) || !in.want_float(1) || !in.want_axes(0) || !in.want_rank(1, 2)) return;
  if (in.dims(0).last() != in.dims(1)[1])
    return in.fail(error_code::x_and_weight_differ_in_columns, to_text<31>(in.dims(0)), to_text<31>(in.dims(1)));
  in.out = {dtype::f32, in.dims(0)};
  in.out.dims[in.out.dims.size() - 1] = in.dims(1)[0];
}

// (x, w) or (x, w, bias)
constexpr void infer_linear(type_inference& in) {
  infer_product(in);
  if (in.error.ok() && in.args.size() == 3 && in.want_float(2))
    in.want_shape({in.dims(1)[0]}, in.dims(2), error_code::last_dimension_must_match);
}

constexpr void infer_linear_add(type_inference& in) {
  infer_product(in);
  if (in.error.ok() && in.want_float(2)) in.want_shape(in.out.dims, in.dims(2), error_code::shapes_do_not_broadcast);
}

constexpr void infer_linear_swiglu(type_inference& in) {
  infer_product(in);
  if (in.error.ok() && in.want_float(2)) in.want_shape(in.dims(1), in.dims(2), error_code::shapes_do_not_broadcast);
}

// (x, gain, weights...)
constexpr void infer_norm_linear(type_inference& in) {
  infer_rms_norm(in);
  for (std::size_t i = 2; i < in.args.size(); ++i) {
    if (!in.error.ok() || !in.want_float(i) || !in.want_rank(i, 2)) return;
    if (in.dims(0).last() != in.dims(i)[1])
      return in.fail(error_code::x_and_weight_differ_in_columns, to_text<31>(in.dims(0)), to_text<31>(in.dims(i)));
  }
}

constexpr void infer_norm_linear_swiglu(type_inference& in) {
  infer_norm_linear(in);
  if (in.error.ok()) in.want_shape(in.dims(2), in.dims(3), error_code::shapes_do_not_broadcast);
}

constexpr void infer_add_norm(type_inference& in) {
  if (!in.want_float(0) || !in.want_axes(0) || !in.want_type(1, in.args[0].type) || !in.want_type(2, in.args[0].type) ||
      !in.want_shape(in.dims(0), in.dims(1), error_code::shapes_do_not_broadcast) ||
      !in.want_shape({in.dims(0).last()}, in.dims(2), error_code::last_dimension_must_match))
    return;
  in.out = in.args[0];
}

constexpr void infer_matmul(type_inference& in) {
  const std::size_t rank = in.dims(0).size();
  if (!in.want_float(0) || !in.want_type(1, in.args[0].type) || !in.want_rank(1, rank)) return;
  if (rank < 2) return in.fail(error_code::rank_is_wrong, "at least 2", to_text<31>(in.dims(0)));
  shape y = in.dims(0);  // the required shape of y
  y[rank - 2] = in.dims(0).last();
  y[rank - 1] = in.dims(1).last();
  if (!in.want_shape(y, in.dims(1), error_code::x_and_y_do_not_multiply)) return;
  in.out = in.args[0];
  in.out.dims[rank - 1] = y.last();
}

constexpr void infer_conv1x1(type_inference& in) {
  if (!in.want_float(0) || !in.want_float(1) || !in.want_rank(0, 4) || !in.want_rank(1, 4)) return;
  if (in.dims(0)[1] != in.dims(1)[1])
    return in.fail(error_code::x_and_weight_differ_in_columns, to_text<31>(in.dims(0)), to_text<31>(in.dims(1)));
  in.out = {in.args[0].type, {in.dims(0)[0], in.dims(1)[0], in.dims(0)[2], in.dims(0)[3]}};
}

constexpr void infer_swiglu(type_inference& in) {
  if (in.want_float(0) && in.want_shape(in.dims(0), in.dims(1), error_code::shapes_do_not_broadcast))
    in.out = in.args[0];
}

constexpr void infer_reshape(type_inference& in) {
  if (in.dims(0).elements() != in.attr.type.dims.elements())
    return in.fail(error_code::element_count_changes, to_text<31>(in.dims(0)), to_text<31>(in.attr.type.dims));
  in.out = {in.args[0].type, in.attr.type.dims};
}

constexpr void infer_transpose(type_inference& in) {
  in.out = in.args[0];
  bool used[max_rank]{};
  bool is_permutation = in.attr.ints.size() == in.dims(0).size();
  for (std::int32_t axis : in.attr.ints) {
    const auto a = static_cast<std::size_t>(axis);
    is_permutation = is_permutation && a < in.dims(0).size() && !used[a];
    if (is_permutation) used[a] = true;
  }
  if (!is_permutation) return in.fail(error_code::bad_attribute, "a permutation of the axes", to_text<31>(in.dims(0)));
  for (std::size_t i = 0; i < in.attr.ints.size(); ++i)
    in.out.dims[i] = in.dims(0)[static_cast<std::size_t>(in.attr.ints[i])];
}

constexpr void infer_concat(type_inference& in) {
  if (!in.want_axis(1)) return;
  const auto axis = static_cast<std::size_t>(in.attr.ints[0]);
  in.out = in.args[0];
  for (std::size_t i = 1; i < in.args.size(); ++i) {
    shape other = in.dims(i);
    if (!in.want_type(i, in.args[0].type) || !in.want_rank(i, in.dims(0).size())) return;
    const dim more = other[axis];
    other[axis] = in.dims(0)[axis];
    if (!in.want_shape(in.dims(0), other, error_code::shapes_do_not_broadcast)) return;
    dim& whole = in.out.dims[axis];
    if (whole.named() && more.named())
      return in.fail(error_code::bad_attribute, "one named extent along the axis", to_text<31>(in.dims(i)));
    const dim fixed = whole.named() ? more : whole, named = whole.named() ? whole : more;
    const std::int64_t extent = fixed.extent + named.extent;
    whole = named.named() ? dim{extent, named.symbol, named.plus + fixed.extent} : dim{extent};
  }
}

constexpr void infer_slice(type_inference& in) {
  if (!in.want_axis(3)) return;
  in.out = in.args[0];
  dim& along = in.out.dims[static_cast<std::size_t>(in.attr.ints[2])];
  // The part that a name counts is at least 1 at run time.
  const std::int64_t least = along.named() ? along.plus + 1 : along.extent;
  if (in.attr.ints[0] < 0 || in.attr.ints[1] > least || in.attr.ints[0] >= in.attr.ints[1])
    return in.fail(error_code::bad_attribute, "0 <= begin < end <= extent", to_text<31>(in.dims(0)));
  along = dim{in.attr.ints[1] - in.attr.ints[0]};
}

constexpr void infer_cast(type_inference& in) { in.out = {in.attr.type.type, in.dims(0)}; }

constexpr void infer_embedding(type_inference& in) {
  if (!in.want_float(0) || !in.want_rank(0, 2) || !in.want_type(1, dtype::i64) || !in.want_rank(1, 2)) return;
  in.out = {dtype::f32, {in.dims(1)[0], in.dims(1)[1], in.dims(0)[1]}};
}

// (table [T,C], last_position [1,1])
constexpr void infer_table_rows(type_inference& in) {
  if (!in.want_float(0) || !in.want_rank(0, 2) || !in.want_type(1, dtype::i32)) return;
  const shape& rows = in.attr.type.dims;
  if (rows.size() != 3) return in.fail(error_code::bad_attribute, "[1,S,columns]", to_text<31>(rows));
  if (in.want_shape({dim{1}, rows[1], in.dims(0)[1]}, rows, error_code::last_dimension_must_match))
    in.out = {in.args[0].type, rows};
}

// (x [1,S,heads,D], rows of cos and sin [1,S,R/2] from argument `first` on), R <= D
constexpr void infer_rotated(type_inference& in, std::size_t first) {
  if (!in.want_float(0) || !in.want_rank(0, 4) || !in.want_rank(first, 3)) return;
  const shape &x = in.dims(0), &cos = in.dims(first);
  if (cos[1] != x[1] || 2 * cos[2].extent > x.last().extent)
    return in.fail(error_code::last_dimension_must_match, "[1,S,R/2] with R <= head_dim", to_text<31>(cos));
  if (in.want_shape(cos, in.dims(first + 1), error_code::last_dimension_must_match)) in.out = in.args[0];
}

constexpr void infer_rope(type_inference& in) { infer_rotated(in, 1); }

constexpr void infer_norm_rope(type_inference& in) {
  infer_rms_norm(in);
  if (in.error.ok()) infer_rotated(in, 2);
}

constexpr void infer_kv_cache_update(type_inference& in) {
  if (!in.want_cache(0) || !in.want_float(1) || !in.want_rank(0, 4) || !in.want_rank(1, 4) ||
      !in.want_type(2, dtype::i32))
    return;
  const shape& past = in.dims(0);
  const shape& x = in.dims(1);
  if (in.want_shape({past[0], x[1], past[1], past[3]}, x, error_code::last_dimension_must_match)) in.out = in.args[0];
}

constexpr void infer_attention(type_inference& in) {
  if (!in.want_float(0) || !in.want_cache(1) || !in.want_cache(2)) return;
  for (std::size_t i = 0; i < 3; ++i)
    if (!in.want_rank(i, 4)) return;
  if (!in.want_type(3, dtype::i32) || !in.want_shape(in.dims(1), in.dims(2), error_code::last_dimension_must_match))
    return;
  const std::int64_t heads = in.dims(0)[2].extent;
  const std::int64_t kv_heads = in.dims(1)[1].extent;
  if (kv_heads < 1 || heads % kv_heads != 0)
    return in.fail(error_code::heads_do_not_divide, fixed_string<31>{"a multiple of "}.append(kv_heads),
                   fixed_string<31>{}.append(heads));
  if (in.dims(0).last() != in.dims(1).last())
    return in.fail(error_code::last_dimension_must_match, to_text<31>(in.dims(0)), to_text<31>(in.dims(1)));
  in.out = in.args[0];
}

// (q [1,S,Hq*D], k [1,S,Hk*D], v, key cache [1,Hk,max,D], value cache, last_position, total, cos, sin)
constexpr void infer_gqa(type_inference& in) {
  if (in.attr.ints.size() != 2) return in.fail(error_code::bad_attribute, "{heads, kv_heads}", "");
  if (!in.want_rank(0, 3) || !in.want_rank(3, 4)) return;
  const std::int64_t head_dim = in.dims(3).last().extent;
  if (in.dims(0).last().extent != in.attr.ints[0] * head_dim || in.dims(1).last().extent != in.attr.ints[1] * head_dim)
    return in.fail(error_code::last_dimension_must_match, to_text<31>(in.dims(0)), to_text<31>(in.dims(3)));
  for (std::size_t i = 1; i < 5; ++i)
    if (!in.want_type(i, in.args[0].type)) return;
  in.out = in.args[0];
}

// (q, k, v [1,S,heads,D], segments [1,S])
constexpr void infer_full_attention(type_inference& in) {
  if (!in.want_float(0) || !in.want_rank(0, 4) || !in.want_type(3, dtype::i32)) return;
  const shape& q = in.dims(0);
  if (in.want_shape(q, in.dims(1), error_code::shapes_do_not_broadcast) &&
      in.want_shape(q, in.dims(2), error_code::shapes_do_not_broadcast) &&
      in.want_shape({dim{1}, q[1]}, in.dims(3), error_code::shapes_do_not_broadcast))
    in.out = in.args[0];
}

// (mask [1,S], a [1,S,...], b)
constexpr void infer_select(type_inference& in) {
  if (!in.want_type(0, dtype::i32) || !in.want_rank(0, 2) || !in.want_float(1) || !in.want_type(2, in.args[1].type) ||
      !in.want_shape(in.dims(1), in.dims(2), error_code::shapes_do_not_broadcast))
    return;
  if (in.dims(1).size() < 2 || in.dims(1)[1] != in.dims(0)[1])
    return in.fail(error_code::shapes_do_not_broadcast, to_text<31>(in.dims(0)), to_text<31>(in.dims(1)));
  in.out = in.args[1];
}

// (x, w, b)
constexpr void infer_layer_norm(type_inference& in) {
  infer_rms_norm(in);
  if (in.error.ok()) in.want_shape(in.dims(1), in.dims(2), error_code::last_dimension_must_match);
}

constexpr void infer_top_k(type_inference& in) {
  if (!in.want_float(0) || !in.want_axes(0)) return;
  in.out = in.args[0];
  if (in.attr.ints.size() != 1 || in.attr.ints[0] < 1 || in.attr.ints[0] > in.dims(0).last().extent)
    return in.fail(error_code::bad_attribute, "1 <= k <= last extent", to_text<31>(in.dims(0)));
  in.out.dims[in.out.dims.size() - 1] = dim{in.attr.ints[0]};
}

// (x [1,S,K] or [1,S,k,K], experts [1,S,k], w [E,N,K])
constexpr void infer_expert_linear(type_inference& in) {
  if (!in.want_float(0) || !in.want_type(1, dtype::i32) || !in.want_rank(1, 3) || !in.want_float(2) ||
      !in.want_rank(2, 3))
    return;
  const shape &x = in.dims(0), &experts = in.dims(1), &w = in.dims(2);
  const bool by_token = x.size() == 3, by_expert = x.size() == 4 && x[2] == experts[2];
  if ((!by_token && !by_expert) || x[1] != experts[1])
    return in.fail(error_code::rank_is_wrong, "[1,S,K] or [1,S,k,K]", to_text<31>(x));
  if (x.last() != w[2]) return in.fail(error_code::x_and_weight_differ_in_columns, to_text<31>(x), to_text<31>(w));
  in.out = {dtype::f32, {experts[0], experts[1], experts[2], w[1]}};
}

// (x [1,S,k,H], weights [1,S,k])
constexpr void infer_weighted_sum(type_inference& in) {
  if (!in.want_float(0) || !in.want_rank(0, 4) || !in.want_type(1, in.args[0].type)) return;
  const shape& x = in.dims(0);
  if (in.want_shape({x[0], x[1], x[2]}, in.dims(1), error_code::shapes_do_not_broadcast))
    in.out = {in.args[0].type, {x[0], x[1], x[3]}};
}

// (u [1,S,C], w [C,K], state [1,C,K-1])
constexpr void infer_causal_conv1d(type_inference& in) {
  if (!in.want_float(0) || !in.want_rank(0, 3) || !in.want_float(1) || !in.want_rank(1, 2) || !in.want_float(2)) return;
  const dim channels = in.dims(0)[2];
  if (in.dims(1)[0] != channels)
    return in.fail(error_code::x_and_weight_differ_in_columns, to_text<31>(in.dims(0)), to_text<31>(in.dims(1)));
  if (in.want_shape({dim{1}, channels, dim{in.dims(1)[1].extent - 1}}, in.dims(2),
                    error_code::last_dimension_must_match))
    in.out = in.args[0];
}

// (q [1,S,Hk,Dk], k, v [1,S,Hv,Dv], decay [1,S,Hv], beta, state [1,Hv,Dk,Dv])
constexpr void infer_delta_rule(type_inference& in) {
  for (std::size_t i = 0; i < 3; ++i)
    if (!in.want_float(i) || !in.want_rank(i, 4)) return;
  const shape &k = in.dims(1), &v = in.dims(2);
  if (!in.want_shape(in.dims(0), k, error_code::shapes_do_not_broadcast)) return;
  if (k[2].extent < 1 || v[2].extent % k[2].extent != 0)
    return in.fail(error_code::heads_do_not_divide, fixed_string<31>{"a multiple of "}.append(k[2].extent),
                   fixed_string<31>{}.append(v[2].extent));
  for (std::size_t i = 3; i < 5; ++i)
    if (!in.want_shape({v[0], v[1], v[2]}, in.dims(i), error_code::shapes_do_not_broadcast)) return;
  if (in.want_type(5, dtype::f32) &&
      in.want_shape({dim{1}, v[2], k[3], v[3]}, in.dims(5), error_code::last_dimension_must_match))
    in.out = in.args[2];
}

// The second argument, if present, selects the parameters of each row: (x [1,S,k,N], experts [1,S,k]).
constexpr bool want_experts(type_inference& in) {
  if (in.args.size() < 2) return true;
  const shape& x = in.dims(0);
  return in.want_type(1, dtype::i32) && in.want_rank(0, 4) &&
         in.want_shape({x[0], x[1], x[2]}, in.dims(1), error_code::shapes_do_not_broadcast);
}

constexpr void infer_quantize(type_inference& in) {
  if (in.want_type(0, dtype::f32) && want_experts(in)) in.out = {in.attr.type.type, in.dims(0)};
}

constexpr void infer_fake_quant(type_inference& in) {
  if (in.want_float(0) && want_experts(in)) in.out = in.args[0];
}

constexpr void infer_dequantize(type_inference& in) {
  if (is_plain_float(in.args[0].type))
    return in.fail(error_code::element_types_differ, "integer codes", name(in.args[0].type));
  if (want_experts(in)) in.out = {dtype::f32, in.dims(0)};
}

// The builder of the node passes the result's type. Results of gqa: the attention output, the present key and the
// present value; the present ones have the types of the past ones.
constexpr void infer_get_tuple_element(type_inference& in) { in.out = in.attr.type; }

constexpr void infer_custom(type_inference& in) {
  in.fail(error_code::bad_attribute, "apply(row, ...)", "op::custom without a row");
}

}  // namespace detail

/// Properties of an operator, independent of its use. Combine them with `|`.
enum class trait : std::uint16_t {
  none = 0,            ///< No property.
  commutative = 1,     ///< The two arguments may be swapped.
  layout = 2,          ///< The result is the argument rearranged, and shares its quantization parameters.
  moves = 4,           ///< Values do not change, whether they are floats or codes.
  view = 8,            ///< The result aliases the first argument's bytes; there is no kernel call.
  elementwise = 16,    ///< Each element of the result depends only on the same element of each argument. With
                       ///< one argument, the kernel may run in place.
  constant = 32,       ///< A leaf that is bound before a run.
  encodable = 64,      ///< A constant that a scheme may store as codes.
  product = 128,       ///< Runs GEMMs on the rows of its first argument, which the kernel may quantize to int8.
  quantization = 256,  ///< Converts between floats and codes, with the parameters of its slot.
  outside = 512,       ///< A leaf that the caller provides for a run: an input or a state.
};
/// Union of two sets of traits.
constexpr trait operator|(trait a, trait b) {
  return static_cast<trait>(static_cast<std::uint16_t>(a) | static_cast<std::uint16_t>(b));
}
/// True if `set` has at least one of the traits in `one`.
constexpr bool has(trait set, trait one) {
  return (static_cast<std::uint16_t>(set) & static_cast<std::uint16_t>(one)) != 0;
}

/// A set of argument indices, one bit each.
constexpr std::uint16_t argument_set(std::initializer_list<int> which) {
  unsigned bits = 0;
  for (const int i : which) bits |= 1u << i;
  return static_cast<std::uint16_t>(bits);
}

/// Properties of an operator. `op_table` has the library's operators; `custom_op` creates schemas for user-defined
/// ones. Memory planning, quantization, fusion and targets query the schema instead of listing operators.
struct op_schema {
  op kind;                ///< Kind; `op::custom` for operators outside the library.
  std::string_view name;  ///< Name in printed graphs and messages.
  std::int8_t min_args;   ///< Minimum number of arguments.
  std::int8_t max_args;   ///< Maximum number of arguments.
  /// Name of `attributes::value`; empty if the operator does not use it.
  std::string_view value_name;
  std::string_view ints_name;  ///< Name of `attributes::ints`; empty if the operator does not use it.
  trait traits;                ///< Properties.
  /// Computes the result type from the argument types, or reports a problem.
  void (*infer)(type_inference&);
  /// Arguments that are weight matrices, which schemes store as codes; one bit each.
  std::uint16_t matrix_args = 0;
  std::int8_t state_arg = -1;  ///< Index of the argument that is a state, updated in place; -1: none.
  /// Index of the result that is the state after the node; -1: the node's own value.
  std::int8_t state_result = -1;
  /// Index of the argument [1,S,k] that maps each row of a value [1,S,k,N] to its expert; -1: none. Such operands and
  /// results have quantization parameters per expert.
  std::int8_t expert_arg = -1;

  /// True if the operator has at least one of these traits.
  constexpr bool is(trait t) const { return has(traits, t); }
  /// True if the argument is a weight matrix.
  constexpr bool is_matrix(std::size_t argument) const { return (matrix_args >> argument & 1u) != 0; }

  /// Returns this schema with additional traits. The `with` functions are for use with `custom_op`.
  constexpr op_schema with(trait more) const {
    op_schema r = *this;
    r.traits = r.traits | more;
    return r;
  }
  /// Returns this schema with weight matrices as the arguments of these indices.
  constexpr op_schema with_matrices(std::initializer_list<int> arguments) const {
    op_schema r = *this;
    r.matrix_args = argument_set(arguments);
    return r;
  }
  /// Returns this schema with a state at index `argument`; result `index` (-1: the node's own value) is the state after
  /// it.
  constexpr op_schema with_state(std::int8_t argument, std::int8_t index) const {
    op_schema r = *this;
    r.state_arg = argument;
    r.state_result = index;
    return r;
  }
  /// Returns this schema with the argument at index `argument` as the expert of each row.
  constexpr op_schema with_experts(std::int8_t argument) const {
    op_schema r = *this;
    r.expert_arg = argument;
    return r;
  }
};

namespace detail {
inline constexpr trait no_traits = trait::none, leaf_constant = trait::constant | trait::encodable,
                       moves_values = trait::layout | trait::moves;
}

/// Schemas of the library's operators, indexed by `op`.
inline constexpr op_schema op_table[] = {
    {op::input, "input", 0, 0, "", "", trait::outside, detail::infer_declared},
    {op::state, "state", 0, 0, "", "update", trait::outside, detail::infer_declared},
    {op::weight, "weight", 0, 0, "multiplier", "", detail::leaf_constant, detail::infer_declared},
    {op::splat, "splat", 0, 0, "value", "", detail::leaf_constant, detail::infer_declared},
    {op::rope_cos, "rope_cos", 0, 0, "theta", "", trait::constant, detail::infer_declared},
    {op::rope_sin, "rope_sin", 0, 0, "theta", "", trait::constant, detail::infer_declared},
    {op::add, "add", 2, 2, "", "", trait::commutative | trait::elementwise, detail::infer_binary},
    {op::mul, "mul", 2, 2, "", "", trait::commutative | trait::elementwise, detail::infer_binary},
    {op::neg, "neg", 1, 1, "", "", trait::elementwise, detail::infer_unary},
    {op::exp, "exp", 1, 1, "", "", trait::elementwise, detail::infer_unary},
    {op::tanh, "tanh", 1, 1, "", "", trait::elementwise, detail::infer_unary},
    {op::rsqrt, "rsqrt", 1, 1, "", "", trait::elementwise, detail::infer_unary},
    {op::sigmoid, "sigmoid", 1, 1, "", "", trait::elementwise, detail::infer_unary},
    {op::softplus, "softplus", 1, 1, "", "", trait::elementwise, detail::infer_unary},
    {op::silu, "silu", 1, 1, "", "", trait::elementwise, detail::infer_unary},
    {op::gelu, "gelu", 1, 1, "", "", trait::elementwise, detail::infer_unary},
    {op::gelu_tanh, "gelu_tanh", 1, 1, "", "", trait::elementwise, detail::infer_unary},
    {op::select, "select", 3, 3, "", "", detail::no_traits, detail::infer_select},
    {op::mean, "mean", 1, 1, "", "", detail::no_traits, detail::infer_mean},
    {op::softmax, "softmax", 1, 1, "", "", detail::no_traits, detail::infer_softmax},
    {op::rms_norm, "rms_norm", 2, 2, "eps", "", detail::no_traits, detail::infer_rms_norm},
    {op::layer_norm, "layer_norm", 3, 3, "eps", "", detail::no_traits, detail::infer_layer_norm},
    {op::lp_norm, "lp_norm", 1, 1, "", "", detail::no_traits, detail::infer_unary},
    {op::top_k, "top_k", 1, 1, "", "k", detail::no_traits, detail::infer_top_k},
    {op::linear, "linear", 2, 3, "", "", trait::product, detail::infer_linear, argument_set({1})},
    {op::matmul, "matmul", 2, 2, "", "", detail::no_traits, detail::infer_matmul},
    {op::conv1x1, "conv1x1", 2, 2, "", "", detail::no_traits, detail::infer_conv1x1, argument_set({1})},
    {op::swiglu, "swiglu", 2, 2, "", "", trait::elementwise, detail::infer_swiglu},
    {op::linear_add, "linear_add", 3, 3, "", "", trait::product, detail::infer_linear_add, argument_set({1})},
    {op::linear_swiglu, "linear_swiglu", 3, 3, "", "", trait::product, detail::infer_linear_swiglu,
     argument_set({1, 2})},
    {op::norm_linear, "norm_linear", 3, 6, "eps", "", trait::product, detail::infer_norm_linear,
     argument_set({2, 3, 4, 5})},
    {op::norm_linear_swiglu, "norm_linear_swiglu", 4, 4, "eps", "", trait::product, detail::infer_norm_linear_swiglu,
     argument_set({2, 3})},
    {op::add_norm, "add_norm", 3, 3, "eps", "", detail::no_traits, detail::infer_add_norm},
    {op::expert_linear, "expert_linear", 3, 3, "", "", trait::product, detail::infer_expert_linear, argument_set({2}),
     -1, -1, 1},
    {op::weighted_sum, "weighted_sum", 2, 2, "", "", detail::no_traits, detail::infer_weighted_sum},
    {op::reshape, "reshape", 1, 1, "", "", detail::moves_values | trait::view, detail::infer_reshape},
    {op::transpose, "transpose", 1, 1, "", "perm", detail::moves_values, detail::infer_transpose},
    {op::concat, "concat", 2, 4, "", "axis", trait::moves, detail::infer_concat},
    {op::slice, "slice", 1, 1, "", "range", detail::moves_values, detail::infer_slice},
    {op::cast, "cast", 1, 1, "", "", detail::no_traits, detail::infer_cast},
    {op::embedding, "embedding", 2, 2, "", "", detail::no_traits, detail::infer_embedding, argument_set({0})},
    {op::table_rows, "table_rows", 2, 2, "", "", trait::view, detail::infer_table_rows},
    {op::rope, "rope", 3, 3, "", "", detail::no_traits, detail::infer_rope},
    {op::norm_rope, "norm_rope", 4, 4, "eps", "", detail::no_traits, detail::infer_norm_rope},
    {op::kv_cache_update, "kv_cache_update", 3, 3, "", "", detail::no_traits, detail::infer_kv_cache_update, 0, 0},
    {op::attention, "attention", 4, 4, "scale", "", detail::no_traits, detail::infer_attention},
    {op::full_attention, "full_attention", 4, 4, "scale", "", detail::no_traits, detail::infer_full_attention},
    {op::gqa, "gqa", 9, 9, "scale", "heads", detail::no_traits, detail::infer_gqa},
    {op::causal_conv1d, "causal_conv1d", 3, 3, "", "", detail::no_traits, detail::infer_causal_conv1d, 0, 2, 0},
    {op::delta_rule, "delta_rule", 6, 6, "", "", detail::no_traits, detail::infer_delta_rule, 0, 5, 0},
    {op::get_tuple_element, "get_tuple_element", 1, 1, "", "index", detail::no_traits, detail::infer_get_tuple_element},
    {op::custom, "custom", 0, 10, "", "", detail::no_traits, detail::infer_custom},
    {op::quantize, "quantize", 1, 2, "", "", trait::quantization | trait::moves, detail::infer_quantize},
    {op::dequantize, "dequantize", 1, 2, "", "", trait::quantization | trait::moves | trait::view,
     detail::infer_dequantize},
    {op::fake_quant, "fake_quant", 1, 2, "", "", trait::quantization | trait::elementwise, detail::infer_fake_quant},
};

static_assert(std::size(op_table) == op_count, "every op has a row");
static_assert(
    [] {
      for (std::size_t i = 0; i < op_count; ++i)
        if (static_cast<std::size_t>(op_table[i].kind) != i) return false;
      return true;
    }(),
    "the rows stand in the order of the enumeration");

/// Schema of a library operator.
constexpr const op_schema& schema(op kind) { return op_table[static_cast<std::size_t>(kind)]; }
/// Name of a library operator.
constexpr std::string_view name(op kind) { return schema(kind).name; }

/// Creates the schema of a user-defined operator. Define it as a constant with static storage: nodes point to it, and
/// custom kernels, op map rows and patterns of the operator are found by its address.
constexpr op_schema custom_op(std::string_view name, std::int8_t args, void (*infer)(type_inference&),
                              std::string_view value_name = {}, std::string_view ints_name = {}) {
  return {op::custom, name, args, args, value_name, ints_name, trait::none, infer};
}

}  // namespace qwq
