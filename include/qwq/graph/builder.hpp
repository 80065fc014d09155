// SPDX-License-Identifier: Apache-2.0
// Building graphs: every node is checked for arity, shape and dtype when it is added.
#pragma once

#include <string_view>

#include "qwq/graph/graph.hpp"

namespace qwq {

/// Appends checked nodes to a graph. The first problem is kept in the graph's `error`, later ones follow from it.
class builder {
 public:
  constexpr explicit builder(graph_ref g) : graph_(g) {}  ///< Appends to `g`.

  /// Module that new nodes belong to ("self_attn.q_proj"); shown in traces, messages and emitted names.
  text<47> module{};
  /// Rule that new nodes are made by.
  text<31> rule{};

  /// Appends a node of an operator, given by its kind or its row, and returns its id; `no_node` after a problem.
  constexpr node_id add(op kind, const arguments& args, const attributes& attr = {}, std::string_view name = {}) {
    return add(row(kind), args, attr, name);
  }
  constexpr node_id add(const op_row& r, const arguments& args, const attributes& attr = {},
                        std::string_view name = {}) {
    node n;
    n.kind = r.kind;
    if (r.kind == op::custom) n.custom = &r;
    n.attr = attr;
    n.name = name.empty() ? module : text<47>{name};
    n.made_by = rule;
    if (args.size() < static_cast<std::size_t>(r.min_args) || args.size() > static_cast<std::size_t>(r.max_args))
      return fail(n, why::wrong_number_of_arguments, text<31>{}.append(r.min_args),
                  text<31>{}.append(static_cast<long long>(args.size())));
    inference in{attr};
    n.args = args;
    for (node_id a : args) {
      if (a == no_node) return no_node;  // follows from an earlier problem
      in.args.push_back(graph_[a].type);
    }
    r.infer(in);
    if (!in.error.ok()) return fail(n, in.error.what, in.error.expected, in.error.found);
    n.type = in.out;
    return append(n);
  }

  /// Appends a node that has its type already.
  constexpr node_id append(const node& n) {
    if (graph_.size() == graph_.capacity)
      return fail(n, why::graph_is_full, text<31>{}.append(static_cast<long long>(graph_.capacity)), "more nodes");
    graph_[(*graph_.count)++] = n;
    return static_cast<node_id>(graph_.size() - 1);
  }

  /// Hands out a value under a name.
  constexpr void output(std::string_view name, node_id id) {
    if (id != no_node) graph_.outputs->push_back({name, id});
  }

  /// For rules after which the graph hands out something else.
  constexpr void rename_output(std::string_view from, std::string_view to) {
    for (graph_output& o : *graph_.outputs)
      if (o.name == from) o.name = to;
  }

  constexpr const graph_ref& target() const { return graph_; }  ///< The graph that is built.
  constexpr node& operator[](node_id id) const { return graph_[id]; }

 private:
  constexpr node_id fail(const node& n, why what, text<31> expected, text<31> found) {
    graph_.fail({what, n.kind, where(n).view(), expected, found});
    return no_node;
  }

  graph_ref graph_;
};

/// A value in a graph under construction.
struct expr {
  builder* b = nullptr;  ///< Who builds the graph.
  node_id id = no_node;

