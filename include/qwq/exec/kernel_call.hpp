// SPDX-License-Identifier: Apache-2.0
// Defines `kernel_call`, a node's operands, result and shapes at run time, and `kernel_of`, the kernel of an operator.
#pragma once

#include <cstddef>
#include <utility>

#include "qwq/core/parallel.hpp"
#include "qwq/exec/execution_context.hpp"
#include "qwq/exec/memory_plan.hpp"
#include "qwq/kernel/epilogue.hpp"
#include "qwq/kernel/packed_weight.hpp"
#include "qwq/kernel/quantize.hpp"

namespace qwq {

/// Declared but not defined: executing an operator without a kernel is a compile error that names the operator.
template <op Kind>
struct no_kernel_for;
/// Kernel of an operator. A specialization has `template <class Call> static void run(execution_context&)`, where
/// `Call` is a `kernel_call`.
template <op Kind>
struct kernel_of : no_kernel_for<Kind> {};

/// Kernel of an operator outside the library. Specialize it for the operator's schema, with the same member as
/// `kernel_of`. Declared but not defined.
template <const op_schema& Op>
struct custom_kernel;
/// Calls the `custom_kernel` of a custom operator.
template <>
struct kernel_of<op::custom> {
  template <class S>
  static void run(execution_context& f) {
    custom_kernel<*S::self().custom>::template run<S>(f);
  }
};

/// A graph, `G::value`, and its memory plan.
template <class G>
struct planned {
  static constexpr auto& graph = G::value;             ///< The graph.
  static constexpr auto layout = make_plan(G::value);  ///< Its memory plan.
  static_assert(require_none<layout.error>());
};

/// Node `Id` of `G::value` as its kernel sees it: static types and shapes, and access to operands and results in an
/// `execution_context`.
template <class G, std::size_t Id>
struct kernel_call {
  static constexpr auto& g = planned<G>::graph;  ///< The graph.
  static constexpr std::size_t id = Id;          ///< Index of the node in the graph.
  /// The node.
  static constexpr const node& self() { return g[Id]; }
  /// Operator of the node.
  static constexpr op kind = G::value[Id].kind;
  static constexpr std::size_t arity = G::value[Id].args.size();  ///< Number of arguments.
  /// Node that computes argument K.
  template <std::size_t K>
  static constexpr std::size_t arg_id = G::value[Id].args[K];

  /// Extent of axis `Axis` of a node's value in this run.
  template <std::size_t Node, std::size_t Axis>
  static std::int64_t extent(const execution_context& f) {
    constexpr dim d = g[Node].dims()[Axis];
    if constexpr (d.named())
      return f.extents[planned<G>::layout.symbol(d.symbol)] + d.plus;
    else
      return d.extent;
  }
  /// Extents of a node's value in this run.
  template <std::size_t Node = Id>
  static fixed_vector<std::int64_t, max_rank> extents(const execution_context& f) {
    fixed_vector<std::int64_t, max_rank> out;
    [&]<std::size_t... Axis>(std::index_sequence<Axis...>) { (out.push_back(extent<Node, Axis>(f)), ...); }
    (std::make_index_sequence<G::value[Node].dims().size()>{});
    return out;
  }
  /// Number of elements of a node's value in this run.
  template <std::size_t Node>
  static std::int64_t elements(const execution_context& f) {
    std::int64_t n = 1;
    for (const std::int64_t e : extents<Node>(f)) n *= e;
    return n;
  }
  /// Number of tokens in this run: the extent of the second axis of the result, [1, S, ...].
  static std::int64_t tokens(const execution_context& f) { return extent<Id, 1>(f); }

  /// Address of a node's value.
  template <std::size_t Node>
  static void* address(const execution_context& f) {
    constexpr buffer_slice l = planned<G>::layout.of[Node];
    static_assert(l.where != storage_class::nowhere, "qwq: this value is in no buffer");
    if constexpr (G::value[Node].kind == op::table_rows) {
      // A view of the rows of the run's tokens; the last one is row last_position.
      const auto* table = static_cast<const float*>(f.parameters[l.at].data);
      const std::int64_t last = *static_cast<const std::int32_t*>(address<G::value[Node].args[1]>(f));
      return const_cast<float*>(table + (last + 1 - extent<Node, 1>(f)) * G::value[Node].dims().last().extent);
    } else if constexpr (l.where == storage_class::arena) {
      return f.arena + l.at;
    } else if constexpr (l.where == storage_class::input) {
      return f.inputs[l.at];
    } else if constexpr (l.where == storage_class::state) {
      return f.states[l.at].data;
    } else {
      return const_cast<void*>(f.parameters[l.at].data);
    }
  }

