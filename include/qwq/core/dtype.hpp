// SPDX-License-Identifier: Apache-2.0
// Defines `dtype`, the element types of tensors, their C++ types, and the 16-bit floats `float16` and `bfloat16`.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

namespace qwq {

/// Element type of a tensor. The 8- and 4-bit floats are those of OCP's FP8 and Microscaling formats: f8e4m3 has no
/// infinity (torch's float8_e4m3fn), f4e2m1 neither infinity nor NaN, and f8e8m0 holds powers of two, for scales.
enum class dtype : std::uint8_t { f32, f16, bf16, i4, u4, i8, u8, i16, u16, i32, i64, f8e4m3, f8e5m2, f4e2m1, f8e8m0 };

/// Name of an element type: "f32".
constexpr std::string_view name(dtype t) {
  constexpr std::string_view names[] = {"f32", "f16", "bf16", "i4",     "u4",     "i8",     "u8",    "i16",
                                        "u16", "i32", "i64",  "f8e4m3", "f8e5m2", "f4e2m1", "f8e8m0"};
  return names[static_cast<std::size_t>(t)];
}

/// Width of one element in bits.
constexpr int bits(dtype t) {
  constexpr int widths[] = {32, 16, 16, 4, 4, 8, 8, 16, 16, 32, 64, 8, 8, 4, 8};
  return widths[static_cast<std::size_t>(t)];
}

/// Size of `count` elements in bytes; 4-bit elements are packed two per byte.
constexpr std::size_t byte_size(dtype t, std::size_t count) {
  return (count * static_cast<std::size_t>(bits(t)) + 7) / 8;
}

/// True for floats that are values without a scale. Other types are indices or codes.
constexpr bool is_plain_float(dtype t) { return t == dtype::f32 || t == dtype::f16 || t == dtype::bf16; }
/// True for floating-point types, plain or codes.
constexpr bool is_floating_point(dtype t) { return is_plain_float(t) || t >= dtype::f8e4m3; }
/// True for signed integer types.
constexpr bool is_signed(dtype t) {
  return t == dtype::i4 || t == dtype::i8 || t == dtype::i16 || t == dtype::i32 || t == dtype::i64;
}

/// IEEE-754 binary16, stored as its bits. Conversion from f32 rounds half to even.
struct float16 {
  std::uint16_t bits = 0;  ///< Stored bits.

  /// Zero.
  constexpr float16() = default;
  /// Rounds to nearest, ties to even; values that are too large become infinite.
  constexpr explicit float16(float value) : bits(round(std::bit_cast<std::uint32_t>(value))) {}

  /// Exact conversion.
  constexpr explicit operator float() const {
    const std::uint32_t sign = (bits & 0x8000u) << 16;
    const std::uint32_t magnitude = bits & 0x7fffu;
    if (magnitude >= 0x7c00u) return std::bit_cast<float>(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);
    if (magnitude >= 0x0400u) return std::bit_cast<float>(sign | ((magnitude << 13) + 0x38000000u));
    const float subnormal = static_cast<float>(magnitude) * 0x1p-24f;
    return sign != 0 ? -subnormal : subnormal;
  }

 private:
  static constexpr std::uint16_t round(std::uint32_t f) {
    const auto sign = static_cast<std::uint16_t>(f >> 16 & 0x8000u);
    f &= 0x7fffffffu;
    if (f > 0x7f800000u) return static_cast<std::uint16_t>(sign | 0x7e00u);   // NaN
    if (f >= 0x477ff000u) return static_cast<std::uint16_t>(sign | 0x7c00u);  // rounds to infinity
    if (f >= 0x38800000u) {                                                   // normal
      const std::uint32_t even = f >> 13 & 1u;
      return static_cast<std::uint16_t>(sign | ((f - 0x38000000u + 0xfffu + even) >> 13));
    }
    if (f < 0x33000000u) return sign;              // rounds to zero
    const std::uint32_t shift = 126u - (f >> 23);  // subnormal
    const std::uint32_t mantissa = (f & 0x7fffffu) | 0x800000u;
    const std::uint32_t kept = mantissa >> shift;
    const std::uint32_t rest = mantissa & ((1u << shift) - 1u);
    const std::uint32_t half = 1u << (shift - 1u);
    return static_cast<std::uint16_t>(sign | (kept + (rest > half || (rest == half && (kept & 1u) != 0) ? 1u : 0u)));
  }
};

/// bfloat16, stored as its bits. Conversion from f32 rounds half to even.
struct bfloat16 {
  std::uint16_t bits = 0;  ///< Stored bits.

  /// Zero.
  constexpr bfloat16() = default;
  /// Rounds to nearest, ties to even.
  constexpr explicit bfloat16(float value) {
    const auto f = std::bit_cast<std::uint32_t>(value);
    bits = (f & 0x7fffffffu) > 0x7f800000u ? static_cast<std::uint16_t>((f >> 16) | 0x40u)
                                           : static_cast<std::uint16_t>((f + 0x7fffu + (f >> 16 & 1u)) >> 16);
  }
  /// Exact conversion.
  constexpr explicit operator float() const { return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16); }
};

namespace detail {
template <dtype>
struct storage;
template <>
struct storage<dtype::f32> {
  using type = float;
};
template <>
struct storage<dtype::f16> {
  using type = float16;
};
template <>
struct storage<dtype::bf16> {
  using type = bfloat16;
};
template <>
struct storage<dtype::i8> {
  using type = std::int8_t;
};
template <>
struct storage<dtype::u8> {
  using type = std::uint8_t;
};
template <>
struct storage<dtype::i16> {
  using type = std::int16_t;
};
template <>
struct storage<dtype::u16> {
  using type = std::uint16_t;
};
template <>
struct storage<dtype::i32> {
  using type = std::int32_t;
};
template <>
struct storage<dtype::i64> {
  using type = std::int64_t;
};

template <class T>
struct dtype_of;
template <>
struct dtype_of<float> : std::integral_constant<dtype, dtype::f32> {};
template <>
struct dtype_of<float16> : std::integral_constant<dtype, dtype::f16> {};
template <>
struct dtype_of<bfloat16> : std::integral_constant<dtype, dtype::bf16> {};
template <>
struct dtype_of<std::int8_t> : std::integral_constant<dtype, dtype::i8> {};
template <>
struct dtype_of<std::uint8_t> : std::integral_constant<dtype, dtype::u8> {};
template <>
struct dtype_of<std::int16_t> : std::integral_constant<dtype, dtype::i16> {};
template <>
struct dtype_of<std::uint16_t> : std::integral_constant<dtype, dtype::u16> {};
template <>
struct dtype_of<std::int32_t> : std::integral_constant<dtype, dtype::i32> {};
template <>
struct dtype_of<std::int64_t> : std::integral_constant<dtype, dtype::i64> {};
}  // namespace detail

/// C++ type of one element of type `T`. 4-bit types have none, because they are packed in bytes.
template <dtype T>
using storage_t = typename detail::storage<T>::type;
/// Element type of a C++ type.
template <class T>
inline constexpr dtype dtype_of = detail::dtype_of<std::remove_cv_t<T>>::value;

}  // namespace qwq
