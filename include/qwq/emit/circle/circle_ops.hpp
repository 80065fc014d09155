// SPDX-License-Identifier: Apache-2.0
// Defines the op maps of Circle and TFLite: `shared_ops`, and `circle_ops` with Circle's own operators.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "qwq/emit/circle/circle_graph_writer.hpp"

namespace qwq::to_circle {

/// Operator codes of the format.
using code = schema::BuiltinOperator;

/// Writes an operator with the same arguments and an empty options table.
template <code Code, class... Options>
void write_plain(graph_writer& w) {
  w.emit_each(Code, Options{}...);
}

/// Writes an input or a state.
inline void write_input(graph_writer& w) { w.emit_input(); }

/// Writes a weight leaf as floats, or as codes if it has a slot.
inline void write_weight(graph_writer& w) {
  const node& n = w.self();
  const std::string name = w.tensor_of_leaf();
  const weight_source t = w.constants().find(n, name);
  const std::string key = t.key();
  const slot* s = w.leaf_slot();
  if (s == nullptr)
    w.emit_floats(name, key, w.constants().floats(t, n.type.type));
  else if (s->kind == slot_kind::weight)
    w.emit_codes(name, key, *s, w.constants().matrix(*s, t));
  else
    w.emit_codes(name, key, *s, w.constants().constant(*s, read_constant(t)));
}

/// Writes a splat as a constant of its full shape.
inline void write_fill(graph_writer& w) {
  const node& n = w.self();
  const std::int64_t count = n.dims().elements();
  const std::string name(n.name.view());
  const std::string key = leaf_key("fill" + qwq::detail::to_string(extents(n.dims())), n.attr.value);
  if (const slot* s = w.leaf_slot())
    w.emit_codes(
        name, key, *s,
        w.constants().constant(*s, std::vector(static_cast<std::size_t>(count), static_cast<float>(n.attr.value))));
  else
    w.emit_floats(name, key, tensor_source::fill(n.attr.value, count, n.type.type));
}

/// Writes ADD. On int16 codes scales are arbitrary: the option's default requires powers of two.
inline void write_add(graph_writer& w) {
  schema::AddOptionsT o;
  o.pot_scale_int16 = false;
  w.emit_each(code::ADD, o);
}

/// Writes MEAN over the last axis.
inline void write_mean(graph_writer& w) {
  schema::ReducerOptionsT o;
  o.keep_dims = true;
  const auto last = static_cast<std::int32_t>(w.self().dims().size()) - 1;
  w.emit(code::MEAN, {w.arg(0), w.model().ints({last})}, o);
}

/// Writes SOFTMAX with beta 1.
inline void write_softmax(graph_writer& w) {
  schema::SoftmaxOptionsT o;
  o.beta = 1;
  w.emit_each(code::SOFTMAX, o);
}

/// Writes Circle's RMS_NORM.
inline void write_rms_norm(graph_writer& w) {
  schema::RmsNormOptionsT o;
  o.epsilon = static_cast<float>(w.self().attr.value);
  w.emit(code::RMS_NORM, w.args(), o);
}

/// Writes FULLY_CONNECTED, with or without bias.
inline void write_linear(graph_writer& w) {
  schema::FullyConnectedOptionsT o;
  o.keep_num_dims = true;
  const tensor_id bias = w.self().args.size() == 3 ? w.arg(2) : no_tensor;
  w.emit(code::FULLY_CONNECTED, {w.arg(0), w.arg(1), bias}, o);
}

/// Writes BATCH_MATMUL. Neither operand is adjoint: transposes are operators of their own.
inline void write_matmul(graph_writer& w) {
  if (w.is_per_head()) {
    w.split(0);
    w.split(1);
  }
  w.emit_each(code::BATCH_MATMUL, schema::BatchMatMulOptionsT{});
}

/// Writes RESHAPE; a regrouping of heads is resolved in the writer if attention is per head.
inline void write_reshape(graph_writer& w) {
  const shape &from = w.arg_node(0).dims(), &to = w.self().dims();
  if (w.is_per_head() && from.size() == 4 && from.last() == to.last() && from[1] != to[1]) return w.regroup();
  schema::ReshapeOptionsT o;
  for (const dim& d : w.self().dims())
    o.new_shape.push_back(w.model().is_dynamic(d) ? -1 : static_cast<std::int32_t>(d.extent));
  w.emit(code::RESHAPE, {w.arg(0), w.model().ints(o.new_shape)}, o);
}

/// Writes TRANSPOSE.
inline void write_transpose(graph_writer& w) {
  const auto& perm = w.self().attr.ints;
  w.emit(code::TRANSPOSE, {w.arg(0), w.model().ints({perm.begin(), perm.end()})}, schema::TransposeOptionsT{});
}

/// Writes CONCATENATION.
inline void write_concat(graph_writer& w) {
  schema::ConcatenationOptionsT o;
  o.axis = w.self().attr.ints[0];
  w.emit(code::CONCATENATION, w.args(), o);
}

/// Writes SLICE [x, begin, size]; a size of -1 extends to the end of the axis.
inline void write_slice(graph_writer& w) {
  const auto& range = w.self().attr.ints;
  std::vector<std::int32_t> begin(w.self().dims().size()), size(begin.size(), -1);
  const auto axis = static_cast<std::size_t>(range[2]);
  begin[axis] = range[0];
  size[axis] = range[1] - range[0];
  w.emit(code::SLICE, {w.arg(0), w.model().ints(begin), w.model().ints(size)}, schema::SliceOptionsT{});
}

/// Writes GATHER. In integer mode its result has codes of its own, not those of the table, whose rows differ in scale;
/// TICO does the same.
inline void write_embedding(graph_writer& w) { w.emit(code::GATHER, w.args(), schema::GatherOptionsT{}); }

/// Writes a quantize node: see `graph_writer::emit_quantize`.
inline void write_quantize(graph_writer& w) { w.emit_quantize(); }
/// Writes a dequantize node: see `graph_writer::emit_dequantize`.
inline void write_dequantize(graph_writer& w) { w.emit_dequantize(); }

/// Operators that both Circle and TFLite have.
inline constexpr op_map shared_ops = op_map<graph_writer>{}
                                         .with(op::input, write_input)
                                         .with(op::state, write_input)
                                         .with(op::weight, write_weight)
                                         .with(op::splat, write_fill)
                                         .with(op::add, write_add)
                                         .with(op::mul, write_plain<code::MUL, schema::MulOptionsT>)
                                         .with(op::neg, write_plain<code::NEG, schema::NegOptionsT>)
                                         .with(op::rsqrt, write_plain<code::RSQRT>)
                                         .with(op::sigmoid, write_plain<code::LOGISTIC>)
                                         .with(op::mean, write_mean)
                                         .with(op::softmax, write_softmax)
                                         .with(op::linear, write_linear)
                                         .with(op::matmul, write_matmul)
                                         .with(op::reshape, write_reshape)
                                         .with(op::transpose, write_transpose)
                                         .with(op::concat, write_concat)
                                         .with(op::slice, write_slice)
                                         .with(op::embedding, write_embedding)
                                         .with(op::quantize, write_quantize)
                                         .with(op::dequantize, write_dequantize);

/// `shared_ops` and the operators of Circle alone.
inline constexpr op_map circle_ops = shared_ops.with(op::rms_norm, write_rms_norm);

}  // namespace qwq::to_circle
