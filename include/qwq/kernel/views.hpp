// SPDX-License-Identifier: Apache-2.0
// Defines views of kernel operands: quantized weights, the KV cache, quantization parameters.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <type_traits>

#include "qwq/core/dtype.hpp"
#include "qwq/core/view.hpp"

namespace qwq {

/// A bound constant. Floats are of `type`, dense. Integer codes are a `kernel::packed_weight` with a scale per `block`
/// elements.
struct bound_constant {
  dtype type = dtype::f32;     ///< Element type.
  const void* data = nullptr;  ///< The elements or the packed weight.
  std::int64_t block = 0;      ///< Elements per scale of a packed weight.
};

}  // namespace qwq

namespace qwq::kernel {

/// Weight [rows, cols] as symmetric int8 codes, dense. An element is exactly the f32 product code * scale, so a GEMM
/// with it equals that of a runtime which dequantizes first. One scale for the tensor, or one per row (output channel).
struct int8_weight {
  const std::int8_t* codes = nullptr;  ///< [rows, cols].
  std::int64_t rows = 0,               ///< Number of outputs.
      cols = 0;                        ///< Elements along K.
  std::span<const float> scales;       ///< One scale, or one per row.

  /// Scale of a row.
  constexpr float scale(std::int64_t row) const {
    return scales[scales.size() == 1 ? 0 : static_cast<std::size_t>(row)];
  }
};

/// Weight [rows, cols] as symmetric codes of `Bits` bits in blocks along each row: an element is the f32 product (code
/// - 2^(Bits-1)) * scale of its block. The layout is that of com.microsoft.MatMulNBits: rows are padded to whole
/// blocks; of two elements in a byte, the even one is in the low half.
template <int Bits>
struct block_weight {
  static_assert(Bits == 4 || Bits == 8);
  const std::uint8_t* codes = nullptr;  ///< The codes.
  std::int64_t rows = 0,                ///< Number of outputs.
      cols = 0,                         ///< Elements along K.
      block = 32;                       ///< Elements per block.
  std::span<const float> scales;        ///< [rows, blocks of a row].

  /// Blocks per row.
  constexpr std::int64_t row_blocks() const { return (cols + block - 1) / block; }
};

/// True for element types of a KV cache that are symmetric codes, with a scale per head and position.
template <class T>
inline constexpr bool is_kv_code = std::is_same_v<std::remove_cv_t<T>, std::int8_t>;

/// Type of activations in GEMMs with packed weights: unchanged, or quantized to int8 by rows and blocks at run time,
/// which is faster and changes results.
enum class activation_mode : std::uint8_t { f32, int8 };

/// Keys or values [kv_heads, capacity, head_dim], dense. `T` is float, float16, bfloat16, or int8_t: then an element is
/// its code times the scale of its head and position.
template <class T>
struct kv_view {
  /// Type of scales; const if the elements are.
  using scale_type = std::conditional_t<std::is_const_v<T>, const float, float>;

  T* data = nullptr;             ///< The elements.
  std::int64_t kv_heads = 0,     ///< Key and value heads.
      capacity = 0,              ///< Positions per head.
      head_dim = 0;              ///< Channels per head.
  scale_type* scales = nullptr;  ///< [kv_heads, capacity]; null unless elements are codes.

  /// Elements of a head and position.
  constexpr T* at(std::int64_t head, std::int64_t position) const {
    return data + (head * capacity + position) * head_dim;
  }
  /// Scales of a head, from a position on.
  constexpr scale_type* scale_at(std::int64_t head, std::int64_t position) const {
    return scales + (head * capacity + position);
  }
  /// Element `d` of a head and position, dequantized to f32.
  constexpr float value(std::int64_t head, std::int64_t position, std::int64_t d) const {
    const auto x = static_cast<float>(at(head, position)[d]);
    if constexpr (is_kv_code<T>)
      return x * *scale_at(head, position);
    else
      return x;
  }
  /// A read-only view of the same elements.
  constexpr operator kv_view<const T>() const requires(!std::is_const_v<T>) {
    return {data, kv_heads, capacity, head_dim, scales};
  }
};

/// Smallest and largest integer code.
struct code_range {
  std::int32_t min = 0,  ///< Smallest code.
      max = 0;           ///< Largest code.
};

/// The full code range of an integer type of at most 16 bits.
constexpr code_range full_range(dtype t) {
  const std::int32_t values = std::int32_t{1} << bits(t);
  return is_signed(t) ? code_range{-values / 2, values / 2 - 1} : code_range{0, values - 1};
}

/// How x / scale is computed before rounding: as the quotient, like ONNX Runtime, or as the product of x and 1 / scale,
/// like torch. Both are rounded to f32; they can differ near the midpoint between two codes.
enum class scaling : std::uint8_t { divide, multiply };

/// One scale and zero point: code = clip(round(x / scale) + zero_point), value = (code - zero_point) * scale.
struct affine {
  float scale = 1;               ///< Step between adjacent codes.
  std::int32_t zero_point = 0;   ///< Code of the value 0.
  code_range range;              ///< Range of the codes.
  scaling by = scaling::divide;  ///< How x / scale is computed.
};

/// The dimension of a matrix that has the channels.
enum class channel_axis : std::uint8_t { row, column };

/// One scale per channel. `zero_points` has the size of `scales`, or is empty if all are 0.
struct channel_affine {
  std::span<const float> scales;              ///< One per channel.
  std::span<const std::int32_t> zero_points;  ///< One per channel, or empty.
  code_range range;                           ///< Range of the codes.
  channel_axis axis = channel_axis::row;      ///< Dimension of the channels.
  scaling by = scaling::divide;               ///< How x / scale is computed.

  /// Parameters of channel i.
  constexpr affine channel(std::int64_t i) const {
    const auto c = static_cast<std::size_t>(i);
    return {scales[c], zero_points.empty() ? 0 : zero_points[c], range, by};
  }
};

/// Minimum and maximum of observed values; `min > max` if there were none.
struct extrema {
  float min = std::numeric_limits<float>::infinity();   ///< The smallest value.
  float max = -std::numeric_limits<float>::infinity();  ///< The largest value.
};

/// Sum of values and of their squares.
struct moments {
  double sum = 0,   ///< Sum of the values.
      squares = 0;  ///< Sum of their squares.
};

}  // namespace qwq::kernel
