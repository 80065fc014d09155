// SPDX-License-Identifier: Apache-2.0
// Nodes and the graph value. The same code runs inside constant expressions and at run time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include "qwq/graph/op_table.hpp"

namespace qwq {

using node_id = std::uint16_t;
inline constexpr node_id no_node = std::numeric_limits<node_id>::max();
/// What a node reads, in the order of its operator's signature.
using arguments = fixed_vector<node_id, 10>;

/// One operation and the value that it computes.
struct node {
  op kind = op::input;
  tensor_type type{};
  arguments args{};
  attributes attr{};
  /// Leaves: the name of the input or tensor. Others: the module that they come from ("self_attn.q_proj").
  text<47> name{};
  /// Rule that made the node; empty for nodes of the model itself.
  text<31> made_by{};
  /// quantize, dequantize, fake_quant: index of the slot that holds their scale and zero_point. Others: the slot whose
  /// grid the result is put on by the step itself, as fake_quant would (`has_epilogue`).
  std::int16_t slot = -1;
  /// op::custom: the row of the operator.
  const op_row* custom = nullptr;

  constexpr const shape& dims() const { return type.dims; }
};

constexpr const op_row& row(const node& n) { return n.kind == op::custom ? *n.custom : row(n.kind); }
constexpr std::string_view name(const node& n) { return row(n).name; }

/// Where a node is, for messages: its module, and behind it the name of an operator that has no other.
constexpr text<47> where(const node& n) {
  text<47> out = n.name;
  if (n.kind == op::custom) out.append(out.empty() ? "" : "/").append(name(n));
  return out;
}

/// Whether a step does to its result what a fake_quant behind it would.
constexpr bool has_epilogue(const node& n) {
  return n.slot >= 0 && n.kind != op::quantize && n.kind != op::dequantize && n.kind != op::fake_quant;
}

/// A value that the graph hands out, under a name.
struct graph_output {
  text<31> name{};
  node_id id = no_node;
};

/// A graph of at most `Capacity` nodes; each node stands after its arguments. `error` is the first problem met
/// while it was built; a graph with an error is never executed or emitted (`require_sound`).
template <std::size_t Capacity = 320>
struct graph {
  fixed_vector<node, Capacity> nodes{};
  fixed_vector<graph_output, 6> outputs{};
  problem error{};

  constexpr std::size_t size() const { return nodes.size(); }
  constexpr const node& operator[](std::size_t id) const { return nodes[id]; }
};

/// The graph as functions see it: any capacity, constexpr or not.
struct graph_ref {
  node* nodes;
  std::size_t* count;
  std::size_t capacity;
  fixed_vector<graph_output, 6>* outputs;
  problem* error;

  /// Any graph.
  template <std::size_t N>
  constexpr graph_ref(graph<N>& g)  // NOLINT(google-explicit-constructor)
      : nodes(g.nodes.begin()), count(&g.nodes.count), capacity(N), outputs(&g.outputs), error(&g.error) {}

  constexpr std::size_t size() const { return *count; }
  constexpr node& operator[](std::size_t id) const { return nodes[id]; }
  /// Records a problem, unless there was one before.
  constexpr void fail(const problem& p) const {
    if (error->ok()) *error = p;
  }
};

/// Number of readers of each node, graph outputs included.
constexpr void count_uses(graph_ref g, std::uint16_t* uses) {
  for (std::size_t i = 0; i < g.size(); ++i) uses[i] = 0;
  for (std::size_t i = 0; i < g.size(); ++i)
    for (node_id a : g[i].args) ++uses[a];
  for (const graph_output& o : *g.outputs) ++uses[o.id];
}

}  // namespace qwq
