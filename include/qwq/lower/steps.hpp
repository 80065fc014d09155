// SPDX-License-Identifier: Apache-2.0
// Graph + kernels -> something that runs: one function per node, with its shapes and dtypes known at compile time.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>
#include <utility>

#include "qwq/kernel/attention.hpp"
#include "qwq/kernel/broadcast.hpp"
#include "qwq/kernel/elementwise.hpp"
#include "qwq/kernel/embedding.hpp"
#include "qwq/kernel/epilogue.hpp"
#include "qwq/kernel/layout.hpp"
#include "qwq/kernel/linear_int8.hpp"
#include "qwq/kernel/norm.hpp"
#include "qwq/kernel/norm_rope.hpp"
#include "qwq/kernel/quantize.hpp"
#include "qwq/kernel/rope.hpp"
#include "qwq/kernel/softmax.hpp"
#include "qwq/lower/frame.hpp"
#include "qwq/lower/plan.hpp"

namespace qwq {

/// The kernel of an operator: a specialisation has `template <class Step> static void run(frame&)`. Declared and not
/// defined, so that executing an operator without a kernel does not compile.
template <op Kind>
struct no_kernel_for;
template <op Kind>
struct kernel_of : no_kernel_for<Kind> {};

/// The kernel of an operator from outside of the library, specialised for its row in the same way. Declared and not
/// defined.
template <const op_row& Op>
struct custom_kernel;
template <>
struct kernel_of<op::custom> {
  template <class S>
  static void run(frame& f) {
    custom_kernel<*S::self().custom>::template run<S>(f);
  }
};

/// A graph and its plan, as steps read them: `G::value` is the graph.
template <class G>
struct planned {
  static constexpr auto& graph = G::value;  ///< The graph.
  static constexpr auto layout = make_plan(G::value);  ///< Its plan.
};

/// Node `Id` of `G`, ready to run.
template <class G, std::size_t Id>
struct step {
  static constexpr auto& g = planned<G>::graph;  ///< The graph.
  static constexpr std::size_t id = Id;  ///< Its index in the graph.
  static constexpr const node& self() { return g[Id]; }
  static constexpr op kind = G::value[Id].kind;
  static constexpr std::size_t arity = G::value[Id].args.size();  ///< Number of arguments.
  /// The node that computes argument K.
  template <std::size_t K>
  static constexpr std::size_t arg_id = G::value[Id].args[K];

  /// Extent of a dimension in this run.
  static constexpr std::int64_t extent(const dim& d, const frame& f) {
    return d.symbol == "sequence_length" ? f.rows : d.extent;
  }
  /// Elements of a node's value in this run.
  template <std::size_t Node>
  static std::int64_t elements(const frame& f) {
    std::int64_t n = 1;
    for (const dim& d : g[Node].dims()) n *= extent(d, f);
    return n;
  }

  /// Where a node's value is.
  template <std::size_t Node>
  static void* address(const frame& f) {
    constexpr location l = planned<G>::layout.of[Node];
    if constexpr (l.where == place::arena)
      return f.arena + l.at;
    else if constexpr (l.where == place::input)
      return f.inputs[l.at];
    else
      return const_cast<void*>(f.parameters[l.at].data);
  }

  /// A node's value as a span of elements.
  template <std::size_t Node, class T = float>
  static std::span<T> value(const frame& f) {
    return {static_cast<T*>(address<Node>(f)), static_cast<std::size_t>(elements<Node>(f))};
  }
  /// Result and arguments as spans of elements, or as matrices with one row per last axis.
  template <class T = float>
  static std::span<T> out(const frame& f) {
    return value<Id, T>(f);
  }
  /// Argument K.
  template <std::size_t K, class T = float>
  static std::span<const T> in(const frame& f) {
    return value<arg_id<K>, const T>(f);
  }
  /// Extents of a value in this run.
  template <std::size_t Node = Id>
  static fixed_vector<std::int64_t, max_rank> extents(const frame& f) {
    fixed_vector<std::int64_t, max_rank> out;
    for (const dim& d : g[Node].dims()) out.push_back(extent(d, f));
    return out;
  }