  /// A node's value as a span of elements.
  template <std::size_t Node, class T = float>
  static std::span<T> value(const execution_context& f) {
    return {static_cast<T*>(address<Node>(f)), static_cast<std::size_t>(elements<Node>(f))};
  }
  /// The result as a span of elements.
  template <class T = float>
  static std::span<T> out(const execution_context& f) {
    return value<Id, T>(f);
  }
  /// Argument K as a span of elements.
  template <std::size_t K, class T = float>
  static std::span<const T> in(const execution_context& f) {
    return value<arg_id<K>, const T>(f);
  }
  /// A node's value as a matrix; axes before `axis` are rows, the others are columns.
  template <std::size_t Node, class T>
  static matrix_view<T> matrix(const execution_context& f, std::size_t axis = g[Node].dims().size() - 1) {
    const auto dims = extents<Node>(f);
    std::int64_t rows = 1, cols = 1;
    for (std::size_t i = 0; i < dims.size(); ++i) (i < axis ? rows : cols) *= dims[i];
    return {static_cast<T*>(address<Node>(f)), rows, cols};
  }
  /// Value of argument K, an i32 [1,1] such as last_position.
  template <std::size_t K>
  static std::int64_t number(const execution_context& f) {
    static_assert(g[arg_id<K>].type.type == dtype::i32 && g[arg_id<K>].dims().elements() == 1);
    return *static_cast<const std::int32_t*>(address<arg_id<K>>(f));
  }
  /// The state that argument K is a version of, before or after an update in this run.
  template <std::size_t K>
  static const state_view& state(const execution_context& f) {
    constexpr buffer_slice l = planned<G>::layout.of[arg_id<K>];
    static_assert(l.where == storage_class::state, "qwq: this argument must be a state of the graph");
    return f.states[l.at];
  }
  /// The result as a matrix with one row per index of the axes before the last.
  static matrix_view<float> out_matrix(const execution_context& f) { return matrix<Id, float>(f); }
  /// The result as a matrix; axes before `axis` are rows, the others are columns.
  static matrix_view<float> out_matrix(const execution_context& f, std::size_t axis) {
    return matrix<Id, float>(f, axis);
  }
  /// Node that projects result K of an operator with several results.
  template <std::size_t K>
  static constexpr std::size_t result_id = [] {
    std::size_t i = Id + 1;
    while (g[i].kind != op::get_tuple_element || g[i].args[0] != Id || g[i].attr.ints[0] != K) ++i;
    return i;
  }();
  /// Result K as a matrix with one row per index of the axes before the last.
  template <std::size_t K>
  static matrix_view<float> result_matrix(const execution_context& f) {
    return matrix<result_id<K>, float>(f);
  }
  /// Argument K as a matrix with one row per index of the axes before the last.
  template <std::size_t K>
  static matrix_view<const float> in_matrix(const execution_context& f) {
    return matrix<arg_id<K>, const float>(f);
  }
  /// Leaf that stores the constant argument K: the argument itself, or the operand of its dequantize node.
  template <std::size_t K>
  static constexpr std::size_t stored_id() {
    return g[arg_id<K>].kind == op::dequantize ? g[arg_id<K>].args[0] : arg_id<K>;
  }
  /// Bound constant of argument K.
  template <std::size_t K>
  static const bound_constant& constant(const execution_context& f) {
    constexpr buffer_slice l = planned<G>::layout.of[arg_id<K>];
    static_assert(l.where == storage_class::parameter, "qwq: this argument must be a constant of the graph");
    return f.parameters[l.at];
  }
};

namespace detail {

/// Calls `use` with the weight matrix of argument K in its stored form. During calibration, weights of quantized graphs
/// are floats. Expert matrices [E,N,K] are one matrix [E*N,K].
template <class S, std::size_t K, class F>
void with_weight(const execution_context& f, F&& use) {
  constexpr shape dims = S::g[S::template arg_id<K>].dims();
  constexpr bool stacked = dims.size() == 3;
  constexpr std::int64_t rows = stacked ? dims[0].extent * dims[1].extent : dims[0].extent;
  constexpr std::int64_t cols = stacked ? dims[2].extent : dims[1].extent;
  constexpr dtype codes = S::g[S::template stored_id<K>()].type.type;
  const bound_constant& w = S::template constant<K>(f);
  const auto* bytes = static_cast<const std::byte*>(w.data);
  if (w.type == dtype::f32) return use(matrix_view<const float>{static_cast<const float*>(w.data), rows, cols});
  if (w.type == dtype::f16) return use(matrix_view<const float16>{static_cast<const float16*>(w.data), rows, cols});
  if (w.type == dtype::bf16) return use(matrix_view<const bfloat16>{static_cast<const bfloat16*>(w.data), rows, cols});
  if constexpr (codes == dtype::u4 || codes == dtype::i4) use(kernel::packed_weight<4>{bytes, rows, cols, w.block});
  if constexpr (codes == dtype::u8 || codes == dtype::i8) use(kernel::packed_weight<8>{bytes, rows, cols, w.block});
}

/// Calls `row(i)` for each row of `x`, in parallel. The pass is memory-bound: an element costs more than a
/// multiply-add.
template <class F>
void for_each_row(const execution_context& f, matrix_view<const float> x, F&& row) {
  parallel_for(*f.threads, static_cast<std::size_t>(x.rows), 4 * x.rows * x.cols,
               [&](std::size_t i) { row(static_cast<std::int64_t>(i)); });
}

/// Calls `use(epilogue)` once. The epilogue fake-quantizes if node `Id` has a slot and this is a quantized run, else it
/// is the identity. During calibration, the stored values are passed to the hook.
template <class S, std::size_t Id = S::id, class F>
void with_epilogue(execution_context& f, F&& use) {
  constexpr std::int16_t slot = S::g[Id].slot;
  if constexpr (slot < 0) {
    use(kernel::identity_epilogue{});
  } else {
    if (f.slots != nullptr) return kernel::with_fake_quant(f.slots[slot], use);
    use(kernel::identity_epilogue{});
    if (f.hook != nullptr) f.hook->observe(static_cast<std::size_t>(slot), S::template value<Id>(f));
  }
}

}  // namespace detail

}  // namespace qwq
