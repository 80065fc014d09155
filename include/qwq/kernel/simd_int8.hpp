// SPDX-License-Identifier: Apache-2.0
// Defines dot products of bytes, four per 32-bit word.
#pragma once

#include "qwq/kernel/simd_dequantize.hpp"

namespace qwq::kernel::simd {

/// A batch of int32 lanes.
template <class Arch>
using ints = xsimd::batch<std::int32_t, Arch>;

/// True if the hardware has `add_dot` as one instruction.
#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
template <class Arch>
inline constexpr bool has_add_dot = detail::lanes_512<Arch> || detail::lanes_256<Arch>;
#elif defined(__AVXVNNI__)
template <class Arch>
inline constexpr bool has_add_dot = detail::lanes_256<Arch>;
#else
template <class>
inline constexpr bool has_add_dot = false;
#endif

namespace detail {

#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
/// In assembly, because with the intrinsic GCC copies every accumulator of a loop twice per step.
template <class Vector>
Vector add_dot_vnni(Vector sum, Vector w, Vector x) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(w), "v"(x));
  return sum;
}
#elif defined(__AVXVNNI__)
inline __m256i add_dot_vnni(__m256i sum, __m256i w, __m256i x) {
  asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(w), "x"(x));
  return sum;
}
#endif

// Products of 16-bit integers, added in pairs without overflow.
#if defined(__SSE2__)
inline __m128i add_pairs(__m128i a, __m128i b) { return _mm_madd_epi16(a, b); }
#endif
#if defined(__AVX2__)
inline __m256i add_pairs(__m256i a, __m256i b) { return _mm256_madd_epi16(a, b); }
#endif
#if defined(__AVX512BW__)
inline __m512i add_pairs(__m512i a, __m512i b) { return _mm512_madd_epi16(a, b); }
#endif
template <class Arch>
concept adds_pairs = requires(typename words<Arch>::register_type r) {
  add_pairs(r, r);
};

}  // namespace detail

/// sum + the dot product of the four unsigned bytes of each word of w and the four signed bytes of each word of x.
template <class Arch>
ints<Arch> add_dot(ints<Arch> sum, words<Arch> w, words<Arch> x) {
#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)
  using vector = typename words<Arch>::register_type;
  if constexpr (has_add_dot<Arch>) return detail::add_dot_vnni(vector(sum), vector(w), vector(x));
#endif
#if defined(__SSE2__)
  if constexpr (detail::adds_pairs<Arch>) {  // even and odd bytes separately
    const auto signed_x = detail::reinterpret<Arch, std::int16_t>(x);
    const auto unsigned_w = detail::reinterpret<Arch, std::uint16_t>(w);
    const ints<Arch> even = detail::add_pairs(w & words<Arch>(0x00ff00ffu), signed_x << 8 >> 8);
    const ints<Arch> odd = detail::add_pairs(unsigned_w >> 8, signed_x >> 8);
    return sum + (even + odd);
  }
#endif
  const auto signed_x = detail::reinterpret<Arch, std::int32_t>(x);
  for (int b = 0; b < 4; ++b) {
    const auto code = detail::reinterpret<Arch, std::int32_t>(w >> (8 * b) & words<Arch>(255u));
    sum = sum + code * ((signed_x << (24 - 8 * b)) >> 24);
  }
  return sum;
}

/// The low four bits of each byte of a word of 4-bit codes, as unsigned bytes.
template <class Arch>
words<Arch> low_codes(words<Arch> w) {
  return w & words<Arch>(0x0f0f0f0fu);
}
/// The high four bits of each byte, as unsigned bytes.
template <class Arch>
words<Arch> high_codes(words<Arch> w) {
#if defined(__GFNI__) && defined(__AVX512F__)
  // Bits 4 to 7 of each byte, shifted by a matrix multiplication.
  if constexpr (detail::lanes_512<Arch>)
    return _mm512_gf2p8affine_epi64_epi8(w, _mm512_set1_epi64(0x1020408000000000), 0);
#endif
  return w >> 4 & words<Arch>(0x0f0f0f0fu);
}

}  // namespace qwq::kernel::simd
