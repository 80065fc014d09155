// SPDX-License-Identifier: Apache-2.0
// Patterns: shapes of subgraphs with variables, and how they are matched on a DAG.
#pragma once

#include <cstddef>
#include <cstdint>

#include "qwq/graph/builder.hpp"

namespace qwq {

/// One node of a pattern: an operator over sub-patterns, or a variable that matches any value.
struct pattern_node {
  op kind = op::input;
  char variable = 0;      // the name under which the rule reads what was matched; 0: none
  bool anything = false;  ///< Matches any value.
  bool shared = false;
  fixed_vector<std::uint8_t, max_arguments> args{};
  const op_schema* operation = nullptr;  // null where the pattern matches anything
};

/// A pattern; its root is the last node. Written with the functions below, like the expression that it matches:
///     var('x') * sigmoid(var('x'))
/// A variable that occurs twice matches only one and the same value. Operands of commutative operators match in
/// either order. What lies between root and variables may have no other reader, unless it is `shared()`. A node with an
/// epilogue computes more than its operator, and only a variable matches it.
struct pattern {
  fixed_vector<pattern_node, 48> nodes{};

  /// The name of the root's value in the rule; 0 when it has none.
  constexpr char variable() const { return nodes.back().variable; }
  /// Makes the value of this (sub-)pattern readable in the rule as `name`.
  constexpr pattern as(char name) const {
    pattern p = *this;
    p.nodes[p.nodes.size() - 1].variable = name;
    return p;
  }
  /// Allows readers outside the pattern.
  constexpr pattern shared() const {
    pattern p = *this;
    p.nodes[p.nodes.size() - 1].shared = true;
    return p;
  }
};

/// Matches any value and calls it `name`.
constexpr pattern var(char name) {
  pattern p;
  p.nodes.push_back(
      {.kind = op::input, .variable = name, .anything = true, .shared = true, .args = {}, .operation = nullptr});
  return p;
}

/// Matches `operation(args...)`; the operator is given by its row or its kind.
template <class... Patterns>
constexpr pattern match_op(const op_schema& operation, const Patterns&... args) {
  pattern p;
  pattern_node root{
      .kind = operation.kind, .variable = 0, .anything = false, .shared = false, .args = {}, .operation = &operation};
  const auto take = [&](const pattern& a) {
    const std::size_t base = p.nodes.size();
    for (pattern_node n : a.nodes) {
      for (std::uint8_t& i : n.args) i = static_cast<std::uint8_t>(i + base);
      p.nodes.push_back(n);
    }
    root.args.push_back(static_cast<std::uint8_t>(p.nodes.size() - 1));
  };
  (take(args), ...);
  p.nodes.push_back(root);
  return p;
}
template <class... Patterns>
constexpr pattern match_op(op kind, const Patterns&... args) {
  return match_op(schema(kind), args...);
}

/// Makes the operators of graph/builder.hpp functions of patterns: `linear(var('x'), var('w'))`.
template <>
inline constexpr bool is_graph_operand<pattern> = true;
template <class... Patterns>
constexpr pattern apply(op kind, const attributes&, const pattern& first, const Patterns&... rest) {
  return match_op(kind, first, rest...);
}
constexpr pattern operator+(const pattern& a, const pattern& b) { return match_op(op::add, a, b); }
constexpr pattern operator*(const pattern& a, const pattern& b) { return match_op(op::mul, a, b); }

/// Which value each variable of a pattern stands for.
struct bindings {
  /// A variable and its value.
  struct bound {
    char variable;  ///< Name of the variable.
    node_id id;
  };
  fixed_vector<bound, 16> values{};

  /// The value of a variable; `no_node` when the pattern has no such variable.
  constexpr node_id find(char variable) const {
    for (const bound& v : values)
      if (v.variable == variable) return v.id;
    return no_node;
  }
};

/// A graph in the middle of a rewrite: how often each node is read, and what is to be read instead of replaced ones.
struct rewriting {
  graph_ref g;          ///< The graph.
  std::uint16_t* uses;  ///< Readers of each node.
  node_id* instead;     ///< What is read in place of each node.

  /// The node that stands for `id` now.
  constexpr node_id resolve(node_id id) const {
    while (instead[id] != id) id = instead[id];
    return id;
  }
  constexpr const node& operator[](node_id id) const { return g[id]; }
};

namespace detail {

/// One attempt to match: commutative nodes are tried in the order that `flips` says, one bit each.
struct attempt {
  const rewriting& g;
  const pattern& p;
  unsigned flips;
  unsigned commutative_seen = 0;
  bindings found{};
  bool read_elsewhere = false;  ///< What stopped it: an inner value has a reader outside of the pattern.

  constexpr bool run(std::size_t at, node_id id, bool is_root) {
    const pattern_node& want = p.nodes[at];
    const node& n = g[id];
    if (!want.anything) {
      if (&schema(n) != want.operation || n.args.size() != want.args.size() || has_fused_fake_quant(n)) return false;
      if (!is_root && !want.shared && g.uses[id] > 1) {
        read_elsewhere = true;
        return false;
      }
      bool flipped = false;
      if (want.operation->is(trait::commutative)) flipped = (flips >> commutative_seen++ & 1u) != 0;
      for (std::size_t i = 0; i < want.args.size(); ++i)
        if (!run(want.args[i], g.resolve(n.args[flipped ? want.args.size() - 1 - i : i]), false)) return false;
    }
    if (want.variable == 0) return true;
    const node_id before = found.find(want.variable);
    if (before != no_node) return before == id;
    found.values.push_back({want.variable, id});
    return true;
  }
};

}  // namespace detail

/// Whether the value `root` has the shape of `p`; `found` then says what the variables stand for. `read_elsewhere` is set
/// when the shape is there so far as it was compared, and an inner value has a reader outside of it.
constexpr bool matches(const pattern& p, const rewriting& g, node_id root, bindings& found,
                       bool* read_elsewhere = nullptr) {
  const pattern_node& top = p.nodes.back();
  if (!top.anything && g[root].kind != top.kind) return false;
  unsigned orders = 1;
  for (const pattern_node& n : p.nodes)
    if (!n.anything && n.operation->is(trait::commutative)) orders *= 2;
  for (unsigned flips = 0; flips < orders; ++flips) {
    detail::attempt a{g, p, flips};
    if (a.run(p.nodes.size() - 1, root, true)) {
      found = a.found;
      return true;
    }
    if (read_elsewhere != nullptr && a.read_elsewhere) *read_elsewhere = true;
  }
  return false;
}

}  // namespace qwq
