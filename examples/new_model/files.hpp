// SPDX-License-Identifier: Apache-2.0
// Two targets for the hybrid model, and how its operators are written as ONNX.
#pragma once

#include <qwq/emit/onnx/genai_files.hpp>
#include <qwq/emit/onnx/standard_files.hpp>

#include "hybrid.hpp"

constexpr bool is_hybrid_op(qwq::op kind) {
  return kind == qwq::op::softmax || kind == qwq::op::top_k || kind == qwq::op::expert_linear ||
         kind == qwq::op::weighted_sum || kind == qwq::op::get_tuple_element;
}
// `Base` with the operators of the model; experts are quantized as other products are.
template <class Base>
struct with_experts : Base {
  static constexpr bool quantizes(qwq::op kind) { return kind == qwq::op::expert_linear || Base::quantizes(kind); }
  static constexpr bool supports(qwq::op kind) { return is_hybrid_op(kind) || Base::supports(kind); }
  static constexpr bool supports(const qwq::op_schema& row) { return &row == &mine::gated_scan; }
};
struct hybrid_standard : with_experts<qwq::onnx_standard> {
  static constexpr std::string_view name = "hybrid_standard";
};
struct hybrid_genai : with_experts<qwq::onnx_genai> {
  static constexpr std::string_view name = "hybrid_genai";
};

