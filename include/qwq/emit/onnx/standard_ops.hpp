// SPDX-License-Identifier: Apache-2.0
// Defines op maps for norm, rotation, cache and attention in ai.onnx: `opset23_ops`, and decomposed in `opset21_ops`.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "qwq/emit/onnx/contrib_ops.hpp"

namespace qwq::to_onnx {

// Names of values that a model computes once for all layers. position_ids: position of each token, i64 [1,S].
// causal_mask: for each token, the tokens it attends to, bool [S,T].
inline const std::string position_ids = "position_ids",  ///< Position of each token of a run: i64 [1,S].
    causal_mask = "causal_mask";                         ///< For each token, the tokens that it attends to: bool [S,T].

// Names of the sequence extents of caches: [1,heads,past,D] as inputs, [1,heads,total,D] as outputs.
inline constexpr std::string_view past_length = "past_sequence_length",  ///< Symbol of the number of cached tokens.
    total_length = "total_sequence_length";                              ///< Symbol of the number of all tokens.

namespace detail {

/// [1,S,heads,D] -> [1,S,heads*D]
inline shape merged_heads(const shape& d) { return {d[0], d[1], d[2].extent * d[3].extent}; }

/// Writes Transpose of `x` with `perm`; `result` is the type of its output.
inline std::string transposed(graph_writer& w, const std::string& x, const tensor_type& result,
                              const std::vector<std::int64_t>& perm) {
  ::onnx::NodeProto& n = w.emit_helper("Transpose", std::vector{x}, result);
  set_attribute(n, "perm", perm);
  return n.output(0);
}

}  // namespace detail

/// Source of the angles of a rotation: table rows at positions, or rows that another part computed (no positions).
struct rotation_source {
  std::string table;      ///< Rows, for all positions or for the tokens only.
  std::string positions;  ///< Row of each token; empty if `table` holds the rows of the tokens only.
};
/// Returns the tables and positions of the rotation whose cosines are argument `argument` of the current node.
inline rotation_source source_of(graph_writer& w, std::size_t argument) {
  const node& rows = w.arg_node(argument);
  if (rows.kind != op::table_rows) return {w.arg(argument), ""};
  return {w.value(rows.args[0]), w.value(rows.args[1])};
}

// Opset 23. The operators for rotation and attention use [1,S,heads*D].

/// Writes RMSNormalization.
inline void write_rms_normalization(graph_writer& w) {
  ::onnx::NodeProto& n = w.emit("RMSNormalization");
  set_attribute(n, "axis", std::int64_t{-1});
  set_attribute(n, "epsilon", static_cast<float>(w.self().attr.value));
}

/// Writes RotaryEmbedding.
inline void write_rotary_embedding(graph_writer& w) {
  const tensor_type& x = w.self().type;
  const tensor_type flat{x.type, detail::merged_heads(x.dims)};
  const rotation_source cos = source_of(w, 1), sin = source_of(w, 2);
  std::vector operands{w.reshape(w.arg(0), x, flat.dims), cos.table, sin.table};
  if (!cos.positions.empty()) operands.push_back(cos.positions);
  ::onnx::NodeProto& n = w.emit_helper("RotaryEmbedding", operands, flat);
  set_attribute(n, "num_heads", x.dims[2].extent);
  const std::int64_t rotated = 2 * w.arg_node(1).dims().last().extent;
  if (rotated < x.dims[3].extent) set_attribute(n, "rotary_embedding_dim", rotated);
  w.set_reshaped(n.output(0), flat);
}

/// Writes Attention, which appends to its caches itself: it also covers the `kv_cache_update` node, as a further
/// result.
inline void write_attention(graph_writer& w) {
  const node &g = w.self(), &keys = w.arg_node(1), &values = w.arg_node(2);
  const auto flat = [&](std::size_t id) {
    return w.reshape(w.value(id), w.at(id).type, detail::merged_heads(w.at(id).dims()));
  };
  const tensor_type type{g.type.type, detail::merged_heads(g.dims())};
  ::onnx::NodeProto& n = w.emit_helper("Attention",
                                       std::vector{flat(g.args[0]), flat(keys.args[1]), flat(values.args[1]),
                                                   std::string(), w.value(keys.args[0]), w.value(values.args[0])},
                                       type);
  set_attribute(n, "is_causal", std::int64_t{1});
  set_attribute(n, "q_num_heads", g.dims()[2].extent);
  set_attribute(n, "kv_num_heads", keys.dims()[1].extent);
  set_attribute(n, "scale", static_cast<float>(g.attr.value));
  w.give_result(n, g.args[1]);
  w.give_result(n, g.args[2]);
  w.set_reshaped(n.output(0), type);
}

// Decompositions for opset 21.

/// Writes RMSNorm as smaller operators.
inline void write_decomposed_rms_norm(graph_writer& w) {
  const tensor_type& x = w.self().type;
  tensor_type one = x;
  one.dims[one.dims.size() - 1] = dim{1};
  const std::string square = w.emit_helper("Mul", std::vector{w.arg(0), w.arg(0)}, x).output(0);
  const std::string mean = w.emit_helper("ReduceMean", std::vector{square, w.model().int64s({-1})}, one).output(0);
  const std::string shifted =
      w.emit_helper("Add", std::vector{mean, w.model().scalar(w.self().attr.value)}, one).output(0);
  const std::string root = w.emit_helper("Sqrt", std::vector{shifted}, one).output(0);
  const std::string unit = w.emit_helper("Div", std::vector{w.arg(0), root}, x).output(0);
  w.emit("Mul", std::vector{unit, w.arg(1)});
}

/// Writes half-split RoPE: [a cos - b sin, b cos + a sin], with table rows that are gathered once for all layers.
/// Channels after the rotated ones are copied.
inline void write_decomposed_rope(graph_writer& w) {
  const shape& d = w.self().dims();
  const dim half{w.arg_node(1).dims().last().extent};
  const std::int64_t rotated = 2 * half.extent, passing = d[3].extent - rotated;
  const tensor_type half_type{dtype::f32, {d[0], d[1], d[2], half}}, rows_type{dtype::f32, {d[0], d[1], half}};
  const auto rows = [&](std::size_t argument) {
    const auto [table, positions] = source_of(w, argument);
    const std::string found =
        positions.empty() ? table
                          : w.model().once("Gather", table + "/Gather", std::vector{table, positions}, rows_type);
    return w.model().reshape(table + "/Reshape", found, rows_type, {d[0], d[1], 1, half});
  };
  const std::string cos = rows(1), sin = rows(2);
  const auto channels = [&](std::int64_t begin, std::int64_t end) {
    model_builder& m = w.model();
    const tensor_type type{dtype::f32, {d[0], d[1], d[2], dim{end - begin}}};
    const std::vector operands{w.arg(0), m.int64s({begin}), m.int64s({end}), m.int64s({3})};
    return w.emit_helper("Slice", operands, type).output(0);
  };
  const std::string turning = passing > 0 ? channels(0, rotated) : w.arg(0);
  ::onnx::NodeProto& split = w.emit_helper("Split", std::vector{turning}, half_type);
  w.model().result(split, split.name() + "_output_1", half_type);
  set_attribute(split, "axis", std::int64_t{-1});
  set_attribute(split, "num_outputs", std::int64_t{2});
  const std::string &a = split.output(0), &b = split.output(1);
  const auto apply = [&](const char* type, const std::string& x, const std::string& y) {
    return w.emit_helper(type, std::vector{x, y}, half_type).output(0);
  };
  const std::string first = apply("Sub", apply("Mul", a, cos), apply("Mul", b, sin));
  const std::string second = apply("Add", apply("Mul", b, cos), apply("Mul", a, sin));
  std::vector pieces{first, second};
  if (passing > 0) pieces.push_back(channels(rotated, d[3].extent));
  set_attribute(w.emit("Concat", pieces), "axis", std::int64_t{-1});
}

/// Writes the cache update as a Concat of past and new rows.
inline void write_decomposed_kv_append(graph_writer& w) {
  const shape& x = w.arg_node(1).dims();
  const std::string rows = detail::transposed(w, w.arg(1), {dtype::f32, {x[0], x[2], x[1], x[3]}}, {0, 2, 1, 3});
  set_attribute(w.emit("Concat", std::vector{w.arg(0), rows}), "axis", std::int64_t{2});
}

/// Writes softmax(scale q K^T) V. The query heads that share a key head are rows of one matmul.
inline void write_decomposed_attention(graph_writer& w) {
  const shape &q = w.self().dims(), &cache = w.arg_node(1).dims();
  const dim kv_heads = cache[1], total{cache[2].extent, total_length}, width = q[3],
            group_rows{q[2].extent / kv_heads.extent * q[1].extent, "group_rows"};
  const auto type = [](const shape& dims) { return tensor_type{dtype::f32, dims}; };
  const tensor_type by_head = type({1, q[2], q[1], width}), scores_by_head = type({1, q[2], q[1], total});
  const shape grouped{1, kv_heads, group_rows, width}, grouped_scores{1, kv_heads, group_rows, total};
  const auto emit = [&](const char* op, const std::vector<std::string>& inputs, const tensor_type& result) {
    return w.emit_helper(op, inputs, result).output(0);
  };

  const std::string query = emit(
      "Mul", {detail::transposed(w, w.arg(0), by_head, {0, 2, 1, 3}), w.model().scalar(w.self().attr.value)}, by_head);
  const std::string keys = detail::transposed(w, w.arg(1), type({1, kv_heads, width, total}), {0, 1, 3, 2});
  const std::string scores = emit("MatMul", {w.reshape(query, by_head, grouped), keys}, type(grouped_scores));
  const std::string seen = emit("Where",
                                {causal_mask, w.reshape(scores, type(grouped_scores), scores_by_head.dims),
                                 w.model().scalar(std::numeric_limits<float>::lowest())},
                                scores_by_head);
  ::onnx::NodeProto& softmax = w.emit_helper("Softmax", std::vector{seen}, scores_by_head);
  set_attribute(softmax, "axis", std::int64_t{-1});
  const std::string mixed =
      emit("MatMul", {w.reshape(softmax.output(0), scores_by_head, grouped_scores), w.arg(2)}, type(grouped));
  set_attribute(w.emit("Transpose", std::vector{w.reshape(mixed, type(grouped), by_head.dims)}), "perm",
                std::vector<std::int64_t>{0, 2, 1, 3});
}

/// Op map of opset 23.
inline constexpr op_map opset23_ops = common_ops.with(op::rms_norm, write_rms_normalization)
                                          .with(op::rope, write_rotary_embedding)
                                          .with(op::table_rows, write_with_reader)
                                          .with(op::kv_cache_update, write_with_reader)
                                          .with(op::attention, write_attention);
/// Op map of opset 21.
inline constexpr op_map opset21_ops = common_ops.with(op::rms_norm, write_decomposed_rms_norm)
                                          .with(op::table_rows, write_with_reader)
                                          .with(op::rope, write_decomposed_rope)
                                          .with(op::kv_cache_update, write_decomposed_kv_append)
                                          .with(op::attention, write_decomposed_attention);

}  // namespace qwq::to_onnx
