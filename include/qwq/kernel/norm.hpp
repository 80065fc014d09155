// SPDX-License-Identifier: Apache-2.0
// Defines kernels per row: RMSNorm, L2 normalization, and the mean.
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

/// A row of RMSNorm, computed on access.
template <class Arch>
struct normed_row {
  const float* x;
  const float* gain;
  simd::batch<Arch> factor;

  /// `squares`: sum of the squares of x.
  normed_row(const float* row, std::span<const float> weight, float squares, float eps)
      : x(row), gain(weight.data()), factor(1.0f / std::sqrt(squares / static_cast<float>(weight.size()) + eps)) {}
  normed_row(const float* row, std::span<const float> weight, float eps)
      : normed_row(row, weight, sum_of_squares<Arch>(row, static_cast<std::int64_t>(weight.size())), eps) {}

  template <class Count>
  simd::batch<Arch> operator()(std::int64_t k, Count count) const {
    return simd::load<Arch>(x + k, count) * factor * simd::load<Arch>(gain + k, count);
  }
};

}  // namespace detail

/// y[i] = mean(x[i, :]).
template <class Arch = xsimd::default_arch>
void mean(std::span<float> y, matrix_view<const float> x) {
  for (std::int64_t i = 0; i < x.rows; ++i)
    y[static_cast<std::size_t>(i)] =
        simd::sum<Arch>(x.cols,
                        [in = x.row(i)](std::int64_t j, auto count) { return simd::load<Arch>(in + j, count); }) /
        static_cast<float>(x.cols);
}

/// y = x / sqrt(mean(x^2) + eps) * weight for each row, passed through `epilogue`. `weight` has x.cols elements. y can
/// be x.
template <class Arch = xsimd::default_arch, class Epilogue = identity_epilogue>
void rms_norm(matrix_view<float> y, matrix_view<const float> x, std::span<const float> weight, float eps,
              Epilogue epilogue = {}) {
  for (std::int64_t i = 0; i < x.rows; ++i) {
    const detail::normed_row<Arch> in(x.row(i), weight, eps);
    float* out = y.row(i);
    simd::strips<Arch>(x.cols,
                       [&](std::int64_t j, auto count) { simd::store<Arch>(out + j, epilogue(in(j, count)), count); });
  }
}

/// sum = a + b and y = rms_norm(sum, weight, eps), passed through `epilogue`, for each row. sum can be a or b.
template <class Arch = xsimd::default_arch, class Epilogue = identity_epilogue>
void add_norm(matrix_view<float> sum, matrix_view<float> y, matrix_view<const float> a, matrix_view<const float> b,
              std::span<const float> weight, float eps, Epilogue epilogue = {}) {
  using batch = simd::batch<Arch>;
  for (std::int64_t i = 0; i < a.rows; ++i) {
    const float *first = a.row(i), *second = b.row(i);
    float *const to = sum.row(i), *const out = y.row(i);
    const float squares = simd::reduce_add<Arch>(simd::fold<Arch>(
        a.cols, batch(0.0f),
        [&](batch so_far, std::int64_t j, auto count) {
          const auto v = simd::load<Arch>(first + j, count) + simd::load<Arch>(second + j, count);
          simd::store<Arch>(to + j, v, count);
          return simd::fma<Arch>(v, v, so_far);
        },
        [](batch one, batch other) { return one + other; }));
    const detail::normed_row<Arch> in(to, weight, squares, eps);
    simd::strips<Arch>(a.cols,
                       [&](std::int64_t j, auto count) { simd::store<Arch>(out + j, epilogue(in(j, count)), count); });
  }
}

/// y = x / sqrt(sum(x^2)) for each row; 0 if the sum of squares is 0 (all zeros, or too small). y can be x.
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
