// SPDX-License-Identifier: Apache-2.0
// Defines the conversion of packed weight codes to f32: one code of each word, minus the middle of the code range.
#pragma once

#include "qwq/kernel/simd.hpp"

namespace qwq::kernel::simd {

/// A batch of 32-bit words.
template <class Arch>
using words = xsimd::batch<std::uint32_t, Arch>;

/// Loads a batch of words from unaligned memory.
template <class Arch>
words<Arch> load_words(const std::byte* p) {
  return words<Arch>::load_unaligned(reinterpret_cast<const std::uint32_t*>(p));
}

/// Converts words to the form that `code_at` requires.
template <class Arch, int Bits>
words<Arch> prepare_codes(words<Arch> w) {
#if defined(__AVX512F__)
  if constexpr (detail::lanes_512<Arch> && Bits == 4) return w;
#endif
  return w ^ words<Arch>(Bits == 8 ? 0x80808080u : 0x88888888u);  // two's complement
}

/// The code whose lowest bit in each word is `Shift`, minus 2^(Bits-1), as f32.
template <class Arch, int Bits, int Shift>
batch<Arch> code_at(words<Arch> w) {
#if defined(__AVX512F__)
  if constexpr (detail::lanes_512<Arch> && Bits == 4) {
    const __m512 values = _mm512_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7);
    return _mm512_permutexvar_ps(_mm512_srli_epi32(w, Shift), values);  // only the low four bits of an index are used
  }
#endif
  const auto top = detail::reinterpret<Arch, std::int32_t>(w << (32 - Bits - Shift));
  return xsimd::to_float(top >> (32 - Bits));
}

}  // namespace qwq::kernel::simd
