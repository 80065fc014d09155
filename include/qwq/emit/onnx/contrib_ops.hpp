// SPDX-License-Identifier: Apache-2.0
// Defines `common_ops`, the op map of ai.onnx 21, and `contrib_ops`, which adds com.microsoft operators.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "qwq/emit/onnx/onnx_graph_writer.hpp"

namespace qwq::to_onnx {

/// Writes an ai.onnx operator with the same arguments and no attributes.
template <fixed_string Type>
void write_plain(graph_writer& w) {
  w.emit(Type.view());
}

/// Writes an input or a state: a model input, unless the name already has a value.
inline void write_input(graph_writer& w) {
  const std::string& name = w.outside_name();
  if (!w.model().has_value(name)) w.model().input(name, w.self().type);
  w.set_value(name);
}

/// Writes a weight leaf as an initializer of floats, or of codes if it has a slot.
inline void write_weight(graph_writer& w) {
  const node& n = w.self();
  const std::string name = w.tensor(n);
  const weight_source t = w.constants().find(n, name);
  const std::string key = t.key(), base = w.model().name_of(key, name);
  const slot* s = w.leaf_slot();
  if (s == nullptr)
    w.set_value(w.model().initializer(base, key + ":" + std::string(qwq::name(n.type.type)), n.type.type,
                                      extents(n.dims()), w.constants().floats(t, n.type.type)));
  else if (s->kind == slot_kind::weight && s->format.block > 0)
    n.dims().size() < 4 ? w.emit_block_codes(base, key, *s, *w.constants().matrix(*s, t))
                        : w.emit_block_kernel(base, key, *s, *w.constants().matrix(*s, t));
  else if (s->kind == slot_kind::weight)
    w.emit_codes(base, key, *s, *w.constants().matrix(*s, t));
  else
    w.emit_codes(base, key, *s, *w.constants().constant(*s, read_constant(t)));
}

/// Writes a splat as a constant of its full shape: operators that use splats do not broadcast. Throws `error` for
/// symbolic extents.
inline void write_fill(graph_writer& w) {
  const node& n = w.self();
  for (const dim& d : n.dims())
    if (w.model().is_symbolic(d))
      throw error("emit: fill '" + std::string(n.name.view()) + "': expected static extents, found " +
                  std::string(d.symbol));
  const std::int64_t count = n.dims().elements();
  const std::string key = leaf_key("fill" + qwq::detail::to_string(extents(n.dims())), n.attr.value);
  const std::string base = w.model().name_of(key, std::string(n.name.view()));
  if (const slot* s = w.leaf_slot())
    w.emit_codes(
        base, key, *s,
        *w.constants().constant(*s, std::vector(static_cast<std::size_t>(count), static_cast<float>(n.attr.value))));
  else
    w.set_value(w.model().initializer(base, key + ":" + std::string(qwq::name(n.type.type)), n.type.type,
                                      extents(n.dims()), tensor_source::fill(n.attr.value, count, n.type.type)));
}

/// Writes a RoPE table as the initializer cos_cache or sin_cache.
inline void write_rope_table(graph_writer& w) {
  const node& n = w.self();
  const std::string kind = n.kind == op::rope_cos ? "cos_cache" : "sin_cache";
  const std::string key = leaf_key(kind, n.attr.value) + ":" + std::string(qwq::name(n.type.type));
  w.set_value(w.model().initializer(w.model().name_of(key, kind), key, n.type.type, extents(n.dims()),
                                    tensor_source::table(n)));
}

/// Writes LpNormalization, p = 2, over the last axis.
inline void write_lp_norm(graph_writer& w) {
  ::onnx::NodeProto& n = w.emit("LpNormalization");
  set_attribute(n, "axis", std::int64_t{-1});
  set_attribute(n, "p", std::int64_t{2});
}

/// Writes Conv with a 1x1 kernel.
inline void write_conv1x1(graph_writer& w) {
  set_attribute(w.emit("Conv"), "kernel_shape", std::vector<std::int64_t>{1, 1});
}

/// Writes x W^T (+ bias) over the last axis. A blockwise matrix is stored transposed, for MatMul. Other matrices are
/// stored as they are, for Gemm, which requires 2-D operands: x is reshaped to a matrix, and the result back.
inline void write_linear(graph_writer& w) {
  const node& weight = w.arg_node(1);
  const bool bias = w.self().args.size() == 3;
  if (weight.kind == op::dequantize && w.names_of(weight.slot).transposed) {
    const std::vector operands{w.arg(0), w.arg(1)};
    if (!bias) return void(w.emit("MatMul", operands));
    const std::string product = w.emit_helper("MatMul", operands, w.self().type).output(0);
    return void(w.emit("Add", std::vector{product, w.arg(2)}));
  }
  const tensor_type& x = w.arg_node(0).type;
  shape rows;  // all leading axes merged; named if only one of them is not 1
  rows.push_back(dim{1});
  for (std::size_t i = 0; i + 1 < x.dims.size(); ++i)
    if (x.dims[i] != dim{1}) rows[0] = rows[0] == dim{1} ? x.dims[i] : dim{rows[0].extent * x.dims[i].extent};
  const tensor_type product{dtype::f32, {rows[0], w.self().dims().last()}};
  const std::string matrix = w.reshape(w.arg(0), x, {rows[0], x.dims.last()});
  std::vector operands{matrix, w.arg(1)};
  if (bias) operands.push_back(w.arg(2));
  ::onnx::NodeProto& gemm = w.emit_helper("Gemm", operands, product);
  set_attribute(gemm, "transB", std::int64_t{1});
  w.set_reshaped(gemm.output(0), product);
}

/// Writes Reshape.
inline void write_reshape(graph_writer& w) { w.set_reshaped(w.arg(0), w.arg_node(0).type); }

/// Writes Transpose.
inline void write_transpose(graph_writer& w) {
  const auto& perm = w.self().attr.ints;
  set_attribute(w.emit("Transpose"), "perm", std::vector<std::int64_t>(perm.begin(), perm.end()));
}

/// Writes Concat.
inline void write_concat(graph_writer& w) {
  set_attribute(w.emit("Concat"), "axis", std::int64_t{w.self().attr.ints[0]});
}

/// Writes Slice along one axis.
inline void write_slice(graph_writer& w) {
  const auto& range = w.self().attr.ints;
  model_builder& m = w.model();
  w.emit("Slice", std::vector{w.arg(0), m.int64s({range[0]}), m.int64s({range[1]}), m.int64s({range[2]})});
}

/// Writes Cast.
inline void write_cast(graph_writer& w) {
  set_attribute(w.emit("Cast"), "to", static_cast<std::int64_t>(element_type(w.self().type.type)));
}

/// Writes a quantize node: see `graph_writer::emit_quantize`.
inline void write_quantize(graph_writer& w) { w.emit_quantize(); }
/// Writes a dequantize node: see `graph_writer::emit_dequantize`.
inline void write_dequantize(graph_writer& w) { w.emit_dequantize(); }

/// Writes com.microsoft GroupQueryAttention: the node's arguments are its first nine inputs, in order. Attributes at
/// their defaults are left out, because older runtimes reject files with newer attributes.
inline void write_gqa(graph_writer& w) {
  const node& g = w.self();
  ::onnx::NodeProto& n = w.emit("GroupQueryAttention", microsoft);
  set_attribute(n, "num_heads", std::int64_t{g.attr.ints[0]});
  set_attribute(n, "kv_num_heads", std::int64_t{g.attr.ints[1]});
  set_attribute(n, "do_rotary", std::int64_t{1});
  const float by_default = 1.0f / std::sqrt(static_cast<float>(w.arg_node(3).dims().last().extent));
  if (static_cast<float>(g.attr.value) != by_default) set_attribute(n, "scale", static_cast<float>(g.attr.value));
  w.emit_further_results(n, 3);
}

/// Writes a get_tuple_element node. Results get their values when their producer is written, except result 0 of an
/// operator whose own value is its first result.
inline void write_result(graph_writer& w) {
  if (!w.has_value()) w.set_value(w.arg(0));
}

/// Writes nothing: the operators that use the node's value write it.
inline void write_with_reader(graph_writer&) {}

/// Rows that all targets share, in ai.onnx 21.
inline constexpr op_map common_ops = op_map<graph_writer>{}
                                         .with(op::input, write_input)
                                         .with(op::state, write_input)
                                         .with(op::weight, write_weight)
                                         .with(op::splat, write_fill)
                                         .with(op::rope_cos, write_rope_table)
                                         .with(op::rope_sin, write_rope_table)
                                         .with(op::add, write_plain<"Add">)
                                         .with(op::mul, write_plain<"Mul">)
                                         .with(op::sigmoid, write_plain<"Sigmoid">)
                                         .with(op::lp_norm, write_lp_norm)
                                         .with(op::linear, write_linear)
                                         .with(op::conv1x1, write_conv1x1)
                                         .with(op::reshape, write_reshape)
                                         .with(op::transpose, write_transpose)
                                         .with(op::concat, write_concat)
                                         .with(op::slice, write_slice)
                                         .with(op::cast, write_cast)
                                         .with(op::embedding, write_plain<"Gather">)
                                         .with(op::quantize, write_quantize)
                                         .with(op::dequantize, write_dequantize);

/// `common_ops` and the operators of com.microsoft 1.
inline constexpr op_map contrib_ops = common_ops.with(op::gqa, write_gqa).with(op::get_tuple_element, write_result);

}  // namespace qwq::to_onnx