  /// A value as a matrix whose rows are everything from `axis` on.
  template <std::size_t Node, class T>
  static matrix_view<T> matrix(const frame& f, std::size_t axis = g[Node].dims().size() - 1) {
    std::int64_t cols = 1;
    for (std::size_t i = axis; i < g[Node].dims().size(); ++i) cols *= extent(g[Node].dims()[i], f);
    return {static_cast<T*>(address<Node>(f)), elements<Node>(f) / cols, cols};
  }
  /// The result as a matrix with one row for each last axis.
  static matrix_view<float> out_matrix(const frame& f) { return matrix<Id, float>(f); }
  /// The same with rows of everything from `axis` on.
  static matrix_view<float> out_matrix(const frame& f, std::size_t axis) { return matrix<Id, float>(f, axis); }
  /// The node that reads result K of a step with several.
  template <std::size_t K>
  static constexpr std::size_t result_id = [] {
    std::size_t i = Id + 1;
    while (g[i].kind != op::result || g[i].args[0] != Id || g[i].attr.ints[0] != K) ++i;
    return i;
  }();
  /// Result K as a matrix with one row for each last axis.
  template <std::size_t K>
  static matrix_view<float> result_matrix(const frame& f) {
    return matrix<result_id<K>, float>(f);
  }
  /// Argument K as a matrix with one row for each last axis.
  template <std::size_t K>
  static matrix_view<const float> in_matrix(const frame& f) {
    return matrix<arg_id<K>, const float>(f);
  }
  /// The leaf that a constant argument is stored in.
  template <std::size_t K>
  static constexpr std::size_t stored_id() {
    return g[arg_id<K>].kind == op::dequantize ? g[arg_id<K>].args[0] : arg_id<K>;
  }
  /// The constant behind argument K.
  template <std::size_t K>
  static const operand& constant(const frame& f) {
    constexpr location l = planned<G>::layout.of[arg_id<K>];
    static_assert(l.where == place::parameter, "qwq: this argument must be a constant of the graph");
    return f.parameters[l.at];
  }
};

namespace detail {

/// Calls f with the weight matrix behind argument K, in the form in which it is stored. A graph with codes has floats
/// while it is calibrated.
template <class S, std::size_t K, class F>
void with_weight(const frame& f, F&& use) {
  constexpr shape dims = S::g[S::template arg_id<K>].dims();
  constexpr std::int64_t rows = dims[0].extent, cols = dims[1].extent;
  constexpr dtype codes = S::g[S::template stored_id<K>()].type.type;
  const operand& w = S::template constant<K>(f);
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
void for_each_row(const frame& f, matrix_view<const float> x, F&& row) {
  parallel_for(*f.threads, static_cast<std::size_t>(x.rows), 4 * x.rows * x.cols,
               [&](std::size_t i) { row(static_cast<std::int64_t>(i)); });
}

/// y = rms_norm(x, weight, eps).
template <class Epilogue = kernel::as_is>
void norm_rows(const frame& f, matrix_view<float> y, matrix_view<const float> x, std::span<const float> weight,
               float eps, Epilogue finish = {}) {
  for_each_row(f, x, [&](std::int64_t i) {
    kernel::rms_norm(y.rows_from(i, 1), x.rows_from(i, 1), weight, eps, finish);
  });
}

/// Activations of a product: the first argument of a step.
template <class S>
struct plain_rows {
  const frame& f;
  matrix_view<const float> x = S::template in_matrix<0>(f);

  matrix_view<const float> floats() const { return x; }
  void quantize(const kernel::int8_rows& codes) const { kernel::quantize_rows(*f.threads, codes, x); }
};

/// Activations of a product: the norm of the first argument with the second as gain. As floats they are made in the
/// bytes that are the step's own.
template <class S>
struct normed_rows {
  const frame& f;
  matrix_view<const float> x = S::template in_matrix<0>(f);
  std::span<const float> gain = S::template in<1>(f);
  float eps = static_cast<float>(S::self().attr.value);
  bool made = false;

  matrix_view<const float> floats() {
    const matrix_view<float> own = S::out_matrix(f);
    if (!made) norm_rows(f, own, x, gain, eps);
    made = true;
    return own;
  }
  void quantize(const kernel::int8_rows& codes) const {
    kernel::quantize_normed_rows(*f.threads, codes, x, gain, eps);
  }
};

/// Multiplies `rows` with the weights that are arguments `W` of a step, `finish` after each product, on activations in
/// the form that the run asks for.
template <class S, std::size_t... W, class Rows, class... Finish>
void multiply(const frame& f, Rows&& rows, Finish&&... finish) {
  std::int64_t quantized_in = 0;  // blocks, while they are in f.scratch
  const auto one = [&]<std::size_t K>(std::integral_constant<std::size_t, K>, const kernel::sums_sink& to) {
    with_weight<S, K>(f, [&](const auto& w) {
      if constexpr (requires { w.per_word; })
        if (f.scratch != nullptr) {
          const kernel::int8_rows codes(f.scratch, rows.x.rows, rows.x.cols, w.block);
          if (w.block != quantized_in) rows.quantize(codes);
          quantized_in = w.block;
          return kernel::product(*f.threads, codes, w, to);
        }
      kernel::product(*f.threads, rows.floats(), w, to);
    });
  };
  (one(std::integral_constant<std::size_t, W>{}, finish), ...);
}

/// Key and value of the layer's cache, for a graph whose cache is of type T.
template <class T>
struct cache_views {
  kernel::kv_view<T> key, value;
  cache_views(const layer_cache& c, std::int64_t kv_heads, std::int64_t head_dim)
      : key{static_cast<T*>(c.key), kv_heads, c.capacity, head_dim, c.key_scales},
        value{static_cast<T*>(c.value), kv_heads, c.capacity, head_dim, c.value_scales} {}
};

/// Fills are bound as their one value, whatever their shape.
template <class S>
constexpr bool is_fill(std::size_t id) {
  const node& n = S::g[id];
  return n.kind == op::fill || (n.kind == op::dequantize && S::g[n.args[0]].kind == op::fill);
}

/// How the two arguments of a step fill its result.
template <class S>
kernel::broadcast_axes broadcast_operands(const frame& f) {
  const auto extents = [&]<std::size_t Id>(std::integral_constant<std::size_t, Id>) {
    return is_fill<S>(Id) ? fixed_vector<std::int64_t, max_rank>{} : S::template extents<Id>(f);
  };
  const auto y = S::extents(f), a = extents(std::integral_constant<std::size_t, S::template arg_id<0>>{}),
             b = extents(std::integral_constant<std::size_t, S::template arg_id<1>>{});
  return kernel::broadcast({y.begin(), y.end()}, {a.begin(), a.end()}, {b.begin(), b.end()});
}

template <std::size_t... K, class F>
constexpr void for_each_index(std::index_sequence<K...>, F&& f) {
  (f(std::integral_constant<std::size_t, K>{}), ...);
}

/// Calls use(finish), once, with what the step does to each element of its result, or of the result that is node `Id`,
/// before it stores it. A result with a slot is put on the slot's grid in quantized runs, and shown in calibration.
template <class S, std::size_t Id = S::id, class F>
void with_epilogue(frame& f, F&& use) {
  constexpr std::int16_t slot = S::g[Id].slot;
  if constexpr (slot < 0) {
    use(kernel::as_is{});
  } else {
    if (f.slots != nullptr) return kernel::with_fake_quant(f.slots[slot], use);
    use(kernel::as_is{});
    if (f.listener != nullptr) f.listener->observe(static_cast<std::size_t>(slot), S::template value<Id>(f));
  }
}

}  // namespace detail

// One specialisation per operator. Leaves and views have no step, and a result of several is written by the step that
// has them (see has_step).

template <>
struct kernel_of<op::add> {
  template <class S>
  static void run(frame& f) {
    detail::with_epilogue<S>(f, [&](auto finish) {
      kernel::add(S::out(f).data(), S::template in<0>(f).data(), S::template in<1>(f).data(),
                  detail::broadcast_operands<S>(f), finish);
    });
  }
};
template <>
struct kernel_of<op::mul> {
  template <class S>
  static void run(frame& f) {
    detail::with_epilogue<S>(f, [&](auto finish) {
      kernel::multiply(S::out(f).data(), S::template in<0>(f).data(), S::template in<1>(f).data(),
                       detail::broadcast_operands<S>(f), finish);
    });
  }
};
template <>
struct kernel_of<op::neg> {
  template <class S>
  static void run(frame& f) {
    kernel::scale(S::out(f), S::template in<0>(f), -1);
  }
};
template <>
struct kernel_of<op::rsqrt> {
  template <class S>
  static void run(frame& f) {
    kernel::rsqrt(S::out(f), S::template in<0>(f));
  }
};
template <>
struct kernel_of<op::sigmoid> {
  template <class S>
  static void run(frame& f) {
    kernel::sigmoid(S::out(f), S::template in<0>(f));
  }
};
template <>
struct kernel_of<op::silu> {
  template <class S>
  static void run(frame& f) {
    kernel::silu(S::out(f), S::template in<0>(f));
  }
};
template <>
struct kernel_of<op::swiglu> {
  template <class S>
  static void run(frame& f) {
    detail::with_epilogue<S>(
        f, [&](auto finish) { kernel::swiglu(S::out(f), S::template in<0>(f), S::template in<1>(f), finish); });
  }
};
template <>
struct kernel_of<op::mean> {
  template <class S>
  static void run(frame& f) {
    kernel::mean(S::out(f), S::template in_matrix<0>(f));
  }
};
template <>
struct kernel_of<op::softmax> {
  template <class S>
  static void run(frame& f) {
    kernel::softmax(S::out_matrix(f), S::template in_matrix<0>(f));
  }
};
template <>
struct kernel_of<op::rms_norm> {
  template <class S>
  static void run(frame& f) {
    detail::with_epilogue<S>(f, [&](auto finish) {
      detail::norm_rows(f, S::out_matrix(f), S::template in_matrix<0>(f), S::template in<1>(f),
                        static_cast<float>(S::self().attr.value), finish);
    });
  }
};
template <>
struct kernel_of<op::lp_norm> {
  template <class S>
  static void run(frame& f) {
    kernel::lp_norm(S::out_matrix(f), S::template in_matrix<0>(f));
  }
};
template <>
struct kernel_of<op::linear> {
  template <class S>
  static void run(frame& f) {
    detail::with_epilogue<S>(f, [&](auto finish) {
      detail::multiply<S, 1>(f, detail::plain_rows<S>{f},
                             kernel::store_sums<xsimd::default_arch, decltype(finish)>{S::out_matrix(f), finish});
    });
  }
};
template <>
struct kernel_of<op::linear_add> {
  template <class S>
  static void run(frame& f) {
    detail::multiply<S, 1>(f, detail::plain_rows<S>{f},
                           kernel::add_sums<>{S::out_matrix(f), S::template in_matrix<2>(f)});
  }
};
template <>
struct kernel_of<op::gated_linear> {
  template <class S>
  static void run(frame& f) {
    const matrix_view<float> y = S::out_matrix(f);
    detail::with_epilogue<S>(f, [&](auto finish) {
      detail::multiply<S, 1, 2>(f, detail::plain_rows<S>{f}, kernel::store_sums<>{y},
                                kernel::gate_sums<xsimd::default_arch, decltype(finish)>{y, finish});
    });
  }
};
template <>
struct kernel_of<op::norm_linear> {
  template <class S>
  static void run(frame& f) {
    [&]<std::size_t... K>(std::index_sequence<K...>) {
      detail::multiply<S, K + 2 ...>(f, detail::normed_rows<S>{f},
                                     kernel::store_sums<>{S::template result_matrix<K>(f)}...);
    }(std::make_index_sequence<S::arity - 2>{});
  }
};
template <>
struct kernel_of<op::norm_gated_linear> {
  template <class S>
  static void run(frame& f) {
    const matrix_view<float> y = S::template result_matrix<0>(f);
    detail::multiply<S, 2, 3>(f, detail::normed_rows<S>{f}, kernel::store_sums<>{y}, kernel::gate_sums<>{y});
  }
};
template <>
struct kernel_of<op::add_norm> {
  template <class S>
  static void run(frame& f) {
    const auto a = S::template in_matrix<0>(f), b = S::template in_matrix<1>(f);
    const auto sum = S::out_matrix(f), y = S::template result_matrix<0>(f);
    detail::with_epilogue<S, S::template result_id<0>>(f, [&](auto finish) {
      detail::for_each_row(f, a, [&](std::int64_t i) {
        kernel::add_norm(sum.rows_from(i, 1), y.rows_from(i, 1), a.rows_from(i, 1), b.rows_from(i, 1),
                         S::template in<2>(f), static_cast<float>(S::self().attr.value), finish);
      });
    });
  }
};
template <>
struct kernel_of<op::matmul> {
  template <class S>
  static void run(frame& f) {
    constexpr shape dims = S::self().dims();
    const matrix_view<float> out = S::out_matrix(f);
    kernel::matmul(*f.threads, out, S::template in_matrix<0>(f), S::template in_matrix<1>(f),
                   out.rows / S::extent(dims[dims.size() - 2], f));
  }
};
template <>
struct kernel_of<op::conv1x1> {
  template <class S>
  static void run(frame& f) {
    detail::with_weight<S, 1>(f, [&](const auto& view) {
      kernel::linear_columns(*f.threads, S::out_matrix(f), S::template in_matrix<0>(f), view);
    });
  }
};
template <>
struct kernel_of<op::transpose> {
  template <class S>
  static void run(frame& f) {
    const auto extents = S::template extents<S::template arg_id<0>>(f);
    const auto& perm = S::self().attr.ints;
    kernel::permute(S::out(f).data(), S::template in<0>(f).data(), std::span(extents.begin(), extents.end()),
                    std::span(perm.begin(), perm.end()));
  }
};
template <>
struct kernel_of<op::concat> {
  template <class S>
  static void run(frame& f) {
    constexpr auto axis = static_cast<std::size_t>(S::self().attr.ints[0]);
    std::int64_t first = 0;
    detail::for_each_index(std::make_index_sequence<S::arity>{}, [&](auto k) {
      constexpr std::size_t a = S::template arg_id<k.value>;
      const auto part = S::template matrix<a, const float>(f, axis);
      const matrix_view<float> out = S::out_matrix(f, axis).cols_from(first, part.cols);
      if constexpr (detail::is_fill<S>(a)) {
        for (std::int64_t i = 0; i < out.rows; ++i) std::fill_n(out.row(i), out.cols, *part.data);
      } else {
        kernel::copy(out, part);
      }
      first += part.cols;
    });
  }
};
template <>
struct kernel_of<op::slice> {
  template <class S>
  static void run(frame& f) {
    constexpr auto axis = static_cast<std::size_t>(S::self().attr.ints[2]);
    const auto x = S::template matrix<S::template arg_id<0>, const float>(f, axis);
    const std::int64_t each = x.cols / S::extent(S::g[S::template arg_id<0>].dims()[axis], f);
    kernel::slice_columns(S::out_matrix(f, axis), x, S::self().attr.ints[0] * each);
  }
};
template <>
struct kernel_of<op::cast> {
  template <class S>
  static void run(frame& f) {
    using from = storage_t<S::g[S::template arg_id<0>].type.type>;
    using to = storage_t<S::self().type.type>;
    kernel::convert(S::template out<to>(f), S::template in<0, from>(f));
  }
};
template <>
struct kernel_of<op::embedding> {
  template <class S>
  static void run(frame& f) {
    detail::with_weight<S, 0>(
        f, [&](const auto& table) { kernel::embedding(S::out_matrix(f), table, S::template in<1, std::int64_t>(f)); });
  }
};

namespace detail {
/// What a rotation reads and writes: one row per token, all heads side by side; the tables are arguments `Table` and
/// the next.
template <class S, std::size_t Table>
struct rotation {
  static constexpr std::int64_t heads = S::self().dims()[2].extent, head_dim = S::self().dims()[3].extent;
  matrix_view<float> y;
  matrix_view<const float> x, cos, sin;

