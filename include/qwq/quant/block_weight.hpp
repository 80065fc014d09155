// SPDX-License-Identifier: Apache-2.0
// Defines `block_format` and `block_quantizer`, weight quantization with one scale per block along K.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "qwq/quant/matmul_nbits.hpp"

namespace qwq {

namespace conventions {

/// The convention of MatMulNBits (`matmul_nbits`, symmetric): unsigned codes around 2^(bits-1).
struct nbits {};

}  // namespace conventions

/// A weight format with symmetric codes and one scale per `Block` elements of a row. `Convention` is `nbits` for u4 and
/// u8, or `ort` (as QuantizeLinear computes) for i4.
template <dtype T, std::int32_t Block, class Convention>
struct block_format {
  static_assert(std::is_same_v<Convention, conventions::nbits> ? T == dtype::u4 || T == dtype::u8 : T == dtype::i4,
                "qwq: block_format<T, Block, Convention> takes u4 or u8 with nbits, i4 with ort");
  static_assert(Block >= 16 && (Block & (Block - 1)) == 0,
                "qwq: block_format<T, Block, Convention> requires Block to be a power of two, 16 or more");
  /// The format as a value.
  static constexpr number_format value{.element = T, .block = Block};
  /// Type of codes.
  static constexpr dtype type = T;
  /// Elements per block.
  static constexpr std::int32_t block = Block;
  /// How scales and codes are computed.
  using convention = Convention;
};

/// A format type with one scale per block.
template <class F>
concept blockwise_format = requires {
  { F::block } -> std::convertible_to<std::int32_t>;
};

/// Round-to-nearest quantization of the rows of an [N, K] weight in `Format`, packed as kernels and files store them.
template <blockwise_format Format>
class block_quantizer {
 public:
  /// `tensor` is the weight's name in messages; `k` is the row length.
  block_quantizer(std::string tensor, std::size_t k) : tensor_(std::move(tensor)), k_(k) {}

  /// Number of blocks, and so of scales, per row.
  std::size_t blocks() const { return (k_ + block - 1) / block; }
  /// Bytes of packed codes per row: two 4-bit codes per byte, the first in the low half; the last block is padded with
  /// zero bytes.
  std::size_t packed_bytes() const { return byte_size(Format::type, blocks() * block); }

  /// Quantizes one row of K weights into packed codes and one scale per block. Throws `error` for NaN or infinity.
  void quantize_row(std::span<const float> row, std::span<std::uint8_t> packed, std::span<float> scales) const {
    if constexpr (std::is_same_v<typename Format::convention, conventions::nbits>) {
      matmul_nbits<bits(Format::type), true>(tensor_, k_, block).quantize_row(row, packed, scales, {});
    } else {
      if (!detail::all_finite(row)) throw error(tensor_ + ": expected finite values, found NaN or infinity");
      std::fill(packed.begin(), packed.end(), std::uint8_t{0});
      std::array<std::int8_t, block> codes;
      for (std::size_t b = 0; b < blocks(); ++b) {
        const auto part = row.subspan(b * block, std::min(block, k_ - b * block));
        const auto [low, high] = kernel::min_max(part);
        using format = int_format<Format::type, true>;
        const qparams p = compute_qparams<format>({low, high});
        scales[b] = p.scale;
        kernel::quantize(std::span(codes).first(part.size()), part, to_affine<format>(p));
        kernel::pack_int4(packed.subspan(b * block / 2), std::span(codes).first(part.size()));
      }
    }
  }

 private:
  static constexpr std::size_t block = Format::block;
  std::string tensor_;
  std::size_t k_;
};

}  // namespace qwq
