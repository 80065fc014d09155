// SPDX-License-Identifier: Apache-2.0
// Defines operations on several rows: sums across lanes, and transposition.
#pragma once

#include "qwq/kernel/simd.hpp"

namespace qwq::kernel::simd {

/// Partial sums of a, b, c and d: lane 4i + k of the result is the sum of lanes 4i .. 4i + 3 of the k-th argument.
template <class Arch>
batch<Arch> add_quads(batch<Arch> a, batch<Arch> b, batch<Arch> c, batch<Arch> d) {
#if defined(__AVX512F__)
  if constexpr (detail::lanes_512<Arch>) {
    const __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    const __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
    return _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0x44), _mm512_shuffle_ps(ab, cd, 0xee));
  }
#endif
#if defined(__AVX__)
  if constexpr (detail::lanes_256<Arch>) {
    const __m256 ab = _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
    const __m256 cd = _mm256_add_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
    return _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xee));
  }
#endif
#if defined(__SSE2__)
  if constexpr (detail::lanes_128<Arch>) {
    const __m128 ab = _mm_add_ps(_mm_unpacklo_ps(a, b), _mm_unpackhi_ps(a, b));
    const __m128 cd = _mm_add_ps(_mm_unpacklo_ps(c, d), _mm_unpackhi_ps(c, d));
    return _mm_add_ps(_mm_shuffle_ps(ab, cd, 0x44), _mm_shuffle_ps(ab, cd, 0xee));
  }
#endif
  const batch<Arch> rows[4] = {a, b, c, d};
  float lane[lanes<Arch>], out[lanes<Arch>];
  for (std::int64_t k = 0; k < 4; ++k) {
    store<Arch>(lane, rows[k]);
    for (std::int64_t i = 0; i < lanes<Arch>; i += 4)
      out[i + k] = (lane[i] + lane[i + 1]) + (lane[i + 2] + lane[i + 3]);
  }
  return load<Arch>(out);
}

/// Reduces results of `add_quads`: lane 4k + i is the sum of the lanes of the i-th argument of the k-th result.
template <class Arch>
batch<Arch> add_parts(const batch<Arch> (&quads)[lanes<Arch> / 4]) {
#if defined(__AVX512F__)
  if constexpr (detail::lanes_512<Arch>) {
    const __m512 a = quads[0], b = quads[1], c = quads[2], d = quads[3];
    const __m512 ab = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
    const __m512 cd = _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xee));
    return _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
  }
#endif
#if defined(__AVX__)
  if constexpr (detail::lanes_256<Arch>)
    return _mm256_add_ps(_mm256_permute2f128_ps(quads[0], quads[1], 0x20),
                         _mm256_permute2f128_ps(quads[0], quads[1], 0x31));
#endif
  if constexpr (detail::lanes_128<Arch>) return quads[0];
  float lane[lanes<Arch>], out[lanes<Arch>] = {};
  for (std::int64_t k = 0; k < lanes<Arch> / 4; ++k) {
    store<Arch>(lane, quads[k]);
    for (std::int64_t i = 0; i < lanes<Arch>; ++i) out[4 * k + i % 4] += lane[i];
  }
  return load<Arch>(out);
}

/// Loads four rows interleaved: lane 4i + k is p[k * stride + i].
template <class Arch>
batch<Arch> load_by_turns(const float* p, std::int64_t stride) {
#if defined(__AVX512F__)
  if constexpr (detail::lanes_512<Arch>) {
    __m512 rows = _mm512_castps128_ps512(_mm_loadu_ps(p));
    rows = _mm512_insertf32x4(rows, _mm_loadu_ps(p + stride), 1);
    rows = _mm512_insertf32x4(rows, _mm_loadu_ps(p + 2 * stride), 2);
    rows = _mm512_insertf32x4(rows, _mm_loadu_ps(p + 3 * stride), 3);
    return _mm512_permutexvar_ps(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), rows);
  }
