// SPDX-License-Identifier: Apache-2.0
// Defines the 8- and 4-bit floats `float8_e4m3`, `float8_e5m2` and `float4_e2m1`, and `float8_e8m0`, a power of two.
#pragma once

#include <bit>
#include <cstdint>
#include <limits>

#include "qwq/core/dtype.hpp"

namespace qwq {

namespace detail {

/// Conversions of one format: a sign bit, `ExponentBits` bits of exponent and `MantissaBits` of mantissa.
template <int ExponentBits, int MantissaBits>
struct small_float {
  static constexpr int bias = (1 << (ExponentBits - 1)) - 1;
  static constexpr unsigned sign_bit = 1u << (ExponentBits + MantissaBits);

  /// Value of the code of a finite number.
  static constexpr float decode(unsigned code) {
    const unsigned magnitude = code & (sign_bit - 1);
    const unsigned mantissa = magnitude & ((1u << MantissaBits) - 1);
    const int exponent = static_cast<int>(magnitude >> MantissaBits);
    const unsigned significand = exponent > 0 ? mantissa | 1u << MantissaBits : mantissa;
    const float value =
        static_cast<float>(significand) * power_of_two((exponent > 0 ? exponent : 1) - bias - MantissaBits);
    return (code & sign_bit) != 0 ? -value : value;
  }

  /// Code of the nearest number, ties to the even code; `largest` for values beyond it. `value` must not be NaN.
  static constexpr unsigned encode(float value, unsigned largest) {
    const auto f = std::bit_cast<std::uint32_t>(value);
    const unsigned sign = (f >> 31) != 0 ? sign_bit : 0;
    const float magnitude = std::bit_cast<float>(f & 0x7fffffffu);
    if (magnitude >= decode(largest)) return sign | largest;
    // Codes of positive numbers are ordered by value, and steps between adjacent values are powers of two.
    const int exponent = static_cast<int>((f & 0x7fffffffu) >> 23) - 127;
    const int step = (exponent < 1 - bias ? 1 - bias : exponent) - MantissaBits;
    const float scaled = magnitude * power_of_two(-step);  // exact: below 2^(MantissaBits + 1)
    auto count = static_cast<unsigned>(scaled);
    const float rest = scaled - static_cast<float>(count);
    if (rest > 0.5f || (rest == 0.5f && (count & 1u) != 0)) ++count;
    const unsigned below = static_cast<unsigned>(step + MantissaBits + bias - 1) << MantissaBits;
    return sign | (below + count);
  }

  static constexpr float power_of_two(int exponent) {
    return std::bit_cast<float>(static_cast<std::uint32_t>(exponent + 127) << 23);
  }
};

}  // namespace detail

/// OCP E4M3 (torch's float8_e4m3fn), stored as its bits: up to 448, with NaN and without infinity.
struct float8_e4m3 {
  std::uint8_t bits = 0;  ///< Stored bits.

  /// Zero.
  constexpr float8_e4m3() = default;
  /// Rounds to nearest, ties to even; values beyond 448 and infinity become 448.
  constexpr explicit float8_e4m3(float value)
      : bits(static_cast<std::uint8_t>(value != value ? 0x7f : detail::small_float<4, 3>::encode(value, 0x7e))) {}
  /// Exact conversion.
  constexpr explicit operator float() const {
    return (bits & 0x7f) == 0x7f ? std::numeric_limits<float>::quiet_NaN() : detail::small_float<4, 3>::decode(bits);
  }
};

/// OCP E5M2 (torch's float8_e5m2), stored as its bits: up to 57344, with NaN and infinity.
struct float8_e5m2 {
  std::uint8_t bits = 0;  ///< Stored bits.

  /// Zero.
  constexpr float8_e5m2() = default;
  /// Rounds to nearest, ties to even; values beyond 57344 and infinity become 57344.
  constexpr explicit float8_e5m2(float value)
      : bits(static_cast<std::uint8_t>(value != value ? 0x7f : detail::small_float<5, 2>::encode(value, 0x7b))) {}
  /// Exact conversion.
  constexpr explicit operator float() const {
    const unsigned magnitude = bits & 0x7fu;
    if (magnitude > 0x7c) return std::numeric_limits<float>::quiet_NaN();
    constexpr float infinity = std::numeric_limits<float>::infinity();
    if (magnitude == 0x7c) return (bits & 0x80u) != 0 ? -infinity : infinity;
    return detail::small_float<5, 2>::decode(bits);
  }
};

/// OCP E2M1: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives, in the low half of a byte.
struct float4_e2m1 {
  std::uint8_t bits = 0;  ///< Stored bits, in the low half.

  /// Zero.
  constexpr float4_e2m1() = default;
  /// Rounds to nearest, ties to even; values beyond 6 become 6. NaN becomes 6, because the format has no NaN.
  constexpr explicit float4_e2m1(float value)
      : bits(static_cast<std::uint8_t>(value != value ? 0x7 : detail::small_float<2, 1>::encode(value, 0x7))) {}
  /// Exact conversion.
  constexpr explicit operator float() const { return detail::small_float<2, 1>::decode(bits); }
};

/// OCP E8M0: 2^(bits - 127), or NaN.
struct float8_e8m0 {
  std::uint8_t bits = 127;  ///< Stored bits.

  /// One.
  constexpr float8_e8m0() = default;
  /// The smallest power of two that is at least `value`, and at least 2^-127; NaN for negative values, infinity and
  /// NaN.
  constexpr explicit float8_e8m0(float value) {
    const auto f = std::bit_cast<std::uint32_t>(value);
    if (value != value || (f >> 31) != 0 || f >> 23 == 0xff) {
      bits = 0xff;
    } else {
      const std::uint32_t exponent = f >> 23, mantissa = f & 0x7fffffu;
      // Numbers below 2^-126 are subnormal: 2^-127 is mantissa 0x400000.
      const bool up = exponent > 0 ? mantissa > 0 : mantissa > 0x400000u;
      bits = static_cast<std::uint8_t>(exponent + (up ? 1 : 0));
    }
  }
  /// Exact conversion.
  constexpr explicit operator float() const {
    if (bits == 0xff) return std::numeric_limits<float>::quiet_NaN();
    return std::bit_cast<float>(bits > 0 ? static_cast<std::uint32_t>(bits) << 23 : 0x400000u);
  }
};

namespace detail {
template <>
struct storage<dtype::f8e4m3> {
  using type = float8_e4m3;
};
template <>
struct storage<dtype::f8e5m2> {
  using type = float8_e5m2;
};
template <>
struct storage<dtype::f8e8m0> {
  using type = float8_e8m0;
};
template <>
struct dtype_of<float8_e4m3> : std::integral_constant<dtype, dtype::f8e4m3> {};
template <>
struct dtype_of<float8_e5m2> : std::integral_constant<dtype, dtype::f8e5m2> {};
template <>
struct dtype_of<float8_e8m0> : std::integral_constant<dtype, dtype::f8e8m0> {};
}  // namespace detail

}  // namespace qwq
