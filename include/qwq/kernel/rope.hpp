// SPDX-License-Identifier: Apache-2.0
// Defines rotary position embedding: `rope_table`, and the half-split rotation `rope`.
#pragma once

#include <cmath>

#include "qwq/core/view.hpp"
#include "qwq/kernel/simd.hpp"

namespace qwq::kernel {

/// Computes cos and sin of position * theta^(-2j / rotary_dim), j < rotary_dim / 2 = cos.cols; row i is for
/// positions[i]. All in f32, with the order of operations of transformers' Qwen3RotaryEmbedding.
inline void rope_table(matrix_view<float> cos, matrix_view<float> sin, std::span<const std::int64_t> positions,
                       float theta) {
  const auto rotary_dim = static_cast<float>(2 * cos.cols);
  for (std::int64_t j = 0; j < cos.cols; ++j) {
    const float inverse_frequency = 1.0f / std::pow(theta, static_cast<float>(2 * j) / rotary_dim);
    for (std::int64_t i = 0; i < cos.rows; ++i) {
      const float angle = static_cast<float>(positions[static_cast<std::size_t>(i)]) * inverse_frequency;
      cos(i, j) = std::cos(angle);
      sin(i, j) = std::sin(angle);
    }
  }
}

namespace detail {
/// Stores element j of both halves of a head, rotated; a and b are the inputs.
template <class Arch, class Count>
void store_rotated(float* head, std::int64_t half, std::int64_t j, simd::batch<Arch> a, simd::batch<Arch> b,
                   const float* cos, const float* sin, Count count) {
  const auto cosine = simd::load<Arch>(cos + j, count), sine = simd::load<Arch>(sin + j, count);
  simd::store<Arch>(head + j, simd::fnma<Arch>(b, sine, a * cosine), count);
  simd::store<Arch>(head + half + j, simd::fma<Arch>(a, sine, b * cosine), count);
}
}  // namespace detail

/// Rotates each head of x [m, heads * head_dim]: with n = cos.cols, elements j and j + n (j < n) become
/// x[j] * cos[j] - x[j + n] * sin[j] and x[j + n] * cos[j] + x[j] * sin[j]; elements from 2n on are copied
/// (partial rotary). cos and sin have a row per row of x. y may be x.
template <class Arch = xsimd::default_arch>
void rope(matrix_view<float> y, matrix_view<const float> x, matrix_view<const float> cos, matrix_view<const float> sin,
          std::int64_t head_dim) {
  const std::int64_t half = cos.cols;
  for (std::int64_t i = 0; i < x.rows; ++i) {
    const float *c = cos.row(i), *s = sin.row(i);
    for (std::int64_t first = 0; first < x.cols; first += head_dim) {
      const float* in = x.row(i) + first;
      float* out = y.row(i) + first;
      simd::strips<Arch>(half, [&](std::int64_t j, auto count) {
        detail::store_rotated<Arch>(out, half, j, simd::load<Arch>(in + j, count),
                                    simd::load<Arch>(in + half + j, count), c, s, count);
      });
      if (out != in) std::copy_n(in + 2 * half, head_dim - 2 * half, out + 2 * half);
    }
  }
}

}  // namespace qwq::kernel
