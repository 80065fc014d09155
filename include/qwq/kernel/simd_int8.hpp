// SPDX-License-Identifier: Apache-2.0
// Dot products of bytes: four to a word.
#pragma once

#include "qwq/kernel/simd_codes.hpp"

namespace qwq::kernel::simd {

template <class Arch> using ints = xsimd::batch<std::int32_t, Arch>;

/// Whether a machine has `add_dot` as one instruction.
#if defined(__AVX512VNNI__)
template <class Arch> inline constexpr bool has_add_dot = detail::lanes_512<Arch> || detail::lanes_256<Arch>;
#elif defined(__AVXVNNI__)
template <class Arch> inline constexpr bool has_add_dot = detail::lanes_256<Arch>;
#else
template <class> inline constexpr bool has_add_dot = false;
#endif

#if defined(__AVX512VNNI__)
namespace detail {

/// In assembly, because around the intrinsic GCC copies every accumulator of a loop twice for each step.
template <class Vector>
Vector add_dot_vnni(Vector sum, Vector w, Vector x) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(w), "v"(x));
  return sum;
}

}  // namespace detail
#endif

/// sum + the dot product of the four unsigned bytes of each word of w and the four signed bytes of that of x.
template <class Arch>
ints<Arch> add_dot(ints<Arch> sum, words<Arch> w, words<Arch> x) {
#if defined(__AVX512VNNI__)
  if constexpr (detail::lanes_512<Arch>) return detail::add_dot_vnni<__m512i>(sum, w, x);
#if defined(__AVX512VL__)
  if constexpr (detail::lanes_256<Arch>) return detail::add_dot_vnni<__m256i>(sum, w, x);
#endif
#elif defined(__AVXVNNI__)
  if constexpr (detail::lanes_256<Arch>) return _mm256_dpbusd_avx_epi32(sum, w, x);
#endif
  // Even and odd bytes as 16-bit integers, whose products are added in pairs without loss.
#if defined(__AVX2__)
  if constexpr (detail::lanes_256<Arch>) {
    const __m256i wv = w, xv = x;
    const __m256i even = _mm256_madd_epi16(_mm256_and_si256(wv, _mm256_set1_epi16(255)),
                                           _mm256_srai_epi16(_mm256_slli_epi16(xv, 8), 8));
    const __m256i odd = _mm256_madd_epi16(_mm256_srli_epi16(wv, 8), _mm256_srai_epi16(xv, 8));
    return _mm256_add_epi32(sum, _mm256_add_epi32(even, odd));
  }
#endif
#if defined(__SSE2__)
  if constexpr (detail::lanes_128<Arch>) {
    const __m128i wv = w, xv = x;
    const __m128i even =
        _mm_madd_epi16(_mm_and_si128(wv, _mm_set1_epi16(255)), _mm_srai_epi16(_mm_slli_epi16(xv, 8), 8));
    const __m128i odd = _mm_madd_epi16(_mm_srli_epi16(wv, 8), _mm_srai_epi16(xv, 8));
    return _mm_add_epi32(sum, _mm_add_epi32(even, odd));
  }
#endif
  const auto signed_x = detail::reinterpret<Arch, std::int32_t>(x);
  for (int b = 0; b < 4; ++b) {
    const auto code = detail::reinterpret<Arch, std::int32_t>(w >> (8 * b) & words<Arch>(255u));
    sum = sum + code * ((signed_x << (24 - 8 * b)) >> 24);
  }
  return sum;
}

}  // namespace qwq::kernel::simd