  explicit rotation(const frame& f)
      : y{S::out(f).data(), f.rows, heads * head_dim},
        x{S::template in<0>(f).data(), f.rows, heads * head_dim},
        cos{rows(f, S::template constant<Table>(f))},
        sin{rows(f, S::template constant<Table + 1>(f))} {}

 private:
  static matrix_view<const float> rows(const frame& f, const operand& table) {
    const matrix_view<const float> all{static_cast<const float*>(table.data), f.last_position + 1, head_dim / 2};
    return all.rows_from(f.last_position + 1 - f.rows, f.rows);
  }
};
}  // namespace detail

template <>
struct kernel_of<op::rope> {
  template <class S>
  static void run(frame& f) {
    const detail::rotation<S, 1> of(f);
    detail::for_each_row(f, of.x, [&](std::int64_t i) {
      kernel::rope(of.y.rows_from(i, 1), of.x.rows_from(i, 1), of.cos.rows_from(i, 1), of.sin.rows_from(i, 1),
                   of.head_dim);
    });
  }
};
template <>
struct kernel_of<op::norm_rope> {
  template <class S>
  static void run(frame& f) {
    const detail::rotation<S, 2> of(f);
    detail::for_each_row(f, of.x, [&](std::int64_t i) {
      kernel::norm_rope(of.y.rows_from(i, 1), of.x.rows_from(i, 1), S::template in<1>(f),
                        static_cast<float>(S::self().attr.value), of.cos.rows_from(i, 1), of.sin.rows_from(i, 1));
    });
  }
};
template <>
struct kernel_of<op::kv_append> {
  template <class S>
  static void run(frame& f) {
    constexpr shape cache = S::self().dims();
    using element = storage_t<S::self().type.type>;
    const detail::cache_views<element> c(f.cache, cache[1].extent, cache[3].extent);
    constexpr bool is_key = S::g[S::template arg_id<0>].name == "past_key";
    const matrix_view<const float> rows{S::template in<1>(f).data(), f.rows, cache[1].extent * cache[3].extent};
    detail::for_each_row(f, rows, [&](std::int64_t i) {
      kernel::append_kv(is_key ? c.key : c.value, rows.rows_from(i, 1), f.last_position + 1 - f.rows + i);
    });
  }
};
template <>
struct kernel_of<op::attention> {
  template <class S>
  static void run(frame& f) {
    constexpr shape cache = S::g[S::template arg_id<1>].dims();
    static_assert(cache[3].extent <= kernel::detail::most_head_dim, "qwq: attention takes heads of at most 512 channels");
    constexpr std::int64_t width = S::self().dims()[2].extent * S::self().dims()[3].extent;
    using element = storage_t<S::g[S::template arg_id<1>].type.type>;
    const detail::cache_views<element> c(f.cache, cache[1].extent, cache[3].extent);
    kernel::attention(*f.threads, matrix_view<float>{S::out(f).data(), f.rows, width},
                      matrix_view<const float>{S::template in<0>(f).data(), f.rows, width}, c.key, c.value,
                      f.last_position + 1 - f.rows, static_cast<float>(S::self().attr.value));
  }
};

template <>
struct kernel_of<op::fake_quant> {
  /// Calibration looks at the value, quantized runs round it to the slot's grid, float runs pass it on.
  template <class S>
  static void run(frame& f) {
    constexpr auto index = static_cast<std::size_t>(S::self().slot);
    const std::span<float> y = S::out(f);
    const std::span<const float> x = S::template in<0>(f);
    if (f.slots != nullptr) return kernel::fake_quantize(y, x, f.slots[index]);
    if (f.listener != nullptr) f.listener->observe(index, x);
    if (y.data() != x.data()) std::copy(x.begin(), x.end(), y.begin());
  }
};

namespace detail {

/// Leaves are bound, views share bytes, caches are written by kv_append: none of them runs.
constexpr bool has_step(op kind) {
  return kind != op::input && !is_parameter(kind) && kind != op::reshape && kind != op::dequantize &&
         kind != op::result;
}

template <class G>
constexpr std::size_t step_count() {
  std::size_t n = 0;
  for (const node& s : G::value.nodes)
    if (has_step(s.kind)) ++n;
  return n;
}

using step_function = void (*)(frame&);

template <class G, std::size_t Id>
constexpr void add_step(step_function* table, std::size_t& n) {
  if constexpr (has_step(step<G, Id>::kind)) table[n++] = &kernel_of<step<G, Id>::kind>::template run<step<G, Id>>;
}

template <class G>
constexpr auto make_steps() {
  std::array<step_function, step_count<G>()> table{};
  std::size_t n = 0;
  [&]<std::size_t... Id>(std::index_sequence<Id...>) {
    (add_step<G, Id>(table.data(), n), ...);
  }(std::make_index_sequence<G::value.size()>{});
  return table;
}

}  // namespace detail

/// Bytes that products of the graph need to quantize their activations, whatever the blocks of the weights.
template <class G>
constexpr std::size_t int8_scratch() {
  constexpr std::int64_t smallest_block = 16;
  std::size_t most = 0;
  for (const node& n : G::value.nodes)
    if (n.kind == op::linear || n.kind == op::linear_add || n.kind == op::gated_linear || n.kind == op::norm_linear ||
        n.kind == op::norm_gated_linear) {
      const shape x = G::value[n.args[0]].dims();
      const std::int64_t cols = x.last().extent;
      most = std::max(most, kernel::int8_rows::bytes(x.elements() / cols, cols, smallest_block));
    }
  return most;
}

/// Which output of the graph has a name; the number of outputs when none has.
template <class G>
constexpr std::size_t output_index(std::string_view name) {
  std::size_t i = 0;
  while (i < G::value.outputs.size() && !(G::value.outputs[i].name == name)) ++i;
  return i;
}

/// Where the graph's k-th output lies after a run; null for caches.
template <class G, std::size_t K>
const float* output_address(const frame& f) {
  constexpr std::size_t id = G::value.outputs[K].id;
  constexpr location l = planned<G>::layout.of[id];
  if constexpr (l.where == place::arena)
    return reinterpret_cast<const float*>(f.arena + l.at);
  else if constexpr (l.where == place::input)
    return static_cast<const float*>(f.inputs[l.at]);
  else
    return nullptr;
}

/// Runs the graph `G::value` on `f` and returns where its first output lies. Nothing is allocated.
template <class G>
const float* run_graph(frame& f) {
  static_assert(require_none<G::value.error>());
  static constexpr auto steps = detail::make_steps<G>();
  for (detail::step_function run : steps) run(f);
  return output_address<G, 0>(f);
}

}  // namespace qwq
