// SPDX-License-Identifier: Apache-2.0
// Defines `packed_weight`, a quantized weight in the memory order of GEMM kernels.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "qwq/kernel/views.hpp"

namespace qwq::kernel {

/// Outputs per panel of packed weights, and per tile.
inline constexpr std::int64_t panel_n = 32;

/// Weight [rows, cols] as symmetric codes of `Bits` bits, with one scale per output and `block` elements along K: an
/// element is the f32 product (code - 2^(Bits-1)) * scale. The same bytes serve GEMV and GEMM, with f32 and with int8
/// activations.
///
/// Outputs are divided into panels of `panel_n`, the last one padded with zero weights. A panel is contiguous: for each
/// block its `panel_n` scales, then its codes as 32-bit words, one per output, each with 32 / Bits elements along K.
/// Byte b of a word of 8-bit codes is element b; for 4-bit codes its low half is element b and its high half element 4
/// + b.
template <int Bits>
struct packed_weight {
  static_assert(Bits == 4 || Bits == 8);
  /// Bits per code.
  static constexpr int bits = Bits;
  /// Elements per 32-bit word.
  static constexpr std::int64_t per_word = 32 / Bits;
  /// Bytes of the scales of a block.
  static constexpr std::int64_t scale_bytes = panel_n * static_cast<std::int64_t>(sizeof(float));
  /// Code of the value 0.
  static constexpr int middle = 1 << (Bits - 1);

  const std::byte* data = nullptr;  ///< The panels.
  std::int64_t rows = 0,            ///< Number of outputs.
      cols = 0;                     ///< Elements along K.
  std::int64_t block = per_word;  ///< A multiple of `per_word`; there is one block per row if it is `whole_row(cols)`.

  /// The block size with one block per row.
  static constexpr std::int64_t whole_row(std::int64_t cols) {
    return std::max<std::int64_t>((cols + per_word - 1) / per_word, 1) * per_word;
  }
  /// Blocks per row.
  constexpr std::int64_t blocks() const { return (cols + block - 1) / block; }
  /// Number of panels.
  constexpr std::int64_t panels() const { return (rows + panel_n - 1) / panel_n; }
  /// Bytes of a block of a panel, with its scales.
  constexpr std::int64_t block_bytes() const { return scale_bytes + block * panel_n * Bits / 8; }
  /// Bytes of a panel.
  constexpr std::int64_t panel_bytes() const { return blocks() * block_bytes(); }
  /// Size of `data` in bytes.
  constexpr std::size_t bytes() const { return static_cast<std::size_t>(panels() * panel_bytes()); }

  /// The first byte of panel p.
  const std::byte* panel(std::int64_t p) const { return data + p * panel_bytes(); }
  /// Position of element k's code in its word: the lowest bit.
  static constexpr int shift(std::int64_t k) {
    const auto i = static_cast<int>(k % per_word);
    return Bits == 8 ? 8 * i : i % 4 * 8 + i / 4 * 4;
  }
  /// Weight of output j for input k.
  float at(std::int64_t j, std::int64_t k) const {
    const std::byte* from = panel(j / panel_n) + k / block * block_bytes();
    float scale;
    std::uint32_t word;
    std::memcpy(&scale, from + j % panel_n * 4, 4);
    std::memcpy(&word, from + scale_bytes + (k % block / per_word * panel_n + j % panel_n) * 4, 4);
    const auto code = static_cast<int>(word >> shift(k) & ((1u << Bits) - 1));
    return static_cast<float>(code - middle) * scale;
  }
};

namespace detail {

/// The next `inside` codes of a row as a word; remaining codes are those of 0.
template <int Bits>
std::uint32_t packed_word(const std::uint8_t* codes, std::uint32_t flip, std::int64_t inside) {
  std::uint32_t word = 0;
  std::memcpy(&word, codes, static_cast<std::size_t>((inside * Bits + 7) / 8));
  word ^= flip;
  if (inside < packed_weight<Bits>::per_word) {
    const std::uint32_t mask = (std::uint32_t{1} << (inside * Bits)) - 1;
    word = (word & mask) | ((Bits == 8 ? 0x80808080u : 0x88888888u) & ~mask);
  }
  if constexpr (Bits == 8) return word;
  const auto spread = [](std::uint32_t four) {
    four = (four | four << 8) & 0x00ff00ffu;
    return (four | four << 4) & 0x0f0f0f0fu;
  };
  return spread(word & 0xffffu) | spread(word >> 16) << 4;
}

/// Packs rows of codes, `row_bytes` apart, into panels. `flip`: converts to unsigned codes by xor; `scale(j, b)`: scale
/// of a row and block.
template <int Bits, class Scale>
void pack_rows(std::byte* to, const packed_weight<Bits>& shape, const std::uint8_t* rows, std::int64_t row_bytes,
               std::uint32_t flip, Scale&& scale) {
  using packed = packed_weight<Bits>;
  for (std::int64_t j0 = 0; j0 < shape.rows; j0 += panel_n, rows += panel_n * row_bytes) {
    const std::int64_t count = std::min(panel_n, shape.rows - j0);
    for (std::int64_t b = 0; b < shape.blocks(); ++b) {
      float scales[panel_n] = {};
      for (std::int64_t j = 0; j < count; ++j) scales[j] = scale(j0 + j, b);
      std::memcpy(to, scales, sizeof scales);
      to += sizeof scales;
      for (std::int64_t k = b * shape.block; k < (b + 1) * shape.block; k += packed::per_word) {
        const std::int64_t inside = std::clamp<std::int64_t>(shape.cols - k, 0, packed::per_word);
        std::uint32_t words[panel_n];
        for (std::int64_t j = 0; j < panel_n; ++j)
          words[j] =
              packed_word<Bits>(rows + (j < count ? j * row_bytes + k * Bits / 8 : 0), flip, j < count ? inside : 0);
        std::memcpy(to, words, sizeof words);
        to += sizeof words;
      }
    }
  }
}

}  // namespace detail

/// The shape of the packed `w`; `data` is to be set.
inline packed_weight<8> packed_shape(const int8_weight& w) {
  return {nullptr, w.rows, w.cols, packed_weight<8>::whole_row(w.cols)};
}
/// The shape of the packed blockwise `w`; `data` is to be set.
template <int Bits>
packed_weight<Bits> packed_shape(const block_weight<Bits>& w) {
  return {nullptr, w.rows, w.cols, w.block};
}

/// Packs `w` into `to`, `packed_shape(w).bytes()` bytes. A range of rows that starts at a multiple of `panel_n` can be
/// packed on its own, to the position of its panel.
inline void pack(std::byte* to, const int8_weight& w) {
  detail::pack_rows(to, packed_shape(w), reinterpret_cast<const std::uint8_t*>(w.codes), w.cols, 0x80808080u,
                    [&](std::int64_t j, std::int64_t) { return w.scale(j); });
}
/// Packs a blockwise weight.
template <int Bits>
void pack(std::byte* to, const block_weight<Bits>& w) {
  detail::pack_rows(
      to, packed_shape(w), w.codes, w.row_blocks() * w.block * Bits / 8, 0,
      [&](std::int64_t j, std::int64_t b) { return w.scales[static_cast<std::size_t>(j * w.row_blocks() + b)]; });
}

}  // namespace qwq::kernel
