// SPDX-License-Identifier: Apache-2.0
// Defines `plan`, the buffer of every value of a graph, assigned at compile time by liveness analysis.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "qwq/core/aligned_bytes.hpp"
#include "qwq/graph/graph.hpp"

namespace qwq {

/// Kind of memory that a value is stored in.
enum class storage_class : std::uint8_t {
  nowhere,    ///< No memory: no kernel call reads or writes the value.
  arena,      ///< The session's arena, at a byte offset.
  input,      ///< The caller's buffer for the n-th input.
  parameter,  ///< The n-th constant, which is resolved when weights are bound.
  state,      ///< The n-th state, which persists between runs.
};

/// Location of a value.
struct buffer_slice {
  storage_class where = storage_class::nowhere;  ///< Kind of memory.
  std::uint32_t at = 0;  ///< Byte offset in the arena, or index n of the constant, input or state.
};

/// Maximum number of names of dimensions in a graph.
inline constexpr std::size_t max_symbols = 8;

/// Locations of all values of a graph, for named dimensions at their bounds.
template <std::size_t Capacity>
struct plan {
  buffer_slice of[Capacity]{};  ///< Location of each node's value.
  std::size_t arena_bytes = 0;  ///< Size of the arena in bytes.
  /// Constant nodes (weights, splats and RoPE tables), in order.
  fixed_vector<node_id, Capacity> parameters{};
  fixed_vector<node_id, Capacity> inputs{};  ///< Input nodes, in order.
  fixed_vector<node_id, Capacity> states{};  ///< State nodes, in order.
  /// Names of dimensions, in order of first occurrence.
  fixed_vector<std::string_view, max_symbols> symbols{};
  diagnostic error{};  ///< The first problem, if the graph cannot be planned.

  /// Index of `name` in `symbols`, or their number if it is not there.
  constexpr std::size_t symbol(std::string_view name) const {
    std::size_t i = 0;
    while (i < symbols.size() && symbols[i] != name) ++i;
    return i;
  }
};

namespace detail {

template <std::size_t Capacity>
struct planner {
  const graph<Capacity>& g;
  plan<Capacity>& out;
  std::size_t last_use[Capacity]{};
  node_id owner[Capacity]{};     // the node whose buffer holds the value of node i
  std::size_t size[Capacity]{};  // arena bytes allocated for the node; 0: none

  constexpr void run() {
    for (std::size_t i = 0; i < g.size(); ++i) {
      note_symbols(i);
      last_use[i] = i;
      if (g[i].kind != op::get_tuple_element)  // its producer writes it; it reads nothing itself
        for (node_id a : g[i].args) last_use[a] = i;
    }
    for (const graph_output& o : g.outputs) last_use[o.id] = g.size();
    for (std::size_t i = g.size(); i-- > 0;)  // a view keeps its operand alive
      if (schema(g[i]).is(trait::view)) last_use[g[i].args[0]] = std::max(last_use[g[i].args[0]], last_use[i]);
    for (std::size_t i = 0; i < g.size(); ++i) place_value(i);
  }

  constexpr void note_symbols(std::size_t i) {
    for (const dim& d : g[i].dims())
      if (d.named() && out.symbol(d.symbol) == out.symbols.size() && !out.symbols.try_push_back(d.symbol) &&
          out.error.ok())
        out.error = {error_code::too_many_symbols, g[i].kind, where(g[i]),
                     fixed_string<31>{}.append(static_cast<long long>(max_symbols)), fixed_string<31>{d.symbol}};
  }

  /// The state leaf that holds the value of node i, if that value is the state after an operator; else `no_node`.
  constexpr node_id state_of(std::size_t i) const {
    const node& n = g[i];
    if (schema(n).state_arg >= 0 && schema(n).state_result < 0)
      return n.args[static_cast<std::size_t>(schema(n).state_arg)];
    if (n.kind != op::get_tuple_element) return no_node;
    const node& producer = g[n.args[0]];
    const op_schema& r = schema(producer);
    if (r.state_arg < 0 || r.state_result != n.attr.ints[0]) return no_node;
    return producer.args[static_cast<std::size_t>(r.state_arg)];
  }

  constexpr void place_value(std::size_t i) {
    const node& n = g[i];
    const op_schema& r = schema(n);
    owner[i] = static_cast<node_id>(i);
    const auto next = [i](storage_class where, auto& list) {
      list.push_back(static_cast<node_id>(i));
      return buffer_slice{where, static_cast<std::uint32_t>(list.size() - 1)};
    };
    if (r.is(trait::constant)) {
      out.of[i] = next(storage_class::parameter, out.parameters);
    } else if (n.kind == op::input) {
      out.of[i] = next(storage_class::input, out.inputs);
    } else if (n.kind == op::state) {
      out.of[i] = next(storage_class::state, out.states);
    } else if (const node_id state = state_of(i); state != no_node) {
      owner[i] = state;
      out.of[i] = out.of[state];
    } else if (r.is(trait::view) || (r.is(trait::elementwise) && n.args.size() == 1 && may_overwrite(i))) {
      owner[i] = owner[n.args[0]];
      out.of[i] = out.of[n.args[0]];
      last_use[owner[i]] = std::max(last_use[owner[i]], last_use[i]);
    } else {
      size[i] = byte_size(n.type.type, static_cast<std::size_t>(n.dims().elements()));
      size[i] = align_up(size[i]);
      out.of[i] = {storage_class::arena, static_cast<std::uint32_t>(lowest_gap(i))};
      out.arena_bytes = std::max(out.arena_bytes, out.of[i].at + size[i]);
    }
  }

  /// True if node i may overwrite its argument: the argument is in the arena and has no later use.
  constexpr bool may_overwrite(std::size_t i) const {
    const node_id bytes = owner[g[i].args[0]];
    return out.of[bytes].where == storage_class::arena && last_use[bytes] == i && g[bytes].type.type == g[i].type.type;
  }

  /// The lowest arena offset at which node i overlaps no value that is alive at or after the time node i is computed.
  constexpr std::size_t lowest_gap(std::size_t i) const {
    const std::size_t computed = g[i].kind == op::get_tuple_element ? g[i].args[0] : i;
    std::size_t at = 0;
    for (bool moved = true; moved;) {
      moved = false;
      for (std::size_t j = 0; j < i; ++j) {
        if (size[j] == 0 || last_use[j] < computed) continue;
        if (at < out.of[j].at + size[j] && out.of[j].at < at + size[i]) {
          at = out.of[j].at + size[j];
          moved = true;
        }
      }
    }
    return at;
  }
};

}  // namespace detail

/// Assigns a buffer to every value of a graph. Offsets are below 4 GiB.
template <std::size_t Capacity>
constexpr plan<Capacity> make_plan(const graph<Capacity>& g) {
  plan<Capacity> out;
  detail::planner<Capacity>{g, out}.run();
  return out;
}

}  // namespace qwq
