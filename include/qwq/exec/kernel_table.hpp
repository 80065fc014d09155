// SPDX-License-Identifier: Apache-2.0
// Defines `execute`, which runs a graph by calling the kernel of each node that has one.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>
#include <utility>

#include "qwq/exec/attention_kernels.hpp"
#include "qwq/exec/elementwise_kernels.hpp"
#include "qwq/exec/gemm_kernels.hpp"

namespace qwq {

namespace detail {

/// True if a node has a kernel call. Leaves (bound before the run), views (alias their operand) and `get_tuple_element`
/// (written by its producer) have none.
constexpr bool has_step(const node& n) {
  return !schema(n).is(trait::outside | trait::constant | trait::view) && n.kind != op::get_tuple_element;
}

/// Number of kernel calls of a graph.
template <class G>
constexpr std::size_t step_count() {
  std::size_t n = 0;
  for (const node& s : G::value.nodes)
    if (has_step(s)) ++n;
  return n;
}

/// Function that runs one kernel call.
using step_function = void (*)(execution_context&);

/// Appends the kernel call of node `Id` to `table`, if it has one.
template <class G, std::size_t Id>
constexpr void add_step(step_function* table, std::size_t& n) {
  if constexpr (has_step(G::value[Id]))
    table[n++] = &kernel_of<kernel_call<G, Id>::kind>::template run<kernel_call<G, Id>>;
}

/// Table of all kernel calls of a graph, in execution order.
template <class G>
constexpr auto make_steps() {
  std::array<step_function, step_count<G>()> table{};
  std::size_t n = 0;
  [&]<std::size_t... Id>(std::index_sequence<Id...>) { (add_step<G, Id>(table.data(), n), ...); }
  (std::make_index_sequence<G::value.size()>{});
  return table;
}

}  // namespace detail

/// Bytes of scratch memory that GEMMs of the graph need to quantize their activations, for any block size of the
/// weights.
template <class G>
constexpr std::size_t int8_scratch() {
  constexpr std::int64_t smallest_block = 16;
  std::size_t most = 0;
  for (const node& n : G::value.nodes)
    if (schema(n).is(trait::product)) {
      const shape x = G::value[n.args[0]].dims();
      const std::int64_t cols = x.last().extent;
      most = std::max(most, kernel::int8_rows::bytes(x.elements() / cols, cols, smallest_block));
    }
  return most;
}

/// Index of the graph's output named `name`, or the number of outputs if there is none.
template <class G>
constexpr std::size_t output_index(std::string_view name) {
  std::size_t i = 0;
  while (i < G::value.outputs.size() && !(G::value.outputs[i].name == name)) ++i;
  return i;
}

/// Address of the graph's K-th output after a run.
template <class G, std::size_t K>
const float* output_address(const execution_context& f) {
  return static_cast<const float*>(kernel_call<G, G::value.outputs[K].id>::template address<G::value.outputs[K].id>(f));
}

/// Executes the graph `G::value` with context `f`, and returns the address of its first output. Allocates nothing.
template <class G>
const float* execute(execution_context& f) {
  static_assert(require_none<G::value.error>());
  static constexpr auto steps = detail::make_steps<G>();
  for (detail::step_function run : steps) run(f);
  return output_address<G, 0>(f);
}

}  // namespace qwq
