// SPDX-License-Identifier: Apache-2.0
// Defines `op_map`, a table from operators to the functions that write them; targets extend and override it row by row.
#pragma once

#include <array>
#include <cstddef>

#include "qwq/graph/graph.hpp"

namespace qwq::to_file {

/// One row per operator: the function that writes the current node of a graph in the file format; null if the target
/// cannot write the operator.
template <class Writer>
struct op_map {
  using write_op = void (*)(Writer&);  ///< Writes the current node of a writer.
  /// Functions, indexed by operator.
  std::array<write_op, op_count> rows{};
  /// True for each operator that has a row. Separate from `rows` because, with sanitizers, g++ cannot compare a
  /// function pointer with null in a constant expression.
  std::array<bool, op_count> written{};

  /// A row for an operator that is defined outside of the library.
  struct custom_row {
    const op_schema* which = nullptr;  ///< The operator's schema.
    write_op write = nullptr;          ///< Its function.
  };
  fixed_vector<custom_row, 8> custom{};  ///< Rows of custom operators.

  /// True if the operator of `n` has a row.
  constexpr bool writes(const node& n) const {
    if (n.kind != op::custom) return written[static_cast<std::size_t>(n.kind)];
    for (const custom_row& r : custom)
      if (r.which == n.custom) return true;
    return false;
  }
  /// The function for the operator of `n`; null if it has none.
  constexpr write_op operator[](const node& n) const {
    for (const custom_row& r : custom)
      if (r.which == n.custom) return r.write;
    return rows[static_cast<std::size_t>(n.kind)];
  }
  /// Returns a copy of the map with `row` for operator `kind`.
  constexpr op_map with(op kind, write_op row) const {
    op_map out = *this;
    out.rows[static_cast<std::size_t>(kind)] = row;
    out.written[static_cast<std::size_t>(kind)] = true;
    return out;
  }
  /// Returns a copy of the map with `row` for a custom operator.
  constexpr op_map with(const op_schema& which, write_op row) const {
    op_map out = *this;
    out.custom.push_back({&which, row});
    return out;
  }
};

/// Declared and never defined: its arguments show, in the compiler's message, the operator without a row and the module
/// that it belongs to.
template <op Kind, fixed_string Where>
struct op_map_has_no_row_for;

namespace detail {

/// First node without a row; `size()` when every node has one.
template <std::size_t N, class Writer>
constexpr std::size_t find_unwritable(const graph<N>& g, const op_map<Writer>& map) {
  for (std::size_t i = 0; i < g.size(); ++i)
    if (!map.writes(g[i])) return i;
  return g.size();
}

}  // namespace detail

/// Does not compile unless `Map` has a row for every operator of the graph `G::value`.
template <class G, const auto& Map>
constexpr bool require_rows() {
  constexpr std::size_t id = detail::find_unwritable(G::value, Map);
  if constexpr (id < G::value.size()) {
    constexpr fixed_string<47> place = where(G::value[id]);
    constexpr fixed_string<place.size()> at{place.view()};
    static_assert(sizeof(op_map_has_no_row_for<G::value[id].kind, at>) > 0);
  }
  return true;
}

}  // namespace qwq::to_file
