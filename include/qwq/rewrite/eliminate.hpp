// SPDX-License-Identifier: Apache-2.0
// Defines `eliminate_dead_and_common`: dead code and common subexpression elimination, and topological sorting.
#pragma once

#include <cstddef>
#include <cstdint>

#include "qwq/graph/graph.hpp"

namespace qwq {

namespace detail {

/// True if two nodes compute the same value. Leaves are compared by name; the module of other nodes is ignored.
constexpr bool same_value(const node& a, const node& b) {
  if (a.kind != b.kind || a.custom != b.custom || !(a.args == b.args) || a.slot != b.slot || !(a.attr == b.attr) ||
      !(a.type == b.type))
    return false;
  return !a.args.empty() || a.name == b.name;
}

/// Copies the needed nodes of one graph into another, in topological order and without duplicates.
template <std::size_t Capacity>
struct rebuild {
  const graph<Capacity>& from;
  graph<Capacity>& to;
  node_id moved[Capacity]{};
  node_id last_of_kind[op_count]{};  // nodes of a kind are chained, newest first
  node_id before[Capacity]{};

  constexpr rebuild(const graph<Capacity>& source, graph<Capacity>& target) : from(source), to(target) {
    for (node_id& m : moved) m = no_node;
    for (node_id& l : last_of_kind) l = no_node;
  }

  constexpr node_id visit(node_id id) {
    if (moved[id] != no_node) return moved[id];
    node n = from[id];
    for (node_id& a : n.args) a = visit(a);
    node_id& last = last_of_kind[static_cast<std::size_t>(n.kind)];
    for (node_id i = last; i != no_node; i = before[i])
      if (same_value(to[i], n)) return moved[id] = i;
    to.nodes.push_back(n);
    const auto added = static_cast<node_id>(to.size() - 1);
    before[added] = last;
    last = added;
    return moved[id] = added;
  }
};

/// Marks a node and all nodes that it depends on.
template <std::size_t Capacity>
constexpr void mark(const graph<Capacity>& g, node_id id, bool* needed) {
  if (needed[id]) return;
  needed[id] = true;
  for (node_id a : g[id].args) mark(g, a, needed);
}

}  // namespace detail

/// Removes nodes that no output depends on, merges equal nodes, and sorts arguments before their uses. Inputs and
/// states come first, in their previous order; unused ones are removed.
template <std::size_t Capacity>
constexpr void eliminate_dead_and_common(graph<Capacity>& g) {
  graph<Capacity> clean{};
  clean.error = g.error;
  detail::rebuild<Capacity> r{g, clean};
  bool needed[Capacity]{};
  for (const graph_output& o : g.outputs) detail::mark(g, o.id, needed);
  for (std::size_t i = 0; i < g.size(); ++i)
    if (schema(g[i]).is(trait::outside) && needed[i]) r.visit(static_cast<node_id>(i));
  for (const graph_output& o : g.outputs) clean.outputs.push_back({o.name, r.visit(o.id)});
  g = clean;
}

}  // namespace qwq
