// SPDX-License-Identifier: Apache-2.0
// Defines `trace_graph`, which executes a graph one kernel call at a time and exposes every intermediate value.
#pragma once

#include "qwq/exec/kernel_table.hpp"

namespace qwq {

/// Executes `G::value` with context `f` and calls `after(node_id, values)` for every f32 value as soon as it is
/// computed; later kernel calls may reuse its buffer. For tests and debugging; `execute` runs the same kernels without
/// callbacks.
template <class G, class F>
void trace_graph(execution_context& f, F&& after) {
  static_assert(require_none<G::value.error>());
  [&]<std::size_t... Id>(std::index_sequence<Id...>) {
    const auto one = [&]<std::size_t I>(std::integral_constant<std::size_t, I>) {
      using this_step = kernel_call<G, I>;
      if constexpr (detail::has_step(this_step::self())) kernel_of<this_step::kind>::template run<this_step>(f);
      if constexpr (detail::has_step(this_step::self()) || this_step::kind == op::get_tuple_element) {
        constexpr bool visible =
            G::value[I].type.type == dtype::f32 && planned<G>::layout.of[I].where == storage_class::arena;
        if constexpr (visible) after(static_cast<node_id>(I), std::span<const float>(this_step::out(f)));
      }
    };
    (one(std::integral_constant<std::size_t, Id>{}), ...);
  }
  (std::make_index_sequence<G::value.size()>{});
}

}  // namespace qwq
