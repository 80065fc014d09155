// SPDX-License-Identifier: Apache-2.0
// Defines dot products of int8 codes as 16-bit integers, for hardware that adds pairs of products in one instruction.
#pragma once

#include "qwq/kernel/simd_dequantize.hpp"

namespace qwq::kernel::simd {

/// True if the hardware has such instructions. Otherwise codes are converted to f32.
#if defined(__AVX512BW__) && defined(__AVX512VNNI__)
template <class Arch>
inline constexpr bool has_word_products = detail::lanes_512<Arch>;
#else
template <class>
inline constexpr bool has_word_products = false;
#endif

/// A batch of int16 lanes.
template <class Arch>
using word_lanes = xsimd::batch<std::int16_t, Arch>;
/// A batch of int32 lanes.
template <class Arch>
using int_lanes = xsimd::batch<std::int32_t, Arch>;

/// Loads as many codes as `word_lanes` has lanes.
template <class Arch>
word_lanes<Arch> load_wide(const std::int8_t* p);
/// Adds to each lane of `sum` the products of two adjacent lanes of a and b.
template <class Arch>
int_lanes<Arch> add_products(int_lanes<Arch> sum, word_lanes<Arch> a, word_lanes<Arch> b);
/// `add_quads` of integer accumulators, converted to f32.
template <class Arch>
batch<Arch> add_quads(int_lanes<Arch> a, int_lanes<Arch> b, int_lanes<Arch> c, int_lanes<Arch> d);
/// Loads as many codes as a batch has bytes.
template <class Arch>
words<Arch> load_codes(const std::int8_t* p);
/// Interleaves four rows of bytes, one byte of each per 32-bit word; `in_order` undoes the permutation.
template <class Arch>
void by_turns(words<Arch> (&rows)[4]);
/// Restores the order of the bytes of a row for accumulators of the words of `by_turns`.
template <class Arch>
void in_order(int_lanes<Arch> (&sums)[4]);

/// Loads a vector of int8 codes as 16-bit words.
template <class Arch>
word_lanes<Arch> load_wide(const std::int8_t* p, whole) {
  return load_wide<Arch>(p);
}
/// Loads the first `count` codes, fewer than all; the other lanes are 0.
template <class Arch>
word_lanes<Arch> load_wide(const std::int8_t* p, std::int64_t count) {
  std::int8_t part[2 * lanes<Arch>] = {};
  std::copy_n(p, count, part);
  return load_wide<Arch>(part);
}

/// Loads a vector of int8 codes.
template <class Arch>
words<Arch> load_codes(const std::int8_t* p, whole) {
  return load_codes<Arch>(p);
}
/// Loads `count` int8 codes; the other lanes are 0.
template <class Arch>
words<Arch> load_codes(const std::int8_t* p, std::int64_t count) {
  std::int8_t part[sizeof(words<Arch>)] = {};
  std::copy_n(p, count, part);
  return load_codes<Arch>(part);
}

#if defined(__AVX512BW__) && defined(__AVX512VNNI__)
template <class Arch>
word_lanes<Arch> load_wide(const std::int8_t* p) {
  return _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
template <class Arch>
int_lanes<Arch> add_products(int_lanes<Arch> sum, word_lanes<Arch> a, word_lanes<Arch> b) {
  __m512i total = sum;  // in assembly for the same reason as `add_dot`
  asm("vpdpwssd %2, %1, %0" : "+v"(total) : "v"(static_cast<__m512i>(a)), "v"(static_cast<__m512i>(b)));
  return total;
}
template <class Arch>
batch<Arch> add_quads(int_lanes<Arch> a, int_lanes<Arch> b, int_lanes<Arch> c, int_lanes<Arch> d) {
  const __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
  const __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
  return _mm512_cvtepi32_ps(_mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd)));
}
template <class Arch>
words<Arch> load_codes(const std::int8_t* p) {
  return _mm512_loadu_si512(p);
}
template <class Arch>
void by_turns(words<Arch> (&rows)[4]) {
  const __m512i ab = _mm512_unpacklo_epi8(rows[0], rows[1]), ab_high = _mm512_unpackhi_epi8(rows[0], rows[1]);
  const __m512i cd = _mm512_unpacklo_epi8(rows[2], rows[3]), cd_high = _mm512_unpackhi_epi8(rows[2], rows[3]);
  rows[0] = _mm512_unpacklo_epi16(ab, cd);
  rows[1] = _mm512_unpackhi_epi16(ab, cd);
  rows[2] = _mm512_unpacklo_epi16(ab_high, cd_high);
  rows[3] = _mm512_unpackhi_epi16(ab_high, cd_high);
}
template <class Arch>
void in_order(int_lanes<Arch> (&sums)[4]) {  // transposes the 4 x 4 parts of 128 bits
  const __m512i ab = _mm512_shuffle_i32x4(sums[0], sums[1], 0x44),
                ab_high = _mm512_shuffle_i32x4(sums[0], sums[1], 0xee);
  const __m512i cd = _mm512_shuffle_i32x4(sums[2], sums[3], 0x44),
                cd_high = _mm512_shuffle_i32x4(sums[2], sums[3], 0xee);
  sums[0] = _mm512_shuffle_i32x4(ab, cd, 0x88);
  sums[1] = _mm512_shuffle_i32x4(ab, cd, 0xdd);
  sums[2] = _mm512_shuffle_i32x4(ab_high, cd_high, 0x88);
  sums[3] = _mm512_shuffle_i32x4(ab_high, cd_high, 0xdd);
}
#endif

}  // namespace qwq::kernel::simd
