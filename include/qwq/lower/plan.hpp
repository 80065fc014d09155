// SPDX-License-Identifier: Apache-2.0
// Where every value of a graph lives while it runs: liveness decides, at compile time.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "qwq/graph/graph.hpp"

namespace qwq {

enum class place : std::uint8_t {
  nowhere,    // a cache, or a value that no step reads
  arena,      // at a byte offset of the session's arena
  input,      // the caller's buffer of the n-th activation input
  parameter,  // the n-th constant, resolved when weights are bound
};

/// Where a value is.
struct location {
  place where = place::nowhere;
  std::uint32_t at = 0;
};

inline constexpr std::size_t arena_alignment = 64;

/// Locations of all values, for shapes at their bounds.
template <std::size_t Capacity>
struct plan {
  location of[Capacity]{};  ///< Where each node's value is.
  std::size_t arena_bytes = 0;  ///< Size of the arena.
  /// Nodes behind the parameters: weights, fills and RoPE tables, in order.
  fixed_vector<node_id, 48> parameters{};
  /// Activation inputs, in order; cache and position inputs are not among them.
  fixed_vector<node_id, 8> inputs{};
};

namespace detail {

constexpr bool is_parameter(op kind) {
  return kind == op::weight || kind == op::fill || kind == op::rope_cos || kind == op::rope_sin;
}
/// Whether a step reads node `id` from the caller's buffer: an input of floats or token ids, unless it is the cache of
/// kv_append, which reaches it through the frame.
template <std::size_t Capacity>
constexpr bool is_buffer_input(const graph<Capacity>& g, std::size_t id) {
  if (g[id].kind != op::input || (g[id].type.type != dtype::f32 && g[id].type.type != dtype::i64)) return false;
  for (const node& n : g.nodes)
    if (n.kind == op::kv_append && n.args[0] == id) return false;
  return true;
}

template <std::size_t Capacity>
struct planner {
  const graph<Capacity>& g;
  plan<Capacity>& out;
  std::size_t last_use[Capacity]{};
  node_id owner[Capacity]{};     // the value whose bytes node i is in
  std::size_t size[Capacity]{};  // bytes that the value owns in the arena

  constexpr void run() {
    for (std::size_t i = 0; i < g.size(); ++i) {
      last_use[i] = i;
      if (g[i].kind != op::result)  // its step writes it, and reads nothing
        for (node_id a : g[i].args) last_use[a] = i;
    }
    for (const graph_output& o : g.outputs) last_use[o.id] = g.size();
    for (std::size_t i = g.size(); i-- > 0;)  // a view keeps what it looks at alive
      if (is_view(g[i].kind)) last_use[g[i].args[0]] = std::max(last_use[g[i].args[0]], last_use[i]);
    for (std::size_t i = 0; i < g.size(); ++i) place_value(i);
  }

  static constexpr bool is_view(op kind) { return kind == op::reshape || kind == op::dequantize; }

  constexpr void place_value(std::size_t i) {
    const node& n = g[i];
    owner[i] = static_cast<node_id>(i);
    if (is_parameter(n.kind)) {
      out.of[i] = {place::parameter, static_cast<std::uint32_t>(out.parameters.size())};
      out.parameters.push_back(static_cast<node_id>(i));
    } else if (is_buffer_input(g, i)) {
      out.of[i] = {place::input, static_cast<std::uint32_t>(out.inputs.size())};
      out.inputs.push_back(static_cast<node_id>(i));
    } else if (is_view(n.kind) || (n.kind == op::fake_quant && is_last_reader(i))) {
      owner[i] = owner[n.args[0]];
      out.of[i] = out.of[n.args[0]];
      last_use[owner[i]] = std::max(last_use[owner[i]], last_use[i]);
    } else if (n.kind != op::input && n.kind != op::kv_append) {
      size[i] = byte_size(n.type.type, static_cast<std::size_t>(n.dims().elements()));
      size[i] = (size[i] + arena_alignment - 1) / arena_alignment * arena_alignment;
      out.of[i] = {place::arena, static_cast<std::uint32_t>(lowest_gap(i))};
      out.arena_bytes = std::max(out.arena_bytes, out.of[i].at + size[i]);
    }
  }

  /// Whether node i may overwrite its argument: nobody reads those bytes afterwards, and they are the arena's.
  constexpr bool is_last_reader(std::size_t i) const {
    const node_id bytes = owner[g[i].args[0]];
    return out.of[bytes].where == place::arena && last_use[bytes] == i;
  }

  /// The lowest offset at which node i overlaps no value that is alive from when it is computed on.
  constexpr std::size_t lowest_gap(std::size_t i) const {
    const std::size_t computed = g[i].kind == op::result ? g[i].args[0] : i;
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
