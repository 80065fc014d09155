// SPDX-License-Identifier: Apache-2.0
// Whether values are finite: asked of everything that a scale comes from.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <span>

namespace qwq::detail {

/// Sign removed; as integers these order magnitudes, and infinity and NaN come last.
constexpr std::uint32_t magnitude_bits(float x) { return std::bit_cast<std::uint32_t>(x) & 0x7fffffffu; }
inline constexpr std::uint32_t infinity_bits = 0x7f800000u;

inline bool all_finite(std::span<const float> values) {
  std::uint32_t largest = 0;
  for (const float x : values) largest = std::max(largest, magnitude_bits(x));
  return largest < infinity_bits;
}

}  // namespace qwq::detail
