// SPDX-License-Identifier: Apache-2.0
// Defines `block_columns`, a blockwise [N, K] matrix stored as [K, N] with blocks along axis 0, for DequantizeLinear.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "qwq/emit/constant_source.hpp"

namespace qwq::to_onnx {

using namespace to_file;

/// The columns of a matrix that was quantized row by row. `type` is the type of its codes. Unsigned codes, which mean
/// code - 2^(bits-1), are written as signed ones, so that no zero point is needed.
struct block_columns {
  quantized_source& rows;  ///< The matrix, quantized in rows.
  dtype type;              ///< Type of its codes.
  std::int64_t n,          ///< Rows of the matrix [N, K].
      k;                   ///< Columns of the matrix [N, K].

  /// Type of the codes in the file, i4 or i8.
  dtype written() const { return bits(type) == 4 ? dtype::i4 : dtype::i8; }
  std::int64_t blocks() const { return (k + rows.block() - 1) / rows.block(); }  ///< Blocks per row.

  /// Scales, transposed to [blocks, N].
  std::vector<float> scales() const {
    std::vector<float> out;
    const std::span<const float> scales = rows.scales();
    out.reserve(scales.size());
    for (std::int64_t b = 0; b < blocks(); ++b)
      for (std::int64_t i = 0; i < n; ++i) out.push_back(scales[static_cast<std::size_t>(i * blocks() + b)]);
    return out;
  }

  /// Writes the codes [K, N]; 4-bit codes two per byte, the first in the low half. Keeps the codes of the matrix in
  /// memory meanwhile, no floats.
  void write(const byte_sink& sink) const {
    std::vector<std::byte> packed;
    packed.reserve(static_cast<std::size_t>(n * row_bytes()));
    rows.codes([&](std::span<const std::byte> piece) { packed.insert(packed.end(), piece.begin(), piece.end()); });
    const int width = bits(type), per_byte = 8 / width;
    const unsigned flip = is_signed(type) ? 0u : 1u << (width - 1);
    constexpr std::int64_t tile = 64;  // output rows per pass, so that a column of bytes stays in the cache
    std::vector<std::byte> out;
    unsigned half = 0;
    bool waiting = false;  // `half` holds the first code of a byte
    const auto put = [&](unsigned code) {
      if (width == 4 && !waiting) {
        half = code;
        waiting = true;
        return;
      }
      out.push_back(static_cast<std::byte>(width == 4 ? half | code << 4 : code));
      waiting = false;
    };
    std::vector<std::uint8_t> codes;
    for (std::int64_t first = 0; first < k; first += tile) {
      const std::int64_t count = std::min(tile, k - first);
      codes.resize(static_cast<std::size_t>(count * n));
      for (std::int64_t i = 0; i < n; ++i)
        for (std::int64_t j = 0; j < count; ++j) {
          const std::int64_t at = first + j;
          const auto byte =
              std::to_integer<unsigned>(packed[static_cast<std::size_t>(i * row_bytes() + at / per_byte)]);
          const unsigned code = byte >> (at % per_byte * width) & ((1u << width) - 1);
          codes[static_cast<std::size_t>(j * n + i)] = static_cast<std::uint8_t>(code ^ flip);
        }
      out.clear();
      for (const std::uint8_t code : codes) put(code);
      if (waiting && first + count == k) put(0);
      sink(out);
    }
  }

 private:
  std::int64_t row_bytes() const { return blocks() * rows.block() * bits(type) / 8; }
};

}  // namespace qwq::to_onnx
