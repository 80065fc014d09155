// SPDX-License-Identifier: Apache-2.0
// Defines `pattern`, a subgraph with variables, and `matches`, which matches a pattern against a DAG.
#pragma once

#include <cstddef>
#include <cstdint>

#include "qwq/graph/builder.hpp"

namespace qwq {

/// One node of a pattern: an operator over sub-patterns, or a variable that matches any value.
struct pattern_node {
  op kind = op::input;                               ///< Operator to match.
  char variable = 0;                                 ///< Name by which the rule refers to the matched value; 0: none.
  bool anything = false;                             ///< True for a variable, which matches any value.
  bool shared = false;                               ///< True if the value may have uses outside the pattern.
  fixed_vector<std::uint8_t, max_arguments> args{};  ///< Indices of the argument patterns.
  const op_schema* operation = nullptr;              ///< Schema of the operator; null for a variable.
};

/// A pattern; its root is the last node. Patterns are written with the functions below, as the expression that they
/// match:
///     var('x') * sigmoid(var('x'))
/// A variable that occurs more than once matches only if all its occurrences are the same value. Operands of
/// commutative operators match in either order. Interior nodes must have no uses outside the match, unless they are
/// `shared()`. A node with a fused epilogue computes more than its operator does; only a variable matches it.
struct pattern {
  fixed_vector<pattern_node, 48> nodes{};  ///< Nodes, arguments before the nodes that use them.

  /// Name of the root's value; 0 if it has none.
  constexpr char variable() const { return nodes.back().variable; }
  /// Returns this pattern with `name` as the name of the root's value.
  constexpr pattern as(char name) const {
    pattern p = *this;
    p.nodes[p.nodes.size() - 1].variable = name;
    return p;
  }
  /// Returns this pattern, with a root that may have uses outside the match.
  constexpr pattern shared() const {
    pattern p = *this;
    p.nodes[p.nodes.size() - 1].shared = true;
    return p;
  }
};

/// A pattern that matches any value and binds it to `name`.
constexpr pattern var(char name) {
  pattern p;
  p.nodes.push_back(
      {.kind = op::input, .variable = name, .anything = true, .shared = true, .args = {}, .operation = nullptr});
  return p;
}

/// A pattern that matches `operation(args...)`, with an operator given by its schema.
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
/// The same for a library operator, given by its kind.
template <class... Patterns>
constexpr pattern match_op(op kind, const Patterns&... args) {
  return match_op(schema(kind), args...);
}

/// Makes the operator functions of graph/builder.hpp accept patterns: `linear(var('x'), var('w'))`.
template <>
inline constexpr bool is_graph_operand<pattern> = true;
/// A pattern of `kind`, with any attributes. The operator functions call it.
template <class... Patterns>
constexpr pattern apply(op kind, const attributes&, const pattern& first, const Patterns&... rest) {
  return match_op(kind, first, rest...);
}
/// Pattern of an addition.
constexpr pattern operator+(const pattern& a, const pattern& b) { return match_op(op::add, a, b); }
/// Pattern of an elementwise multiplication.
constexpr pattern operator*(const pattern& a, const pattern& b) { return match_op(op::mul, a, b); }

/// The value of each variable of a matched pattern.
struct bindings {
  /// A variable and its value.
  struct bound {
    char variable;  ///< Name of the variable.
    node_id id;     ///< Node that computes the value.
  };
  fixed_vector<bound, 16> values{};  ///< Bound variables.

  /// The value of a variable; `no_node` if the pattern has no such variable.
  constexpr node_id find(char variable) const {
    for (const bound& v : values)
      if (v.variable == variable) return v.id;
    return no_node;
  }
};

/// A graph during a rewrite: use counts and the replacement map. Replaced nodes stay in the graph until the end of the
/// pass; their uses are redirected by `resolve`.
struct rewriting {
  graph_ref g;          ///< The graph.
  std::uint16_t* uses;  ///< Number of uses of each node.
  node_id* instead;     ///< Replacement of each node; its own id if it is not replaced.

  /// Follows the replacement map from `id` to the current node.
  constexpr node_id resolve(node_id id) const {
    while (instead[id] != id) id = instead[id];
    return id;
  }
  constexpr const node& operator[](node_id id) const { return g[id]; }  ///< The node with this id.
};

namespace detail {

/// One attempt to match. Bit i of `flips` swaps the arguments of the i-th commutative node.
struct attempt {
  const rewriting& g;
  const pattern& p;
  unsigned flips;
  unsigned commutative_seen = 0;
  bindings found{};
  bool read_elsewhere = false;  ///< Why it failed: an interior node has a use outside the pattern.

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

/// True if the value `root` matches `p`; `found` then has the values of the variables. `*read_elsewhere` is set to true
/// if a match fails only because an interior node has a use outside the pattern, as far as the nodes were compared.
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
