// SPDX-License-Identifier: Apache-2.0
// Defines `transpose`, which transposes a small matrix of floats in registers.
#pragma once

#include "qwq/kernel/simd.hpp"

namespace qwq::kernel::simd {

namespace detail {

#if defined(__AVX512F__)
/// y[16, 16] = x[16, 16]^T.
inline void transpose_16x16(float* y, std::int64_t y_stride, const float* x, std::int64_t x_stride) {
  __m512 a[16], b[16];
  // Row i of a: rows i % 4 + {0, 4, 8, 12} of x, columns from 4 * (i / 4). The loads do this half of the work.
  QWQ_UNROLL for (int c = 0; c < 4; ++c) QWQ_UNROLL for (int r = 0; r < 4; ++r) {
    const float* from = x + r * x_stride + 4 * c;
    __m512 v = _mm512_castps128_ps512(_mm_loadu_ps(from));
    v = _mm512_mask_broadcast_f32x4(v, 0x00f0, _mm_loadu_ps(from + 4 * x_stride));
    v = _mm512_mask_broadcast_f32x4(v, 0x0f00, _mm_loadu_ps(from + 8 * x_stride));
    a[4 * c + r] = _mm512_mask_broadcast_f32x4(v, 0xf000, _mm_loadu_ps(from + 12 * x_stride));
  }
  QWQ_UNROLL for (int c = 0; c < 4; ++c) {
    const __m512 low01 = _mm512_unpacklo_ps(a[4 * c], a[4 * c + 1]),
                 high01 = _mm512_unpackhi_ps(a[4 * c], a[4 * c + 1]);
    const __m512 low23 = _mm512_unpacklo_ps(a[4 * c + 2], a[4 * c + 3]),
                 high23 = _mm512_unpackhi_ps(a[4 * c + 2], a[4 * c + 3]);
    b[4 * c] = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(low01), _mm512_castps_pd(low23)));
    b[4 * c + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(low01), _mm512_castps_pd(low23)));
    b[4 * c + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(high01), _mm512_castps_pd(high23)));
    b[4 * c + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(high01), _mm512_castps_pd(high23)));
  }
  QWQ_UNROLL for (int i = 0; i < 8; ++i) {
    _mm512_storeu_ps(y + i * y_stride, b[i]);
    _mm512_storeu_ps(y + (i + 8) * y_stride, b[i + 8]);
  }
}
#endif

/// y[4, 4] = x[4, 4]^T.
inline void transpose_4x4(float* y, std::int64_t y_stride, const float* x, std::int64_t x_stride) {
#if defined(__SSE2__)
  __m128 a = _mm_loadu_ps(x), b = _mm_loadu_ps(x + x_stride), c = _mm_loadu_ps(x + 2 * x_stride),
         d = _mm_loadu_ps(x + 3 * x_stride);
  _MM_TRANSPOSE4_PS(a, b, c, d);
  _mm_storeu_ps(y, a);
  _mm_storeu_ps(y + y_stride, b);
  _mm_storeu_ps(y + 2 * y_stride, c);
  _mm_storeu_ps(y + 3 * y_stride, d);
#else
  for (int i = 0; i < 4; ++i)
    for (int j = 0; j < 4; ++j) y[i * y_stride + j] = x[j * x_stride + i];
#endif
}

}  // namespace detail

/// y[cols, rows] = x[rows, cols]^T; they must not overlap.
template <class Arch>
void transpose(float* y, std::int64_t y_stride, const float* x, std::int64_t x_stride, std::int64_t rows,
               std::int64_t cols) {
  constexpr std::int64_t tile = detail::lanes_512<Arch> ? 16 : 4;
  const std::int64_t whole_rows = rows / tile * tile, whole_cols = cols / tile * tile;
  for (std::int64_t j = 0; j < whole_cols; j += tile)
    for (std::int64_t i = 0; i < whole_rows; i += tile) {
#if defined(__AVX512F__)
      if constexpr (tile == 16) {
        detail::transpose_16x16(y + j * y_stride + i, y_stride, x + i * x_stride + j, x_stride);
        continue;
      }
#endif
      detail::transpose_4x4(y + j * y_stride + i, y_stride, x + i * x_stride + j, x_stride);
    }
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t j = i < whole_rows ? whole_cols : 0; j < cols; ++j) y[j * y_stride + i] = x[i * x_stride + j];
}

}  // namespace qwq::kernel::simd
