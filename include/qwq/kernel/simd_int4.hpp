// SPDX-License-Identifier: Apache-2.0
// Defines loads and stores of 4-bit codes, two per byte.
#pragma once

#include <algorithm>
#include <cstdint>

#include "qwq/kernel/simd.hpp"

namespace qwq::kernel::simd {

/// Address of an even 4-bit code; codes are stored two per byte, the first in the low half. `Signed` codes are -8 to 7.
template <class Byte, bool Signed>
struct int4_at {
  /// Byte that holds the first code.
  Byte* bytes;
  /// The address `even` codes further.
  int4_at operator+(std::int64_t even) const { return {bytes + even / 2}; }
};

/// Loads a batch of codes as f32.
template <class Arch, class Byte, bool Signed>
batch<Arch> load(int4_at<Byte, Signed> p) {
  const batch<Arch> code = load_int4<Arch>(p.bytes);
  if constexpr (!Signed) return code;
  return xsimd::select(code > batch<Arch>(7.0f), code - batch<Arch>(16.0f), code);
}
/// Loads a vector of 4-bit codes as floats.
template <class Arch, class Byte, bool Signed>
batch<Arch> load(int4_at<Byte, Signed> p, whole) {
  return load<Arch>(p);
}
/// Loads `count` 4-bit codes as floats; the values of the other lanes are unspecified.
template <class Arch, class Byte, bool Signed>
batch<Arch> load(int4_at<Byte, Signed> p, std::int64_t count) {
  std::uint8_t part[lanes<Arch> / 2] = {};
  std::copy_n(p.bytes, (count + 1) / 2, part);
  return load<Arch>(int4_at<const std::uint8_t, Signed>{part});
}

/// Stores the low four bits of each lane.
template <class Arch, bool Signed>
void store(int4_at<std::uint8_t, Signed> p, integers<Arch> x) {
#if defined(__AVX512F__)
  if constexpr (detail::lanes_512<Arch>) {
    // In each 64 bits, an even code and the odd one after it, which is shifted next to it.
    const __m512i code = _mm512_and_si512(x, _mm512_set1_epi32(15));
    return _mm_storel_epi64(reinterpret_cast<__m128i*>(p.bytes),
                            _mm512_cvtepi64_epi8(_mm512_or_si512(code, _mm512_srli_epi64(code, 28))));
  }
#endif
  alignas(64) std::int32_t code[lanes<Arch>];
  x.store_aligned(code);
  for (std::int64_t i = 0; i < lanes<Arch>; i += 2)
    p.bytes[i / 2] = static_cast<std::uint8_t>((code[i] & 15) | (code[i + 1] & 15) << 4);
}
/// Stores a vector of integral floats as 4-bit codes.
template <class Arch, bool Signed>
void store(int4_at<std::uint8_t, Signed> p, batch<Arch> x) {
  store<Arch>(p, xsimd::to_int(x));
}
/// Stores a whole vector as 4-bit codes.
template <class Arch, bool Signed, class Lanes>
void store(int4_at<std::uint8_t, Signed> p, Lanes x, whole) {
  store<Arch>(p, x);
}
/// Stores the first `count` codes; after an odd count the high half of the last byte is 0.
template <class Arch, bool Signed, class Lanes>
void store(int4_at<std::uint8_t, Signed> p, Lanes x, std::int64_t count) {
  std::uint8_t part[lanes<Arch> / 2];
  store<Arch>(int4_at<std::uint8_t, Signed>{part}, x);
  if (count % 2 != 0) part[count / 2] &= 15;
  std::copy_n(part, (count + 1) / 2, p.bytes);
}

}  // namespace qwq::kernel::simd
