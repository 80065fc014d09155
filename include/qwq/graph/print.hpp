// SPDX-License-Identifier: Apache-2.0
// Defines `print` and `print_dot`, which write a graph as text, one node per line, and as Graphviz DOT.
#pragma once

#include <ostream>

#include "qwq/graph/graph.hpp"

namespace qwq {

namespace detail {
inline void print_attributes(std::ostream& out, const node& n) {
  const op_schema& r = schema(n);
  if (!r.value_name.empty()) out << ' ' << r.value_name << '=' << n.attr.value;
  if (!r.ints_name.empty()) {
    out << ' ' << r.ints_name << '=';
    for (std::size_t i = 0; i < n.attr.ints.size(); ++i) out << (i > 0 ? "," : "") << n.attr.ints[i];
  }
  if (n.slot >= 0) out << " slot=" << n.slot;
}
}  // namespace detail

/// Writes one line per node, such as `%7 = linear(%5, %6) : f32[1,64,128]  # self_attn.q_proj`, and one per output.
template <std::size_t N>
void print(std::ostream& out, const graph<N>& g) {
  for (std::size_t i = 0; i < g.size(); ++i) {
    const node& n = g[i];
    out << '%' << i << " = " << name(n) << '(';
    for (std::size_t a = 0; a < n.args.size(); ++a) out << (a > 0 ? ", %" : "%") << n.args[a];
    out << ')';
    detail::print_attributes(out, n);
    out << " : " << name(n.type.type) << to_text(n.dims()).view();
    if (!n.name.empty()) out << "  # " << n.name.view();
    if (!n.made_by.empty()) out << " by " << n.made_by.view();
    out << '\n';
  }
  for (const graph_output& o : g.outputs) out << "return %" << o.id << " as " << o.name.view() << '\n';
}

/// Writes the graph as input for `dot -Tsvg`. Leaves are boxes; edge labels are the types of values.
template <std::size_t N>
void print_dot(std::ostream& out, const graph<N>& g, std::string_view title = "graph") {
  out << "digraph \"" << title << "\" {\n  rankdir=TB; node [shape=ellipse, fontname=\"Helvetica\"];\n";
  for (std::size_t i = 0; i < g.size(); ++i) {
    const node& n = g[i];
    out << "  n" << i << " [label=\"" << name(n) << "\\n"
        << n.name.view() << '"' << (n.args.empty() ? ", shape=box" : "") << "];\n";
    for (node_id a : n.args)
      out << "  n" << a << " -> n" << i << " [label=\"" << name(g[a].type.type) << to_text(g[a].dims()).view()
          << "\"];\n";
  }
  for (const graph_output& o : g.outputs)
    out << "  out_" << o.id << " [label=\"" << o.name.view() << "\", shape=box];\n  n" << o.id << " -> out_" << o.id
        << ";\n";
  out << "}\n";
}

}  // namespace qwq
