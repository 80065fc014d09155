// SPDX-License-Identifier: Apache-2.0
// Defines the kernel calls of elementwise operators, row reductions and layout operators.
#pragma once

#include "qwq/exec/kernel_call.hpp"
#include "qwq/kernel/broadcast.hpp"
#include "qwq/kernel/elementwise.hpp"
#include "qwq/kernel/layout.hpp"
#include "qwq/kernel/norm.hpp"
#include "qwq/kernel/softmax.hpp"

namespace qwq {

namespace detail {

/// True if node `id` is a splat, all of whose elements are equal; broadcasting kernels read only one of them.
template <class S>
constexpr bool is_fill(std::size_t id) {
  const node& n = S::g[id];
  return n.kind == op::splat || (n.kind == op::dequantize && S::g[n.args[0]].kind == op::splat);
}

/// How the two arguments of a kernel call broadcast to its result.
template <class S>
kernel::broadcast_axes broadcast_operands(const execution_context& f) {
  const auto extents = [&]<std::size_t Id>(std::integral_constant<std::size_t, Id>) {
    return is_fill<S>(Id) ? fixed_vector<std::int64_t, max_rank>{} : S::template extents<Id>(f);
  };
  const auto y = S::extents(f), a = extents(std::integral_constant<std::size_t, S::template arg_id<0>>{}),
             b = extents(std::integral_constant<std::size_t, S::template arg_id<1>>{});
  return kernel::broadcast({y.begin(), y.end()}, {a.begin(), a.end()}, {b.begin(), b.end()});
}

/// Calls `f` with each index K as a `std::integral_constant`.
template <std::size_t... K, class F>
constexpr void for_each_index(std::index_sequence<K...>, F&& f) {
  (f(std::integral_constant<std::size_t, K>{}), ...);
}

}  // namespace detail

/// Addition with broadcasting and a fused epilogue.
template <>
struct kernel_of<op::add> {
  template <class S>
  static void run(execution_context& f) {
    detail::with_epilogue<S>(f, [&](auto epilogue) {
      kernel::add(S::out(f).data(), S::template in<0>(f).data(), S::template in<1>(f).data(),
                  detail::broadcast_operands<S>(f), epilogue);
    });
  }
};
/// Elementwise multiplication with broadcasting and a fused epilogue.
template <>
struct kernel_of<op::mul> {
  template <class S>
  static void run(execution_context& f) {
    detail::with_epilogue<S>(f, [&](auto epilogue) {
      kernel::multiply(S::out(f).data(), S::template in<0>(f).data(), S::template in<1>(f).data(),
                       detail::broadcast_operands<S>(f), epilogue);
    });
  }
};
/// Negation, as a scaling by -1.
template <>
struct kernel_of<op::neg> {
  template <class S>
  static void run(execution_context& f) {
    kernel::scale(S::out(f), S::template in<0>(f), -1);
  }
};
/// Reciprocal square root of each element.
template <>
struct kernel_of<op::rsqrt> {
  template <class S>
  static void run(execution_context& f) {
    kernel::rsqrt(S::out(f), S::template in<0>(f));
  }
};
/// Logistic function of each element.
template <>
struct kernel_of<op::sigmoid> {
  template <class S>
  static void run(execution_context& f) {
    kernel::sigmoid(S::out(f), S::template in<0>(f));
  }
};
/// x * sigmoid(x) of each element.
template <>
struct kernel_of<op::silu> {
  template <class S>
  static void run(execution_context& f) {
    kernel::silu(S::out(f), S::template in<0>(f));
  }
};
/// silu(gate) * up of each element, with a fused epilogue.
template <>
struct kernel_of<op::swiglu> {
  template <class S>
  static void run(execution_context& f) {
    detail::with_epilogue<S>(
        f, [&](auto epilogue) { kernel::swiglu(S::out(f), S::template in<0>(f), S::template in<1>(f), epilogue); });
  }
};
/// Mean of each row of the last axis.
template <>
struct kernel_of<op::mean> {
  template <class S>
  static void run(execution_context& f) {
    kernel::mean(S::out(f), S::template in_matrix<0>(f));
  }
};
/// Softmax of each row of the last axis.
template <>
struct kernel_of<op::softmax> {
  template <class S>
  static void run(execution_context& f) {
    kernel::softmax(S::out_matrix(f), S::template in_matrix<0>(f));
  }
};
/// Permutation of the axes, by copy.
template <>
struct kernel_of<op::transpose> {
  template <class S>
  static void run(execution_context& f) {
    const auto extents = S::template extents<S::template arg_id<0>>(f);
    const auto& perm = S::self().attr.ints;
    kernel::permute(S::out(f).data(), S::template in<0>(f).data(), std::span(extents.begin(), extents.end()),
                    std::span(perm.begin(), perm.end()));
  }
};
/// Copies each operand to its columns of the result; splats are filled, not copied.
template <>
struct kernel_of<op::concat> {
  template <class S>
  static void run(execution_context& f) {
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
/// Copies a range of columns.
template <>
struct kernel_of<op::slice> {
  template <class S>
  static void run(execution_context& f) {
    constexpr auto axis = static_cast<std::size_t>(S::self().attr.ints[2]);
    const auto x = S::template matrix<S::template arg_id<0>, const float>(f, axis);
    const std::int64_t each = x.cols / S::template extent<S::template arg_id<0>, axis>(f);
    kernel::slice_columns(S::out_matrix(f, axis), x, S::self().attr.ints[0] * each);
  }
};
/// Conversion of each element between the types of operand and result.
template <>
struct kernel_of<op::cast> {
  template <class S>
  static void run(execution_context& f) {
    using from = storage_t<S::g[S::template arg_id<0>].type.type>;
    using to = storage_t<S::self().type.type>;
    kernel::convert(S::template out<to>(f), S::template in<0, from>(f));
  }
};
/// Quantization and dequantization of a value with the parameters of its slot, or of the experts of its rows.
template <>
struct kernel_of<op::fake_quant> {
  /// Calibration passes the value to the hook, quantized runs fake-quantize it, and float runs copy it.
  template <class S>
  static void run(execution_context& f) {
    constexpr auto index = static_cast<std::size_t>(S::self().slot);
    const std::span<float> y = S::out(f);
    const std::span<const float> x = S::template in<0>(f);
    if constexpr (S::arity == 2) {  // parameters for each expert
      const auto experts = S::template in<1, std::int32_t>(f);
      const std::size_t width = x.size() / experts.size();
      for (std::size_t i = 0; i < experts.size(); ++i) {
        const std::size_t at = index + static_cast<std::size_t>(experts[i]);
        const auto from = x.subspan(i * width, width);
        if (f.slots == nullptr && f.hook != nullptr) f.hook->observe(at, from);
        if (f.slots != nullptr)
          kernel::fake_quantize(y.subspan(i * width, width), from, f.slots[at]);
        else
          std::copy(from.begin(), from.end(), y.begin() + static_cast<std::ptrdiff_t>(i * width));
      }
      return;
    }
    if (f.slots != nullptr) return kernel::fake_quantize(y, x, f.slots[index]);
    if (f.hook != nullptr) f.hook->observe(index, x);
    if (y.data() != x.data()) std::copy(x.begin(), x.end(), y.begin());
  }
};

}  // namespace qwq
