// SPDX-License-Identifier: Apache-2.0
// Defines `node` and `graph`, a value: the same code runs inside constant expressions and at run time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

#include "qwq/graph/op_schema.hpp"

namespace qwq {

using node_id = std::uint16_t;
inline constexpr node_id no_node = std::numeric_limits<node_id>::max();
/// What a node reads, in the order of its operator's signature.
using arguments = fixed_vector<node_id, max_arguments>;

/// What a weight is for. Layers declare it where they make the leaf; schemes and targets exclude weights by role, and
/// reports count bytes by role.
enum class role : std::uint8_t {
  none,       ///< A matrix of a product that has no other role: attention and MLP projections.
  embedding,  ///< The table of token embeddings.
  head,       ///< The matrix that makes logits.
  norm,       ///< The gain of a norm.
  bias,
  router,    ///< Chooses experts.
  expert,    ///< Matrices of routed experts.
  gate,      ///< A small product whose sigmoid or exponential gates others: shared_expert_gate, in_proj_a, in_proj_b.
  conv,      ///< A depthwise convolution.
  position,  ///< A table of positions.
};
constexpr std::string_view name(role r) {
  constexpr std::string_view names[] = {"none",   "embedding", "head", "norm", "bias",
                                        "router", "expert",    "gate", "conv", "position"};
  return names[static_cast<std::size_t>(r)];
}

/// One operation and the value that it computes.
struct node {
  op kind = op::input;
  tensor_type type{};
  arguments args{};
  attributes attr{};
  /// Leaves: the name of the input or tensor. Others: the module that they come from ("self_attn.q_proj").
  fixed_string<47> name{};
  /// Rule that made the node; empty for nodes of the model itself.
  fixed_string<31> made_by{};
  /// quantize, dequantize, fake_quant: index of the slot that holds their scale and zero_point. Others: the slot of the
  /// fake-quantization fused into the node as an epilogue (`has_fused_fake_quant`); -1: none.
  std::int16_t slot = -1;
  role weight_role = role::none;  ///< Of weight leaves.
  /// op::custom: the row of the operator.
  const op_schema* custom = nullptr;

  constexpr const shape& dims() const { return type.dims; }
};

constexpr const op_schema& schema(const node& n) { return n.kind == op::custom ? *n.custom : schema(n.kind); }
constexpr std::string_view name(const node& n) { return schema(n).name; }

/// Where a node is, for messages: its module, and behind it the name of an operator that has no other.
constexpr fixed_string<47> where(const node& n) {
  fixed_string<47> out = n.name;
  if (n.kind == op::custom) out.append(out.empty() ? "" : "/").append(name(n));
  return out;
}

/// Whether a fake-quantization is fused into a node.
constexpr bool has_fused_fake_quant(const node& n) { return n.slot >= 0 && !schema(n).is(trait::quantization); }

/// A value that the graph hands out, under a name.
struct graph_output {
  fixed_string<31> name{};
  node_id id = no_node;
};

/// Most values that a graph hands out.
inline constexpr std::size_t max_outputs = 12;
using graph_outputs = fixed_vector<graph_output, max_outputs>;

/// A graph of at most `Capacity` nodes; each node stands after its arguments. `error` is the first problem met
/// while it was built; a graph with an error is never executed or emitted (`require_sound`). An output with the name of
/// a state is that state after the run.
template <std::size_t Capacity = 320>
struct graph {
  fixed_vector<node, Capacity> nodes{};
  graph_outputs outputs{};
  diagnostic error{};

  constexpr std::size_t size() const { return nodes.size(); }
  constexpr const node& operator[](std::size_t id) const { return nodes[id]; }
};

/// The graph as functions see it: any capacity, constexpr or not.
struct graph_ref {
  node* nodes;
  std::size_t* count;
  std::size_t capacity;
  graph_outputs* outputs;
  diagnostic* error;

  /// Any graph.
  template <std::size_t N>
  constexpr graph_ref(graph<N>& g)  // NOLINT(google-explicit-constructor)
      : nodes(g.nodes.begin()), count(&g.nodes.count), capacity(N), outputs(&g.outputs), error(&g.error) {}

  constexpr std::size_t size() const { return *count; }
  constexpr node& operator[](std::size_t id) const { return nodes[id]; }
  /// Records a problem, unless there was one before.
  constexpr void fail(const diagnostic& p) const {
    if (error->ok()) *error = p;
  }
};

/// Whether an output of a graph is a state after the run: it has the name of one.
constexpr bool is_state_output(std::span<const node> nodes, const graph_output& o) {
  for (const node& n : nodes)
    if (n.kind == op::state && n.name == o.name) return true;
  return false;
}

/// Number of readers of each node, graph outputs included.
constexpr void count_uses(graph_ref g, std::uint16_t* uses) {
  for (std::size_t i = 0; i < g.size(); ++i) uses[i] = 0;
  for (std::size_t i = 0; i < g.size(); ++i)
    for (node_id a : g[i].args) ++uses[a];
  for (const graph_output& o : *g.outputs) ++uses[o.id];
}

}  // namespace qwq
