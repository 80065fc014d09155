// SPDX-License-Identifier: Apache-2.0
// Defines checks for finite values and loops over blocks, for code that computes scales.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

namespace qwq::detail {

/// Bits of |x|. As integers they are ordered like magnitudes, with infinity and NaN last.
constexpr std::uint32_t magnitude_bits(float x) { return std::bit_cast<std::uint32_t>(x) & 0x7fffffffu; }
inline constexpr std::uint32_t infinity_bits = 0x7f800000u;

/// Calls `f(first, count)` for every block of `Size` elements of n, and for the rest. The count of a full block is a
/// constant, so its loops are vectorized at -O2, too.
template <std::size_t Size, class F>
void blockwise(std::size_t n, F&& f) {
  std::size_t i = 0;
  for (; i + Size <= n; i += Size) f(i, std::integral_constant<std::size_t, Size>{});
  if (i < n) f(i, n - i);
}

/// True if no value is NaN or infinity.
inline bool all_finite(std::span<const float> values) {
  bool finite = true;
  blockwise<1024>(values.size(), [&, x = values.data()](std::size_t first, auto count) {
    std::uint32_t largest = 0;
    for (std::size_t i = 0; i < count; ++i) largest = std::max(largest, magnitude_bits(x[first + i]));
    finite &= largest < infinity_bits;
  });
  return finite;
}

}  // namespace qwq::detail
