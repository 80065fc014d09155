// SPDX-License-Identifier: Apache-2.0
// Row norms, RMSNorm and L2 normalization, and the mean of a row.
#pragma once

#include <cmath>

#include "qwq/core/view.hpp"
#include "qwq/kernel/epilogue.hpp"
#include "qwq/kernel/simd.hpp"

namespace qwq::kernel {

namespace detail {
template <class Arch>
float sum_of_squares(const float* x, std::int64_t n) {
  return simd::reduce_add<Arch>(simd::fold<Arch>(
      n, simd::batch<Arch>(0.0f),
      [x](simd::batch<Arch> a, std::int64_t i, auto count) {
        const auto v = simd::load<Arch>(x + i, count);
        return simd::fma<Arch>(v, v, a);
      },
      [](simd::batch<Arch> a, simd::batch<Arch> b) { return a + b; }));
}
}  // namespace detail

/// y[i] = mean(x[i, :])
template <class Arch = xsimd::default_arch>
void mean(std::span<float> y, matrix_view<const float> x) {
  for (std::int64_t i = 0; i < x.rows; ++i)
    y[static_cast<std::size_t>(i)] =
        simd::sum<Arch>(x.cols,
                        [in = x.row(i)](std::int64_t j, auto count) { return simd::load<Arch>(in + j, count); }) /
        static_cast<float>(x.cols);
}

/// y = x / sqrt(mean(x^2) + eps) * weight, row by row, each result through `finish`. `weight` has x.cols elements. y may
/// be x.
template <class Arch = xsimd::default_arch, class Epilogue = as_is>
void rms_norm(matrix_view<float> y, matrix_view<const float> x, std::span<const float> weight, float eps,
              Epilogue finish = {}) {
  for (std::int64_t i = 0; i < x.rows; ++i) {
    const float* in = x.row(i);
    float* out = y.row(i);
    const float mean = detail::sum_of_squares<Arch>(in, x.cols) / static_cast<float>(x.cols);
    const simd::batch<Arch> factor(1.0f / std::sqrt(mean + eps));
    simd::strips<Arch>(x.cols, [&](std::int64_t j, auto count) {
      const auto scaled = simd::load<Arch>(in + j, count) * factor * simd::load<Arch>(weight.data() + j, count);
      simd::store<Arch>(out + j, finish(scaled), count);
    });
  }
}

/// y = x / sqrt(sum(x^2)), row by row; a row whose squares sum to 0 (all zeros, or too small) gives 0. y may be x.
template <class Arch = xsimd::default_arch>
void lp_norm(matrix_view<float> y, matrix_view<const float> x) {
  for (std::int64_t i = 0; i < x.rows; ++i) {
    const float* in = x.row(i);
    float* out = y.row(i);
    const float length = std::sqrt(detail::sum_of_squares<Arch>(in, x.cols));
    if (length == 0) {
      std::fill_n(out, x.cols, 0.0f);
      continue;
    }
    const simd::batch<Arch> divisor(length);
    simd::strips<Arch>(x.cols, [&](std::int64_t j, auto count) {
      simd::store<Arch>(out + j, simd::load<Arch>(in + j, count) / divisor, count);
    });
  }
}

}  // namespace qwq::kernel
