// SPDX-License-Identifier: Apache-2.0
// Defines `matmul_nbits`, weight quantization for com.microsoft.MatMulNBits: one scale per block along K, packed codes.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "qwq/core/error.hpp"
#include "qwq/kernel/observe.hpp"
#include "qwq/kernel/quantize.hpp"
#include "qwq/quant/finite.hpp"
#include "qwq/quant/params.hpp"

namespace qwq {

/// Round-to-nearest for MatMulNBits with `Bits` = 4 or 8, bit-identical to onnxruntime's `quantize_matmul_4bits` and
/// `_8bits`. It differs from the Q/DQ formats: values are multiplied by the block's reciprocal scale, halves round up,
/// and a symmetric scale is the extreme value, sign included, divided by -2^(Bits-1).
template <int Bits, bool Symmetric>
class matmul_nbits {
  static_assert(Bits == 4 || Bits == 8);

 public:
  /// `k` is the row length of the [N, K] weight; `block_size` is a power of two of at least 16. `tensor` is the
  /// weight's name in messages. Throws `error` if either size is invalid.
  matmul_nbits(std::string_view tensor, std::size_t k, std::size_t block_size)
      : tensor_(tensor), k_(k), block_size_(block_size) {
    if (block_size < 16 || (block_size & (block_size - 1)) != 0)
      throw error(tensor_ + ": block size: expected a power of two >= 16, found " + std::to_string(block_size));
    if (k == 0) throw error(tensor_ + ": expected rows with elements, found [N, 0]");
  }

  /// Number of blocks, and so of scales, per row.
  std::size_t blocks() const { return (k_ + block_size_ - 1) / block_size_; }
  /// Bytes of codes per row; the last block is padded with 0.
  std::size_t packed_bytes() const { return blocks() * block_size_ * Bits / 8; }
  /// Bytes of zero points per row, 0 if symmetric; an unused half byte is 8.
  std::size_t zero_point_bytes() const { return Symmetric ? 0 : (blocks() * Bits + 7) / 8; }

  /// Quantizes one row of K weights, which is column n of the [K, N] operand of the operator. The outputs have the
  /// sizes above. Throws `error` for other sizes, and for NaN or infinity.
  void quantize_row(std::span<const float> row, std::span<std::uint8_t> packed, std::span<float> scales,
                    std::span<std::uint8_t> zero_points) const {
    check("row", row.size(), k_);
    check("packed", packed.size(), packed_bytes());
    check("scales", scales.size(), blocks());
    check("zero points", zero_points.size(), zero_point_bytes());
    if (!detail::all_finite(row)) throw error(tensor_ + ": expected finite values, found NaN or infinity");
    std::fill(packed.begin(), packed.end(), std::uint8_t{0});
    std::fill(zero_points.begin(), zero_points.end(), std::uint8_t{Bits == 4 ? 0x88 : 0});
    for (std::size_t b = 0; b < blocks(); ++b) {
      const std::size_t first = b * block_size_;
      const auto block = row.subspan(first, std::min(block_size_, k_ - first));
      const qparams p = block_params(block);
      scales[b] = p.scale;
      if constexpr (!Symmetric) put_zero_point(zero_points, b, p.zero_point);
      put_codes(packed.subspan(first * Bits / 8), block, p);
    }
  }

 private:
  static constexpr std::int32_t middle = 1 << (Bits - 1);
  static constexpr float highest = (1 << Bits) - 1;

  static qparams block_params(std::span<const float> block) {
    auto [low, high] = kernel::min_max(block);
    if constexpr (Symmetric) {
      const float extreme = std::abs(high) > std::abs(low) ? high : low;
      return {extreme / static_cast<float>(-middle), middle};
    }
    low = std::min(low, 0.0f);
    high = std::max(high, 0.0f);
    const float scale = (high - low) / highest;
    if (scale == 0) return {0, 0};
    return {scale, static_cast<std::int32_t>(std::clamp(std::round(-low / scale), 0.0f, highest))};
  }

  static void put_codes(std::span<std::uint8_t> packed, std::span<const float> block, const qparams& p) {
    const float reciprocal = p.scale != 0 ? 1.0f / p.scale : 0.0f;
    const auto zero = static_cast<float>(p.zero_point);
    // Adding this before truncation rounds nonnegative numbers to nearest, with halves away from 0.
    constexpr float almost_half = 0x1.fffffep-2f;
    detail::blockwise<16>(block.size(), [&, w = block.data()](std::size_t first, auto count) {
      std::array<std::uint8_t, 16> codes;
      for (std::size_t i = 0; i < count; ++i) {
        const float biased = detail::product(w[first + i], reciprocal) + zero;
        codes[i] = static_cast<std::uint8_t>(std::clamp(biased + almost_half, 0.0f, highest));
      }
      const std::span<const std::uint8_t> made(codes.data(), count);
      if constexpr (Bits == 4)
        kernel::pack_int4(packed.subspan(first / 2), made);
      else
        std::copy(made.begin(), made.end(), packed.begin() + static_cast<std::ptrdiff_t>(first));
    });
  }

  static void put_zero_point(std::span<std::uint8_t> zero_points, std::size_t block, std::int32_t zero_point) {
    if constexpr (Bits == 8) {
      zero_points[block] = static_cast<std::uint8_t>(zero_point);
    } else {
      const unsigned shift = block % 2 * 4;
      const unsigned others = zero_points[block / 2] & ~(15u << shift);
      zero_points[block / 2] = static_cast<std::uint8_t>(others | static_cast<unsigned>(zero_point) << shift);
    }
  }

  void check(const char* what, std::size_t found, std::size_t expected) const {
    if (found != expected)
      throw error(tensor_ + ": " + what + ": expected " + std::to_string(expected) + " elements, found " +
                  std::to_string(found));
  }

  std::string tensor_;
  std::size_t k_, block_size_;
};

}  // namespace qwq
