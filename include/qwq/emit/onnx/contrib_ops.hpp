// SPDX-License-Identifier: Apache-2.0
// How each operator is written: the rows of ai.onnx, and those of com.microsoft.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "qwq/emit/onnx/onnx_graph_writer.hpp"

namespace qwq::to_onnx {

/// An operator of ai.onnx with the same arguments and no attributes.
template <fixed_string Type>
void write_plain(graph_writer& w) {
  w.emit(Type.view());
}

inline void write_input(graph_writer& w) {
  const std::string& name = w.outside_name();
  if (!w.model().has_value(name)) w.model().input(name, w.self().type);
  w.set_value(name);
}

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

/// A constant of the whole shape: operators that read fills do not broadcast.
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

inline void write_rope_table(graph_writer& w) {
  const node& n = w.self();
  const std::string kind = n.kind == op::rope_cos ? "cos_cache" : "sin_cache";
  const std::string key = leaf_key(kind, n.attr.value) + ":" + std::string(qwq::name(n.type.type));
  w.set_value(w.model().initializer(w.model().name_of(key, kind), key, n.type.type, extents(n.dims()),
                                    tensor_source::table(n)));
}

inline void write_lp_norm(graph_writer& w) {
  ::onnx::NodeProto& n = w.emit("LpNormalization");
  set_attribute(n, "axis", std::int64_t{-1});
  set_attribute(n, "p", std::int64_t{2});
}

inline void write_conv1x1(graph_writer& w) {
  set_attribute(w.emit("Conv"), "kernel_shape", std::vector<std::int64_t>{1, 1});
}

/// x W^T (+ bias) over the last axis. A matrix in blocks is stored transposed, for MatMul. Others are stored as they are,
/// for Gemm: it takes matrices, so x becomes one and the result takes its shape.
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
  shape rows;  // all leading axes in one, under its name when only one of them is not 1
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

inline void write_reshape(graph_writer& w) { w.set_reshaped(w.arg(0), w.arg_node(0).type); }

inline void write_transpose(graph_writer& w) {
  const auto& perm = w.self().attr.ints;
  set_attribute(w.emit("Transpose"), "perm", std::vector<std::int64_t>(perm.begin(), perm.end()));
}

inline void write_concat(graph_writer& w) {
  set_attribute(w.emit("Concat"), "axis", std::int64_t{w.self().attr.ints[0]});
}

inline void write_slice(graph_writer& w) {
  const auto& range = w.self().attr.ints;
  model_builder& m = w.model();
  w.emit("Slice", std::vector{w.arg(0), m.int64s({range[0]}), m.int64s({range[1]}), m.int64s({range[2]})});
}

inline void write_cast(graph_writer& w) {
  set_attribute(w.emit("Cast"), "to", static_cast<std::int64_t>(element_type(w.self().type.type)));
}

inline void write_quantize(graph_writer& w) { w.emit_quantize(); }
inline void write_dequantize(graph_writer& w) { w.emit_dequantize(); }

/// com.microsoft GroupQueryAttention: our arguments are its first nine inputs in their order. Attributes at their
/// defaults are left out, because newer ones make older runtimes refuse the file.
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

/// Results were given their values when their producer was written; of an operator whose first result is its own value,
/// that is result 0.
inline void write_result(graph_writer& w) {
  if (!w.has_value()) w.set_value(w.arg(0));
}

/// Operators that their readers write.
inline void write_with_reader(graph_writer&) {}

/// What all targets write alike, in ai.onnx 21.
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

/// The same and com.microsoft 1.
inline constexpr op_map contrib_ops = common_ops.with(op::gqa, write_gqa).with(op::get_tuple_element, write_result);

}  // namespace qwq::to_onnx
