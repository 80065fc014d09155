// SPDX-License-Identifier: Apache-2.0
// Defines `norm_rope`, RMSNorm of each head and its rotation in one pass.
#pragma once

#include "qwq/kernel/norm.hpp"
#include "qwq/kernel/rope.hpp"

namespace qwq::kernel {

/// y = rope(rms_norm(x, weight, eps), cos, sin), where x is [m, heads * head_dim] and the norm is computed for each
/// head; `weight` has head_dim elements. y can be x.
template <class Arch = xsimd::default_arch>
void norm_rope(matrix_view<float> y, matrix_view<const float> x, std::span<const float> weight, float eps,
               matrix_view<const float> cos, matrix_view<const float> sin) {
  const auto head_dim = static_cast<std::int64_t>(weight.size());
  const std::int64_t half = cos.cols;
  for (std::int64_t i = 0; i < x.rows; ++i)
    for (std::int64_t first = 0; first < x.cols; first += head_dim) {
      float* out = y.row(i) + first;
      const detail::normed_row<Arch> normed(x.row(i) + first, weight, eps);
      simd::strips<Arch>(half, [&](std::int64_t j, auto count) {
        detail::store_rotated<Arch>(out, half, j, normed(j, count), normed(half + j, count), cos.row(i), sin.row(i),
                                    count);
      });
      simd::strips<Arch>(head_dim - 2 * half, [&](std::int64_t d, auto count) {
        simd::store<Arch>(out + 2 * half + d, normed(2 * half + d, count), count);
      });
    }
}

}  // namespace qwq::kernel
