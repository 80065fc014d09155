// SPDX-License-Identifier: Apache-2.0
// One node, ready to run: its arguments and results with the shapes and dtypes that are known at compile time.
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

/// The kernel of an operator: a specialisation has `template <class Step> static void run(execution_context&)`. Declared and not
/// defined, so that executing an operator without a kernel does not compile.
template <op Kind>
struct no_kernel_for;
template <op Kind>
struct kernel_of : no_kernel_for<Kind> {};

/// The kernel of an operator from outside of the library, specialised for its row in the same way. Declared and not
/// defined.
template <const op_schema& Op>
struct custom_kernel;
template <>
struct kernel_of<op::custom> {
  template <class S>
  static void run(execution_context& f) {
    custom_kernel<*S::self().custom>::template run<S>(f);
  }
};

/// A graph and its plan, as steps read them: `G::value` is the graph.
template <class G>
struct planned {
  static constexpr auto& graph = G::value;             ///< The graph.
  static constexpr auto layout = make_plan(G::value);  ///< Its plan.
  static_assert(require_none<layout.error>());
};

/// Node `Id` of `G`, ready to run.
template <class G, std::size_t Id>
struct kernel_call {
  static constexpr auto& g = planned<G>::graph;  ///< The graph.
  static constexpr std::size_t id = Id;          ///< Its index in the graph.
  static constexpr const node& self() { return g[Id]; }
  static constexpr op kind = G::value[Id].kind;
  static constexpr std::size_t arity = G::value[Id].args.size();  ///< Number of arguments.
  /// The node that computes argument K.
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
  /// Extents of a value in this run.
  template <std::size_t Node = Id>
  static fixed_vector<std::int64_t, max_rank> extents(const execution_context& f) {
    fixed_vector<std::int64_t, max_rank> out;
    [&]<std::size_t... Axis>(std::index_sequence<Axis...>) { (out.push_back(extent<Node, Axis>(f)), ...); }
    (std::make_index_sequence<G::value[Node].dims().size()>{});
    return out;
  }
  /// Elements of a node's value in this run.
  template <std::size_t Node>
  static std::int64_t elements(const execution_context& f) {
    std::int64_t n = 1;
    for (const std::int64_t e : extents<Node>(f)) n *= e;
    return n;
  }
  /// Number of tokens in this run: the extent of the second axis of the result, [1, S, ...].
  static std::int64_t tokens(const execution_context& f) { return extent<Id, 1>(f); }

  /// Where a node's value is.
  template <std::size_t Node>
  static void* address(const execution_context& f) {
    constexpr buffer_slice l = planned<G>::layout.of[Node];
    static_assert(l.where != storage_class::nowhere, "qwq: this value is in no buffer");
    if constexpr (G::value[Node].kind == op::table_rows) {
      // A view of the rows of the tokens: the last of them is at last_position.
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
  /// Result and arguments as spans of elements, or as matrices with one row per last axis.
  template <class T = float>
  static std::span<T> out(const execution_context& f) {
    return value<Id, T>(f);
  }
  /// Argument K.
  template <std::size_t K, class T = float>
  static std::span<const T> in(const execution_context& f) {
    return value<arg_id<K>, const T>(f);
  }
  /// A value as a matrix whose rows are everything from `axis` on.
  template <std::size_t Node, class T>
  static matrix_view<T> matrix(const execution_context& f, std::size_t axis = g[Node].dims().size() - 1) {
    const auto dims = extents<Node>(f);
    std::int64_t rows = 1, cols = 1;
    for (std::size_t i = 0; i < dims.size(); ++i) (i < axis ? rows : cols) *= dims[i];
    return {static_cast<T*>(address<Node>(f)), rows, cols};
  }
  /// Argument K, an i32 [1,1] such as last_position, as a number.
  template <std::size_t K>
  static std::int64_t number(const execution_context& f) {
    static_assert(g[arg_id<K>].type.type == dtype::i32 && g[arg_id<K>].dims().elements() == 1);
    return *static_cast<const std::int32_t*>(address<arg_id<K>>(f));
  }
  /// The state that argument K is, before or after another operator of the run updated it.
  template <std::size_t K>
  static const state_view& state(const execution_context& f) {
    constexpr buffer_slice l = planned<G>::layout.of[arg_id<K>];
    static_assert(l.where == storage_class::state, "qwq: this argument must be a state of the graph");
    return f.states[l.at];
  }
  /// The result as a matrix with one row for each last axis.
  static matrix_view<float> out_matrix(const execution_context& f) { return matrix<Id, float>(f); }
  /// The same with rows of everything from `axis` on.
  static matrix_view<float> out_matrix(const execution_context& f, std::size_t axis) {
    return matrix<Id, float>(f, axis);
  }
  /// The node that reads result K of a step with several.
  template <std::size_t K>
  static constexpr std::size_t result_id = [] {
    std::size_t i = Id + 1;
    while (g[i].kind != op::get_tuple_element || g[i].args[0] != Id || g[i].attr.ints[0] != K) ++i;
    return i;
  }();
  /// Result K as a matrix with one row for each last axis.
  template <std::size_t K>
  static matrix_view<float> result_matrix(const execution_context& f) {
    return matrix<result_id<K>, float>(f);
  }
  /// Argument K as a matrix with one row for each last axis.
  template <std::size_t K>
  static matrix_view<const float> in_matrix(const execution_context& f) {
    return matrix<arg_id<K>, const float>(f);
  }
  /// The leaf that a constant argument is stored in.
  template <std::size_t K>
  static constexpr std::size_t stored_id() {
    return g[arg_id<K>].kind == op::dequantize ? g[arg_id<K>].args[0] : arg_id<K>;
  }
  /// The constant behind argument K.
  template <std::size_t K>
  static const bound_constant& constant(const execution_context& f) {
    constexpr buffer_slice l = planned<G>::layout.of[arg_id<K>];
    static_assert(l.where == storage_class::parameter, "qwq: this argument must be a constant of the graph");
    return f.parameters[l.at];
  }
};

namespace detail {

/// Calls f with the weight matrix behind argument K, in the form in which it is stored. A graph with codes has floats
/// while it is calibrated. Matrices [E,N,K] of experts are one matrix [E*N,K].
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

/// Calls f(i) for each row of a pass over `x`, in parallel. A pass waits for memory: its elements cost more than a
/// multiply-add.
template <class F>
void for_each_row(const execution_context& f, matrix_view<const float> x, F&& row) {
  parallel_for(*f.threads, static_cast<std::size_t>(x.rows), 4 * x.rows * x.cols,
               [&](std::size_t i) { row(static_cast<std::int64_t>(i)); });
}

/// Calls use(epilogue) once. The epilogue fake-quantizes if node `Id` has a slot and this is a quantized run, else it is
/// the identity; when calibrating, stored values are passed to the hook.
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