  constexpr bool ok() const { return id != no_node; }
  /// The node that computes the value; an empty one after a problem.
  constexpr node definition() const { return ok() ? (*b)[id] : node{}; }
  /// Its shape; empty after a problem.
  constexpr shape dims() const { return definition().type.dims; }
};

/// Adds the node `operation(first, rest...)` to the graph of its arguments. The operator is given by its row or its
/// kind.
template <class... Rest>
constexpr expr apply(const op_row& operation, const attributes& attr, expr first, Rest... rest) {
  return {first.b, first.b->add(operation, arguments{{first.id, rest.id...}, 1 + sizeof...(rest)}, attr)};
}
template <class... Rest>
constexpr expr apply(op kind, const attributes& attr, expr first, Rest... rest) {
  return apply(row(kind), attr, first, rest...);
}

/// A leaf: `input`, `weight`, `fill` or a RoPE table of the given type.
constexpr expr leaf(builder& b, op kind, std::string_view name, const tensor_type& type, double value = 1) {
  return {&b, b.add(kind, {}, {.value = value, .ints = {}, .type = type}, name)};
}

// The operators as functions; signatures as in op.hpp.
constexpr expr operator+(expr a, expr b) { return apply(op::add, {}, a, b); }
constexpr expr operator*(expr a, expr b) { return apply(op::mul, {}, a, b); }
constexpr expr neg(expr x) { return apply(op::neg, {}, x); }
constexpr expr rsqrt(expr x) { return apply(op::rsqrt, {}, x); }
constexpr expr sigmoid(expr x) { return apply(op::sigmoid, {}, x); }
constexpr expr silu(expr x) { return apply(op::silu, {}, x); }
constexpr expr mean(expr x) { return apply(op::mean, {}, x); }
constexpr expr softmax(expr x) { return apply(op::softmax, {}, x); }
constexpr expr rms_norm(expr x, expr w, double eps) {
  return apply(op::rms_norm, {.value = eps, .ints = {}, .type = {}}, x, w);
}
constexpr expr lp_norm(expr x) { return apply(op::lp_norm, {}, x); }
constexpr expr linear(expr x, expr w) { return apply(op::linear, {}, x, w); }
constexpr expr matmul(expr x, expr y) { return apply(op::matmul, {}, x, y); }
constexpr expr conv1x1(expr x, expr w) { return apply(op::conv1x1, {}, x, w); }
constexpr expr swiglu(expr gate, expr up) { return apply(op::swiglu, {}, gate, up); }
constexpr expr linear_add(expr x, expr w, expr residual) { return apply(op::linear_add, {}, x, w, residual); }
constexpr expr gated_linear(expr x, expr gate, expr up) { return apply(op::gated_linear, {}, x, gate, up); }
constexpr expr norm_linear(expr x, expr gain, const arguments& weights, double eps) {
  arguments args{{x.id, gain.id}, 2};
  for (const node_id w : weights) args.push_back(w);
  return {x.b, x.b->add(op::norm_linear, args, {.value = eps, .ints = {}, .type = {}})};
}
constexpr expr norm_gated_linear(expr x, expr gain, expr gate, expr up, double eps) {
  return apply(op::norm_gated_linear, {.value = eps, .ints = {}, .type = {}}, x, gain, gate, up);
}
constexpr expr add_norm(expr a, expr b, expr gain, double eps) {
  return apply(op::add_norm, {.value = eps, .ints = {}, .type = {}}, a, b, gain);
}
constexpr expr reshape(expr x, const shape& dims) {
  return apply(op::reshape, {.value = 0, .ints = {}, .type = {dtype::f32, dims}}, x);
}
constexpr expr transpose(expr x, const fixed_vector<std::int32_t, 5>& perm) {
  return apply(op::transpose, {.value = 0, .ints = perm, .type = {}}, x);
}
// Axes count from 0, or from the end when they are negative; nodes hold them counted from 0.
constexpr std::int32_t axis_of(expr x, std::int32_t axis) {
  return axis < 0 ? axis + static_cast<std::int32_t>(x.dims().size()) : axis;
}
constexpr expr concat(expr a, expr b, std::int32_t axis = -1) {
  return apply(op::concat, {.value = 0, .ints = {{axis_of(a, axis)}, 1}, .type = {}}, a, b);
}
constexpr expr slice(expr x, std::int32_t begin, std::int32_t end, std::int32_t axis = -1) {
  return apply(op::slice, {.value = 0, .ints = {{begin, end, axis_of(x, axis)}, 3}, .type = {}}, x);
}
constexpr expr cast(expr x, dtype to) { return apply(op::cast, {.value = 0, .ints = {}, .type = {to, {}}}, x); }
constexpr expr embedding(expr table, expr ids) { return apply(op::embedding, {}, table, ids); }
constexpr expr rope(expr x, expr cos, expr sin, expr last_position) {
  return apply(op::rope, {}, x, cos, sin, last_position);
}
constexpr expr norm_rope(expr x, expr w, expr cos, expr sin, expr last_position, double eps) {
  return apply(op::norm_rope, {.value = eps, .ints = {}, .type = {}}, x, w, cos, sin, last_position);
}
constexpr expr kv_append(expr past, expr x, expr last_position) {
  return apply(op::kv_append, {}, past, x, last_position);
}
constexpr expr attention(expr q, expr keys, expr values, expr last_position, double scale) {
  return apply(op::attention, {.value = scale, .ints = {}, .type = {}}, q, keys, values, last_position);
}
constexpr expr result(expr producer, std::int32_t index, const tensor_type& type) {
  return apply(op::result, {.value = 0, .ints = {{index}, 1}, .type = type}, producer);
}

}  // namespace qwq
