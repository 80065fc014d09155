// SPDX-License-Identifier: Apache-2.0
// Defines `softmax` over rows.
#pragma once

#include "qwq/core/view.hpp"
#include "qwq/kernel/simd_exp.hpp"

namespace qwq::kernel {

namespace detail {

inline constexpr float minus_infinity = -std::numeric_limits<float>::infinity();

/// Maximum of x[0, n); NaN elements are ignored.
template <class Arch>
float row_max(const float* x, std::int64_t n) {
  const auto join = [](simd::batch<Arch> a, simd::batch<Arch> b) { return simd::at_least<Arch>(a, b); };
  return simd::reduce_max<Arch>(simd::fold<Arch>(
      n, simd::batch<Arch>(minus_infinity),
      [&](simd::batch<Arch> a, std::int64_t i, auto count) {
        return simd::at_least<Arch>(simd::load_or<Arch>(x + i, count, minus_infinity), a);
      },
      join));
}

/// y = exp(x - shift); returns the sum.
template <class Arch>
float exp_shifted(float* y, const float* x, std::int64_t n, float shift) {
  return simd::sum<Arch>(n, [&](std::int64_t i, auto count) {
    const auto e = simd::exp<Arch>(simd::load_or<Arch>(x + i, count, minus_infinity) - simd::batch<Arch>(shift));
    simd::store<Arch>(y + i, e, count);
    return e;
  });
}

}  // namespace detail

/// y = exp(x - max(x)) * (1 / sum) for each row, in f32. A row with NaN or +inf, or of -inf only, gives NaN. y can be
/// x.
template <class Arch = xsimd::default_arch>
void softmax(matrix_view<float> y, matrix_view<const float> x) {
  for (std::int64_t i = 0; i < x.rows; ++i) {
    float* out = y.row(i);
    const float max = detail::row_max<Arch>(x.row(i), x.cols);
    const simd::batch<Arch> share(1 / detail::exp_shifted<Arch>(out, x.row(i), x.cols, max));
    simd::strips<Arch>(x.cols, [&](std::int64_t j, auto count) {
      simd::store<Arch>(out + j, simd::load<Arch>(out + j, count) * share, count);
    });
  }
}

}  // namespace qwq::kernel
