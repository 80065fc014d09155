// SPDX-License-Identifier: Apache-2.0
// Defines `node` and `graph`, a graph as a value: the same code runs in constant expressions and at run time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

#include "qwq/graph/op_schema.hpp"

namespace qwq {

/// Index of a node in its graph.
using node_id = std::uint16_t;
/// An invalid node: the result of an operation that failed.
inline constexpr node_id no_node = std::numeric_limits<node_id>::max();
/// Operands of a node, in the order of its operator's signature.
using arguments = fixed_vector<node_id, max_arguments>;

/// Purpose of a weight. Layers set it when they create the leaf; schemes and targets exclude weights by role, and
/// reports count bytes by role.
enum class role : std::uint8_t {
  none,       ///< A GEMM weight without any other role: attention and MLP projections.
  embedding,  ///< The token embedding table.
  head,       ///< The matrix that computes logits.
  norm,       ///< The gain of a norm.
  bias,       ///< A bias vector.
  router,     ///< The matrix that selects experts.
  expert,     ///< Matrices of routed experts.
  gate,  ///< A small GEMM whose sigmoid or exponential gates other values: shared_expert_gate, in_proj_a, in_proj_b.
  conv,  ///< A depthwise convolution.
  position,  ///< A table of position embeddings.
};
/// Name of a role, as reports print it.
constexpr std::string_view name(role r) {
  constexpr std::string_view names[] = {"none",   "embedding", "head", "norm", "bias",
                                        "router", "expert",    "gate", "conv", "position"};
  return names[static_cast<std::size_t>(r)];
}

/// One operation and the value that it computes.
struct node {
  op kind = op::input;  ///< Operator.
  tensor_type type{};   ///< Type of the value.
  arguments args{};     ///< Operands, each before this node in the graph.
  attributes attr{};    ///< Attributes, as the operator's schema names them.
  /// Name of a leaf's input or tensor. Other nodes: module that they belong to ("self_attn.q_proj").
  fixed_string<47> name{};
  /// Rule that created the node; empty for nodes of the model itself.
  fixed_string<31> made_by{};
  /// quantize, dequantize and fake_quant: index of the slot that holds scale and zero_point. Other operators: slot of
  /// the fake-quantization fused into the node as an epilogue (`has_fused_fake_quant`); -1: none.
  std::int16_t slot = -1;
  role weight_role = role::none;  ///< Role of a weight leaf.
  /// Schema of an op::custom node; null for other nodes.
  const op_schema* custom = nullptr;

  constexpr const shape& dims() const { return type.dims; }  ///< Shape of the value.
};

/// Schema of a node's operator.
constexpr const op_schema& schema(const node& n) { return n.kind == op::custom ? *n.custom : schema(n.kind); }
/// Name of a node's operator.
constexpr std::string_view name(const node& n) { return schema(n).name; }

/// Location of a node for messages: its module, followed by the operator's name if the operator is custom.
constexpr fixed_string<47> where(const node& n) {
  fixed_string<47> out = n.name;
  if (n.kind == op::custom) out.append(out.empty() ? "" : "/").append(name(n));
  return out;
}

/// True if a fake-quantization is fused into a node as its epilogue.
constexpr bool has_fused_fake_quant(const node& n) { return n.slot >= 0 && !schema(n).is(trait::quantization); }

/// A named output of a graph.
struct graph_output {
  fixed_string<31> name{};  ///< Name of the output.
  node_id id = no_node;     ///< Node that computes it.
};

/// Maximum number of outputs of a graph.
inline constexpr std::size_t max_outputs = 12;
/// Outputs of a graph.
using graph_outputs = fixed_vector<graph_output, max_outputs>;

/// A graph of at most `Capacity` nodes. Each node is after its arguments. `error` is the first problem found while the
/// graph was built; a graph with an error is never executed or emitted (`require_none`). An output with the name of a
/// state is the value of that state after the run.
template <std::size_t Capacity = 320>
struct graph {
  fixed_vector<node, Capacity> nodes{};  ///< Nodes, in topological order.
  graph_outputs outputs{};               ///< Named outputs.
  diagnostic error{};                    ///< The first problem, if any.

  constexpr std::size_t size() const { return nodes.size(); }                   ///< Number of nodes.
  constexpr const node& operator[](std::size_t id) const { return nodes[id]; }  ///< The node with this id.
};

/// Non-owning reference to a graph of any capacity, for functions that are not templates.
struct graph_ref {
  node* nodes;             ///< Storage for `capacity` nodes.
  std::size_t* count;      ///< Number of nodes.
  std::size_t capacity;    ///< Maximum number of nodes.
  graph_outputs* outputs;  ///< Outputs of the graph.
  diagnostic* error;       ///< The first problem of the graph, if any.

  /// Refers to `g`, which must outlive the reference.
  template <std::size_t N>
  constexpr graph_ref(graph<N>& g)  // NOLINT(google-explicit-constructor)
      : nodes(g.nodes.begin()), count(&g.nodes.count), capacity(N), outputs(&g.outputs), error(&g.error) {}

  constexpr std::size_t size() const { return *count; }                   ///< Number of nodes.
  constexpr node& operator[](std::size_t id) const { return nodes[id]; }  ///< The node with this id.
  /// Records a problem, unless one is already recorded.
  constexpr void fail(const diagnostic& p) const {
    if (error->ok()) *error = p;
  }
};

/// True if an output has the name of a state leaf, which means that it is the state after the run.
constexpr bool is_state_output(std::span<const node> nodes, const graph_output& o) {
  for (const node& n : nodes)
    if (n.kind == op::state && n.name == o.name) return true;
  return false;
}

/// Writes the number of uses of each node to `uses`, including uses as graph outputs.
constexpr void count_uses(graph_ref g, std::uint16_t* uses) {
  for (std::size_t i = 0; i < g.size(); ++i) uses[i] = 0;
  for (std::size_t i = 0; i < g.size(); ++i)
    for (node_id a : g[i].args) ++uses[a];
  for (const graph_output& o : *g.outputs) ++uses[o.id];
}

}  // namespace qwq
