// SPDX-License-Identifier: Apache-2.0
// Defines `cleanup`: removes dead nodes, merges equal ones, and puts arguments before their readers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "qwq/graph/graph.hpp"

namespace qwq {

namespace detail {

/// Two nodes compute the same value. Names tell leaves apart; the module that a computation came from does not.
constexpr bool same_value(const node& a, const node& b) {
  if (a.kind != b.kind || a.custom != b.custom || !(a.args == b.args) || a.slot != b.slot || !(a.attr == b.attr) ||
      !(a.type == b.type))
    return false;
  return !a.args.empty() || a.name == b.name;
}

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

template <std::size_t Capacity>
constexpr void mark(const graph<Capacity>& g, node_id id, bool* needed) {
  if (needed[id]) return;
  needed[id] = true;
  for (node_id a : g[id].args) mark(g, a, needed);
}

}  // namespace detail

/// Keeps what the outputs need, once each, in an order in which arguments stand before their readers. Inputs and states
/// come first and in the order that they had; one that nothing reads any more is dropped.
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
