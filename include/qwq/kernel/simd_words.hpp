// SPDX-License-Identifier: Apache-2.0
// Products of int8 codes as 16-bit integers, where a machine adds pairs of them in one step.
#pragma once

#include "qwq/kernel/simd.hpp"

namespace qwq::kernel::simd {

/// Whether there are such products. Without them codes are converted to f32.
#if defined(__AVX512BW__)
template <class Arch> inline constexpr bool has_word_products = detail::lanes_512<Arch>;
#else
template <class> inline constexpr bool has_word_products = false;
#endif

template <class Arch> using word_lanes = xsimd::batch<std::int16_t, Arch>;
template <class Arch> using int_lanes = xsimd::batch<std::int32_t, Arch>;

/// As many codes as `word_lanes` has lanes.
template <class Arch>
word_lanes<Arch> load_wide(const std::int8_t* p);
/// Each lane of `sum` plus the products of two neighbours of a and b.
template <class Arch>
int_lanes<Arch> add_products(int_lanes<Arch> sum, word_lanes<Arch> a, word_lanes<Arch> b);
/// Lanes of a and b by turns: of the lower, and of the upper half of each 128 bits.
template <class Arch>
word_lanes<Arch> turns_low(word_lanes<Arch> a, word_lanes<Arch> b);
template <class Arch>
word_lanes<Arch> turns_high(word_lanes<Arch> a, word_lanes<Arch> b);
/// What came of turns_low and turns_high, in the order of a and b: the first lanes, and the rest.
template <class Arch>
batch<Arch> first_of_turns(int_lanes<Arch> low, int_lanes<Arch> high);
template <class Arch>
batch<Arch> rest_of_turns(int_lanes<Arch> low, int_lanes<Arch> high);

template <class Arch>
word_lanes<Arch> load_wide(const std::int8_t* p, whole) {
  return load_wide<Arch>(p);
}
/// The first `count` codes, fewer than all; the other lanes are 0.
template <class Arch>
word_lanes<Arch> load_wide(const std::int8_t* p, std::int64_t count) {
  std::int8_t part[2 * lanes<Arch>] = {};
  std::copy_n(p, count, part);
  return load_wide<Arch>(part);
}

#if defined(__AVX512BW__)
template <class Arch>
word_lanes<Arch> load_wide(const std::int8_t* p) {
  return _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
template <class Arch>
int_lanes<Arch> add_products(int_lanes<Arch> sum, word_lanes<Arch> a, word_lanes<Arch> b) {
#if defined(__AVX512VNNI__)
  return _mm512_dpwssd_epi32(sum, a, b);
#else
  return _mm512_add_epi32(sum, _mm512_madd_epi16(a, b));
#endif
}
template <class Arch>
word_lanes<Arch> turns_low(word_lanes<Arch> a, word_lanes<Arch> b) {
  return _mm512_unpacklo_epi16(a, b);
}
template <class Arch>
word_lanes<Arch> turns_high(word_lanes<Arch> a, word_lanes<Arch> b) {
  return _mm512_unpackhi_epi16(a, b);
}
template <class Arch>
batch<Arch> first_of_turns(int_lanes<Arch> low, int_lanes<Arch> high) {
  const __m512i order = _mm512_setr_epi32(0, 1, 2, 3, 16, 17, 18, 19, 4, 5, 6, 7, 20, 21, 22, 23);
  return _mm512_cvtepi32_ps(_mm512_permutex2var_epi32(low, order, high));
}
template <class Arch>
batch<Arch> rest_of_turns(int_lanes<Arch> low, int_lanes<Arch> high) {
  const __m512i order = _mm512_setr_epi32(8, 9, 10, 11, 24, 25, 26, 27, 12, 13, 14, 15, 28, 29, 30, 31);
  return _mm512_cvtepi32_ps(_mm512_permutex2var_epi32(low, order, high));
}
#endif

}  // namespace qwq::kernel::simd
