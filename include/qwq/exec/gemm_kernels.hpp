// SPDX-License-Identifier: Apache-2.0
// Defines the kernel calls of operators with weights: GEMMs, norms, and their fusions, and of `matmul`.
#pragma once

#include "qwq/exec/kernel_call.hpp"
#include "qwq/kernel/embedding.hpp"
#include "qwq/kernel/linear_int8.hpp"
#include "qwq/kernel/norm.hpp"

namespace qwq {

namespace detail {

/// y = rms_norm(x, weight, eps).
template <class Epilogue = kernel::identity_epilogue>
void norm_rows(const execution_context& f, matrix_view<float> y, matrix_view<const float> x,
               std::span<const float> weight, float eps, Epilogue epilogue = {}) {
  for_each_row(f, x,
               [&](std::int64_t i) { kernel::rms_norm(y.rows_from(i, 1), x.rows_from(i, 1), weight, eps, epilogue); });
}

/// GEMM activations: the first argument of the kernel call.
template <class S>
struct plain_rows {
  const execution_context& f;
  matrix_view<const float> x = S::template in_matrix<0>(f);

  matrix_view<const float> floats() const { return x; }
  void quantize(const kernel::int8_rows& codes) const { kernel::quantize_rows(*f.threads, codes, x); }
};

/// GEMM activations: the norm of the first argument, with the second argument as gain. As floats they are computed into
/// the call's own result buffer.
template <class S>
struct normed_rows {
  const execution_context& f;
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
  void quantize(const kernel::int8_rows& codes) const { kernel::quantize_normed_rows(*f.threads, codes, x, gain, eps); }
};

/// Runs one GEMM per weight argument in `W` and passes the accumulators to the matching epilogue. Activations are f32,
/// or int8 if `f.scratch` is set and the weight is packed.
template <class S, std::size_t... W, class Rows, class... Finish>
void multiply(const execution_context& f, Rows&& rows, Finish&&... epilogue) {
  std::int64_t quantized_in = 0;  // block size of the activations in f.scratch; 0: none yet
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
  (one(std::integral_constant<std::size_t, W>{}, epilogue), ...);
}

}  // namespace detail

/// RMSNorm of each row, in parallel, with a fused epilogue.
template <>
struct kernel_of<op::rms_norm> {
  template <class S>
  static void run(execution_context& f) {
    detail::with_epilogue<S>(f, [&](auto epilogue) {
      detail::norm_rows(f, S::out_matrix(f), S::template in_matrix<0>(f), S::template in<1>(f),
                        static_cast<float>(S::self().attr.value), epilogue);
    });
  }
};
/// L2 normalization of each row.
template <>
struct kernel_of<op::lp_norm> {
  template <class S>
  static void run(execution_context& f) {
    kernel::lp_norm(S::out_matrix(f), S::template in_matrix<0>(f));
  }
};
/// Sum and its RMSNorm in one pass over rows, in parallel; the epilogue applies to the norm.
template <>
struct kernel_of<op::add_norm> {
  template <class S>
  static void run(execution_context& f) {
    const auto a = S::template in_matrix<0>(f), b = S::template in_matrix<1>(f);
    const auto sum = S::out_matrix(f), y = S::template result_matrix<0>(f);
    detail::with_epilogue<S, S::template result_id<0>>(f, [&](auto epilogue) {
      detail::for_each_row(f, a, [&](std::int64_t i) {
        kernel::add_norm(sum.rows_from(i, 1), y.rows_from(i, 1), a.rows_from(i, 1), b.rows_from(i, 1),
                         S::template in<2>(f), static_cast<float>(S::self().attr.value), epilogue);
      });
    });
  }
};
/// GEMM with a fused epilogue. A bias is added like a residual whose rows are all equal.
template <>
struct kernel_of<op::linear> {
  template <class S>
  static void run(execution_context& f) {
    if constexpr (S::arity == 3) {
      static_assert(S::self().slot < 0, "qwq: linear with a bias has no fused fake-quantization");
      const matrix_view<float> y = S::out_matrix(f);
      const matrix_view<const float> bias{S::template in<2>(f).data(), y.rows, y.cols, 0};  // stride 0: one row for all
      detail::multiply<S, 1>(f, detail::plain_rows<S>{f}, kernel::add_sums<>{y, bias});
    } else {
      detail::with_epilogue<S>(f, [&](auto epilogue) {
        detail::multiply<S, 1>(f, detail::plain_rows<S>{f},
                               kernel::store_sums<xsimd::default_arch, decltype(epilogue)>{S::out_matrix(f), epilogue});
      });
    }
  }
};
/// GEMM whose epilogue adds the residual.
template <>
struct kernel_of<op::linear_add> {
  template <class S>
  static void run(execution_context& f) {
    detail::multiply<S, 1>(f, detail::plain_rows<S>{f},
                           kernel::add_sums<>{S::out_matrix(f), S::template in_matrix<2>(f)});
  }
};
/// GEMM of the gate, then GEMM of up, whose epilogue applies SwiGLU to the stored gate.
template <>
struct kernel_of<op::linear_swiglu> {
  template <class S>
  static void run(execution_context& f) {
    const matrix_view<float> y = S::out_matrix(f);
    detail::with_epilogue<S>(f, [&](auto epilogue) {
      detail::multiply<S, 1, 2>(f, detail::plain_rows<S>{f}, kernel::store_sums<>{y},
                                kernel::gate_sums<xsimd::default_arch, decltype(epilogue)>{y, epilogue});
    });
  }
};
/// RMSNorm once per row, then one GEMM per weight.
template <>
struct kernel_of<op::norm_linear> {
  template <class S>
  static void run(execution_context& f) {
    [&]<std::size_t... K>(std::index_sequence<K...>) {
      detail::multiply<S, K + 2 ...>(f, detail::normed_rows<S>{f},
                                     kernel::store_sums<>{S::template result_matrix<K>(f)}...);
    }
    (std::make_index_sequence<S::arity - 2>{});
  }
};
/// RMSNorm once per row, then the two GEMMs of linear_swiglu.
template <>
struct kernel_of<op::norm_linear_swiglu> {
  template <class S>
  static void run(execution_context& f) {
    const matrix_view<float> y = S::template result_matrix<0>(f);
    detail::multiply<S, 2, 3>(f, detail::normed_rows<S>{f}, kernel::store_sums<>{y}, kernel::gate_sums<>{y});
  }
};
/// Batched GEMM of two activations.
template <>
struct kernel_of<op::matmul> {
  template <class S>
  static void run(execution_context& f) {
    constexpr std::size_t rank = S::self().dims().size();
    const matrix_view<float> out = S::out_matrix(f);
    kernel::matmul(*f.threads, out, S::template in_matrix<0>(f), S::template in_matrix<1>(f),
                   out.rows / S::template extent<S::id, rank - 2>(f));
  }
};
/// 1x1 convolution as a GEMM with one column per token.
template <>
struct kernel_of<op::conv1x1> {
  template <class S>
  static void run(execution_context& f) {
    detail::with_weight<S, 1>(f, [&](const auto& view) {
      kernel::linear_columns(*f.threads, S::out_matrix(f), S::template in_matrix<0>(f), view);
    });
  }
};
/// Gathers rows of the table, as floats.
template <>
struct kernel_of<op::embedding> {
  template <class S>
  static void run(execution_context& f) {
    detail::with_weight<S, 0>(
        f, [&](const auto& table) { kernel::embedding(S::out_matrix(f), table, S::template in<1, std::int64_t>(f)); });
  }
};

}  // namespace qwq