#endif
  float lane[lanes<Arch>];
  for (std::int64_t i = 0; i < lanes<Arch>; ++i) lane[i] = p[i % 4 * stride + i / 4];
  return load<Arch>(lane);
}

/// out[i * stride + r] = rows[r][i] * factor, for i < n and as many rows r as a batch has lanes.
template <class Arch>
void store_transposed(float* out, std::int64_t stride, const float* const (&rows)[lanes<Arch>], std::int64_t n,
                      float factor) {
  std::int64_t i = 0;
#if defined(__SSE2__)
  // Four elements of a quarter of the rows per register; then the 128-bit parts are transposed.
  for (; i + 4 <= n; i += 4) {
    const auto quarter = [&](std::int64_t r) {
      const auto four = [&](std::int64_t part) { return _mm_loadu_ps(rows[4 * part + r] + i); };
#if defined(__AVX512F__)
      if constexpr (detail::lanes_512<Arch>)
        return _mm512_mask_broadcast_f32x4(
            _mm512_mask_broadcast_f32x4(_mm512_castps256_ps512(_mm256_set_m128(four(1), four(0))), 0xf00, four(2)),
            0xf000, four(3));
      else
#endif
#if defined(__AVX__)
          if constexpr (detail::lanes_256<Arch>)
        return _mm256_set_m128(four(1), four(0));
      else
#endif
        return four(0);
    };
    const auto a = quarter(0), b = quarter(1), c = quarter(2), d = quarter(3);
    const auto store_column = [&](std::int64_t k, batch<Arch> column) {
      store<Arch>(out + (i + k) * stride, column * batch<Arch>(factor));
    };
#if defined(__AVX512F__)
    if constexpr (detail::lanes_512<Arch>) {
      const __m512 ab = _mm512_unpacklo_ps(a, b), cd = _mm512_unpacklo_ps(c, d);
      const __m512 ab_high = _mm512_unpackhi_ps(a, b), cd_high = _mm512_unpackhi_ps(c, d);
      store_column(0, _mm512_shuffle_ps(ab, cd, 0x44));
      store_column(1, _mm512_shuffle_ps(ab, cd, 0xee));
      store_column(2, _mm512_shuffle_ps(ab_high, cd_high, 0x44));
      store_column(3, _mm512_shuffle_ps(ab_high, cd_high, 0xee));
    }
#endif
#if defined(__AVX__)
    if constexpr (detail::lanes_256<Arch>) {
      const __m256 ab = _mm256_unpacklo_ps(a, b), cd = _mm256_unpacklo_ps(c, d);
      const __m256 ab_high = _mm256_unpackhi_ps(a, b), cd_high = _mm256_unpackhi_ps(c, d);
      store_column(0, _mm256_shuffle_ps(ab, cd, 0x44));
      store_column(1, _mm256_shuffle_ps(ab, cd, 0xee));
      store_column(2, _mm256_shuffle_ps(ab_high, cd_high, 0x44));
      store_column(3, _mm256_shuffle_ps(ab_high, cd_high, 0xee));
    }
#endif
    if constexpr (detail::lanes_128<Arch>) {
      const __m128 ab = _mm_unpacklo_ps(a, b), cd = _mm_unpacklo_ps(c, d);
      const __m128 ab_high = _mm_unpackhi_ps(a, b), cd_high = _mm_unpackhi_ps(c, d);
      store_column(0, _mm_shuffle_ps(ab, cd, 0x44));
      store_column(1, _mm_shuffle_ps(ab, cd, 0xee));
      store_column(2, _mm_shuffle_ps(ab_high, cd_high, 0x44));
      store_column(3, _mm_shuffle_ps(ab_high, cd_high, 0xee));
    }
  }
#endif
  for (; i < n; ++i)
    for (std::int64_t r = 0; r < lanes<Arch>; ++r) out[i * stride + r] = rows[r][i] * factor;
}

}  // namespace qwq::kernel::simd
