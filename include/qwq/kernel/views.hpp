// SPDX-License-Identifier: Apache-2.0
// What kernels take besides matrices: quantized weights, the KV cache, quantization parameters.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <type_traits>

#include "qwq/core/dtype.hpp"
#include "qwq/core/view.hpp"

namespace qwq {

/// A bound constant. Floats are in `type`, dense. Integer codes are a `kernel::packed_weight` with scales for `block`
/// elements each.
struct bound_constant {
  dtype type = dtype::f32;
  const void* data = nullptr;
  std::int64_t block = 0;
};

}  // namespace qwq

namespace qwq::kernel {

/// Weight [rows, cols] as symmetric int8 codes, dense. An element is exactly the f32 product code * scale, so a product
/// with it is that of a runtime which dequantizes first. One scale for the tensor, or one per row (output channel).
struct int8_weight {
  const std::int8_t* codes = nullptr;
  std::int64_t rows = 0, cols = 0;
  std::span<const float> scales;

  constexpr float scale(std::int64_t row) const {
    return scales[scales.size() == 1 ? 0 : static_cast<std::size_t>(row)];
  }
};

/// Weight [rows, cols] as symmetric codes of `Bits` bits in blocks along each row: an element is the f32 product
/// (code - 2^(Bits-1)) * scale of its block. The layout is that of com.microsoft.MatMulNBits: rows are padded to whole
/// blocks, the even element of two is in the low half of a byte.
template <int Bits>
struct block_weight {
  static_assert(Bits == 4 || Bits == 8);
  const std::uint8_t* codes = nullptr;
  std::int64_t rows = 0, cols = 0, block = 32;
  std::span<const float> scales;  // [rows, blocks of a row]

  /// Blocks of a row.
  constexpr std::int64_t row_blocks() const { return (cols + block - 1) / block; }
};

/// Element types of a KV cache that are symmetric codes, with a scale for each head and position.
template <class T>
inline constexpr bool is_kv_code = std::is_same_v<std::remove_cv_t<T>, std::int8_t>;

/// In what products with packed weights take their activations: as they are, or quantized to int8 by rows and blocks
/// while the model runs, which is faster and changes results.
enum class activation_mode : std::uint8_t { f32, int8 };

/// Keys or values [kv_heads, capacity, head_dim], dense. `T` is float, float16, bfloat16, or int8_t: then an element is
/// its code times the scale of its head and position.
template <class T>
struct kv_view {
  /// Scales are as writable as the elements.
  using scale_type = std::conditional_t<std::is_const_v<T>, const float, float>;

  T* data = nullptr;
  std::int64_t kv_heads = 0, capacity = 0, head_dim = 0;
  scale_type* scales = nullptr;  // [kv_heads, capacity]; null where elements are no codes

  constexpr T* at(std::int64_t head, std::int64_t position) const {
    return data + (head * capacity + position) * head_dim;
  }
  /// Scales of a head from a position on.
  constexpr scale_type* scale_at(std::int64_t head, std::int64_t position) const {
    return scales + (head * capacity + position);
  }
  /// Element `d` of a head and position, as the float that it stands for.
  constexpr float value(std::int64_t head, std::int64_t position, std::int64_t d) const {
    const auto x = static_cast<float>(at(head, position)[d]);
    if constexpr (is_kv_code<T>)
      return x * *scale_at(head, position);
    else
      return x;
  }
  /// The same elements, to read.
  constexpr operator kv_view<const T>() const requires(!std::is_const_v<T>) {
    return {data, kv_heads, capacity, head_dim, scales};
  }
};

/// Smallest and largest integer code.
struct code_range {
  std::int32_t min = 0, max = 0;
};

/// The full range of an integer type of at most 16 bits.
constexpr code_range full_range(dtype t) {
  const std::int32_t values = std::int32_t{1} << bits(t);
  return is_signed(t) ? code_range{-values / 2, values / 2 - 1} : code_range{0, values - 1};
}

/// How x / scale is computed before it is rounded: as the quotient, as ONNX Runtime does, or as the product of x and
/// 1 / scale, as torch does. Both are rounded to f32, and differ where they are near the middle between two codes.
enum class scaling : std::uint8_t { divide, multiply };

/// One scale and zero point: code = clip(round(x / scale) + zero_point), value = (code - zero_point) * scale.
struct affine {
  float scale = 1;
  std::int32_t zero_point = 0;
  code_range range;
  scaling by = scaling::divide;
};

/// Which dimension of a matrix the channels are.
enum class channel_axis : std::uint8_t { row, column };

/// One scale per channel; `zero_points` is as long as `scales`, or empty when all are 0.
struct channel_affine {
  std::span<const float> scales;
  std::span<const std::int32_t> zero_points;
  code_range range;
  channel_axis axis = channel_axis::row;
  scaling by = scaling::divide;

  /// Parameters of channel i.
  constexpr affine channel(std::int64_t i) const {
    const auto c = static_cast<std::size_t>(i);
    return {scales[c], zero_points.empty() ? 0 : zero_points[c], range, by};
  }
};

/// Smallest and largest value seen; `min > max` when there was none.
struct extrema {
  float min = std::numeric_limits<float>::infinity();
  float max = -std::numeric_limits<float>::infinity();
};

/// Sum of values and of their squares.
struct moments {
  double sum = 0, squares = 0;
};

}  // namespace qwq::kernel