namespace hybrid_files {
using namespace qwq;
using namespace qwq::to_onnx;

// A Scan over the tokens: h = decay * h + u.
inline void write_gated_scan(graph_writer& w) {
  const shape& d = w.self().dims();
  ::onnx::NodeProto& scan = w.model().node("Scan", w.scope() + "Scan", std::vector{w.arg(2), w.arg(1), w.arg(0)});
  w.give_result_of(scan, 0);  // the state after the last token
  w.set_value(w.model().result(scan, w.scope() + "h", w.self().type));
  set_attribute(scan, "num_scan_inputs", std::int64_t{2});
  set_attribute(scan, "scan_input_axes", std::vector<std::int64_t>{1, 1});
  set_attribute(scan, "scan_output_axes", std::vector<std::int64_t>{1});
  ::onnx::AttributeProto& body = *scan.add_attribute();
  body.set_name("body");
  body.set_type(::onnx::AttributeProto::GRAPH);
  ::onnx::GraphProto& g = *body.mutable_g();
  g.set_name("step");
  const auto value = [&](::onnx::ValueInfoProto* v, const char* name) {
    v->set_name(name);
    auto& t = *v->mutable_type()->mutable_tensor_type();
    t.set_elem_type(::onnx::TensorProto::FLOAT);
    t.mutable_shape()->add_dim()->set_dim_value(1);
    t.mutable_shape()->add_dim()->set_dim_value(d[2].extent);
  };
  for (const char* name : {"h", "decay", "u"}) value(g.add_input(), name);
  for (const char* name : {"h_after", "h_of_token"}) value(g.add_output(), name);
  const auto node = [&](const char* type, std::initializer_list<const char*> in, const char* out) {
    ::onnx::NodeProto& n = *g.add_node();
    n.set_op_type(type);
    for (const char* name : in) n.add_input(name);
    n.add_output(out);
  };
  node("Mul", {"decay", "h"}, "kept");
  node("Add", {"kept", "u"}, "h_after");
  node("Identity", {"h_after"}, "h_of_token");
}

inline void write_top_k(graph_writer& w) {
  ::onnx::NodeProto& n = w.emit("TopK", std::vector{w.arg(0), w.model().int64s({w.self().attr.ints[0]})});
  const std::string indices = w.model().result(n, n.name() + "_indices", {dtype::i64, w.self().dims()});
  ::onnx::NodeProto& cast = w.model().node("Cast", n.name() + "_experts", std::vector{indices});
  set_attribute(cast, "to", std::int64_t{element_type(dtype::i32)});
  w.set_result(0, w.model().result(cast, n.name() + "_experts", {dtype::i32, w.self().dims()}));
}

// Every row times the matrices of all experts, of which one is kept.
inline void write_expert_linear(graph_writer& w) {
  const shape &y = w.self().dims(), &weight = w.arg_node(2).dims();
  const dim rows{y[1].extent * y[2].extent, "expert_rows"}, experts = weight[0], in = weight[2], out = weight[1];
  model_builder& m = w.model();
  const auto type = [](const shape& dims) { return tensor_type{dtype::f32, dims}; };
  const auto emit = [&](const char* op, const std::vector<std::string>& inputs,
                        const tensor_type& result) -> ::onnx::NodeProto& { return w.emit_helper(op, inputs, result); };
  std::string x = w.arg(0);
  if (w.arg_node(0).dims().size() == 3)  // the same row for each expert of a token
    x = emit(
            "Expand",
            {emit("Unsqueeze", {x, m.int64s({2})}, type({1, y[1], 1, in})).output(0), m.int64s({1, 1, y[2].extent, 1})},
            type({1, y[1], y[2], in}))
            .output(0);
  x = emit("Reshape", {x, m.int64s({-1, in.extent})}, type({rows, in})).output(0);
  ::onnx::NodeProto& turned = emit("Transpose", {w.arg(2)}, type({experts, in, out}));
  set_attribute(turned, "perm", std::vector<std::int64_t>{0, 2, 1});
  const std::string all = emit("MatMul", {x, turned.output(0)}, type({experts, rows, out})).output(0);
  ::onnx::NodeProto& cast = emit("Cast", {w.arg(1)}, {dtype::i64, w.arg_node(1).dims()});
  set_attribute(cast, "to", std::int64_t{element_type(dtype::i64)});
  const std::string who =
      emit("Expand",
           {emit("Reshape", {cast.output(0), m.int64s({1, -1, 1})}, {dtype::i64, {1, rows, 1}}).output(0),
            m.int64s({1, 1, out.extent})},
           {dtype::i64, {1, rows, out}})
          .output(0);
  ::onnx::NodeProto& kept = emit("GatherElements", {all, who}, type({1, rows, out}));
  set_attribute(kept, "axis", std::int64_t{0});
  w.emit("Reshape", std::vector{kept.output(0), m.int64s({1, -1, y[2].extent, out.extent})});
}

inline void write_weighted_sum(graph_writer& w) {
  const shape& x = w.arg_node(0).dims();
  const std::string p =
      w.emit_helper("Unsqueeze", std::vector{w.arg(1), w.model().int64s({2})}, {dtype::f32, {x[0], x[1], 1, x[2]}})
          .output(0);
  const std::string sum =
      w.emit_helper("MatMul", std::vector{p, w.arg(0)}, {dtype::f32, {x[0], x[1], 1, x[3]}}).output(0);
  w.emit("Squeeze", std::vector{sum, w.model().int64s({2})});
}

// In the files of onnx_genai, matrices in blocks are written by the operators that read them; experts are dequantized.
inline bool is_expert(const node& n) { return n.kind == op::weight && n.dims().size() == 3; }
inline void write_hybrid_weight(graph_writer& w) { is_expert(w.self()) ? write_weight(w) : write_weight_or_blocks(w); }
inline void write_hybrid_dequantize(graph_writer& w) {
  if (is_expert(w.arg_node(0))) write_dequantize(w);
}

constexpr op_map<graph_writer> extended(const op_map<graph_writer>& base) {
  return base.with(op::softmax, write_plain<"Softmax">)
      .with(op::top_k, write_top_k)
      .with(op::get_tuple_element, write_result)
      .with(op::expert_linear, write_expert_linear)
      .with(op::weighted_sum, write_weighted_sum)
      .with(mine::gated_scan, write_gated_scan);
}
}  // namespace hybrid_files

template <>
struct qwq::to_onnx::format_variant<hybrid_standard> : format_variant<qwq::onnx_standard> {
  static constexpr op_map ops = hybrid_files::extended(opset23_ops);
};
template <>
struct qwq::to_onnx::format_variant<hybrid_genai> : format_variant<qwq::onnx_genai> {
  static constexpr op_map ops = hybrid_files::extended(genai_ops)
                                    .with(op::weight, hybrid_files::write_hybrid_weight)
                                    .with(op::dequantize, hybrid_files::write_hybrid_dequantize);
};
