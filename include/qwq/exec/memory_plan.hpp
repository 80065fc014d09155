// SPDX-License-Identifier: Apache-2.0
// Defines `plan`, where every value of a graph is while it runs, found at compile time from how long each is needed.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "qwq/core/aligned_bytes.hpp"
#include "qwq/graph/graph.hpp"

namespace qwq {

enum class storage_class : std::uint8_t {
  nowhere,    ///< A value that no kernel call reads or writes.
  arena,      ///< At a byte offset of the session's arena.
  input,      ///< The caller's buffer of the n-th input.
  parameter,  ///< The n-th constant, resolved when weights are bound.
  state,      ///< The n-th state, which lasts from run to run.
};

/// Where a value is.
struct buffer_slice {
  storage_class where = storage_class::nowhere;
  std::uint32_t at = 0;
};

/// Most named dimensions of a graph.
inline constexpr std::size_t max_symbols = 8;

/// Locations of all values, for shapes at their bounds.
template <std::size_t Capacity>
struct plan {
  buffer_slice of[Capacity]{};  ///< Where each node's value is.
  std::size_t arena_bytes = 0;  ///< Size of the arena.
  /// Nodes behind the parameters: weights, fills and RoPE tables, in order.
  fixed_vector<node_id, Capacity> parameters{};
  fixed_vector<node_id, Capacity> inputs{};  ///< Input nodes, in order.
  fixed_vector<node_id, Capacity> states{};  ///< State nodes, in order.
  /// Names of dimensions, in the order in which they are met.
  fixed_vector<std::string_view, max_symbols> symbols{};
  diagnostic error{};  ///< The first thing that cannot be planned.

  /// Index of a named dimension.
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
  node_id owner[Capacity]{};     // the value whose bytes node i is in
  std::size_t size[Capacity]{};  // bytes that the value owns in the arena

  constexpr void run() {
    for (std::size_t i = 0; i < g.size(); ++i) {
      note_symbols(i);
      last_use[i] = i;
      if (g[i].kind != op::get_tuple_element)  // its producer writes it, and it reads nothing
        for (node_id a : g[i].args) last_use[a] = i;
    }
    for (const graph_output& o : g.outputs) last_use[o.id] = g.size();
    for (std::size_t i = g.size(); i-- > 0;)  // a view keeps what it looks at alive
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

  /// The state leaf whose memory node i's value is, if it is the state after an operator; else `no_node`.
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

  /// Whether node i may overwrite its argument: nothing reads those bytes afterwards, and they are the arena's.
  constexpr bool may_overwrite(std::size_t i) const {
    const node_id bytes = owner[g[i].args[0]];
    return out.of[bytes].where == storage_class::arena && last_use[bytes] == i && g[bytes].type.type == g[i].type.type;
  }

  /// The lowest offset at which node i overlaps no value that is alive from when it is computed on.
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

/// Plans the buffers of a graph. Offsets are below 4 GiB.
template <std::size_t Capacity>
constexpr plan<Capacity> make_plan(const graph<Capacity>& g) {
  plan<Capacity> out;
  detail::planner<Capacity>{g, out}.run();
  return out;
}

}  // namespace qwq
