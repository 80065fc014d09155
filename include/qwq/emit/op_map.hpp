// SPDX-License-Identifier: Apache-2.0
// Which function writes which operator: a table that targets extend and override row by row.
#pragma once

#include <array>
#include <cstddef>

#include "qwq/graph/graph.hpp"

namespace qwq::to_file {

/// One row per operator, a function that writes the current node of a graph as what the format has for it; null where a
/// target cannot write it.
template <class Writer>
struct op_map {
  using write_op = void (*)(Writer&);  ///< Writes the current node of a writer.
  std::array<write_op, op_count> rows{};
  /// Which rows there are: with sanitizers, g++ compares no function with null in a constant.
  std::array<bool, op_count> written{};

  /// Rows of operators from outside of the library.
  struct custom_row {
    const op_schema* which = nullptr;  ///< The operator's row.
    write_op write = nullptr;
  };
  fixed_vector<custom_row, 8> custom{};  ///< Those that were added.

  /// Whether there is a row for the operator of `n`, and the function in it.
  constexpr bool writes(const node& n) const {
    if (n.kind != op::custom) return written[static_cast<std::size_t>(n.kind)];
    for (const custom_row& r : custom)
      if (r.which == n.custom) return true;
    return false;
  }
  constexpr write_op operator[](const node& n) const {
    for (const custom_row& r : custom)
      if (r.which == n.custom) return r.write;
    return rows[static_cast<std::size_t>(n.kind)];
  }
  /// The same map with another row.
  constexpr op_map with(op kind, write_op row) const {
    op_map out = *this;
    out.rows[static_cast<std::size_t>(kind)] = row;
    out.written[static_cast<std::size_t>(kind)] = true;
    return out;
  }
  /// The same for an operator from outside of the library.
  constexpr op_map with(const op_schema& which, write_op row) const {
    op_map out = *this;
    out.custom.push_back({&which, row});
    return out;
  }
};

/// Declared and never defined: the operator that has no row, and the module that it comes from, are its arguments.
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

/// Refuses to compile unless `Map` writes every operator of the graph `G::value`.
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
