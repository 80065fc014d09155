// SPDX-License-Identifier: Apache-2.0
// Defines GEMM of int8 activations with packed weights: integer accumulators, scaled once per block.
#pragma once

#include "qwq/kernel/gemv_int8.hpp"
#include "qwq/kernel/linear.hpp"

namespace qwq::kernel {

namespace detail {

/// Rows of activations per pass over the panels, and size in bytes of panels that stay in L1 with accumulators and
/// activations.
inline constexpr std::int64_t block_rows = 128, byte_panels_size = 16384;

/// Expands a block of 4-bit codes to bytes.
template <class Arch>
void spread_codes(std::byte* to, const std::byte* from, std::int64_t block) {
  for (std::int64_t k = 0; k < block; k += 8, from += panel_n * 4, to += panel_n * 8)
    for (std::int64_t j = 0; j < panel_n; j += simd::lanes<Arch>) {
      const auto word = simd::load_words<Arch>(from + j * 4);
      simd::low_codes<Arch>(word).store_unaligned(reinterpret_cast<std::uint32_t*>(to) + j);
      simd::high_codes<Arch>(word).store_unaligned(reinterpret_cast<std::uint32_t*>(to) + panel_n + j);
    }
}

/// Tile of accumulators: rows x batches. With AVX-512 it has more than needed to hide the latency of a dot product, so
/// that the work per block overlaps with the next block.
template <class Arch>
inline constexpr int int8_tile_m = simd::detail::lanes_512<Arch> ? 6 : 4;
template <class Arch>
inline constexpr int int8_tile_batches = simd::detail::lanes_512<Arch> ? 4 : 2;
/// Outputs per tile, and outputs of the panels that it is part of or spans.
template <class Arch>
inline constexpr std::int64_t int8_tile_n = int8_tile_batches<Arch>* simd::lanes<Arch>;
template <class Arch>
inline constexpr std::int64_t panels_n = std::max(int8_tile_n<Arch>, panel_n);

/// Row pitch of accumulators: not a power of two, with space for a panel that is processed twice.
inline constexpr std::int64_t int8_sums_stride = block_n + panel_n;

/// Blocks of panels as unsigned bytes, four per word: the right operand of a tile.
struct byte_panels {
  const std::byte* codes;                              ///< [block / 4, panel_n] words per block.
  const std::byte* scales;                             ///< [panel_n] per block.
  std::int64_t code_stride, scale_stride;              ///< From block to block.
  std::int64_t code_panel_stride, scale_panel_stride;  ///< From panel to panel.
  std::int64_t blocks;                                 ///< Number of blocks.
  int middle;                                          ///< Code of the value 0.
  /// The part that is multiplied next, of panels `scale_panel_stride` apart. It is prefetched, `fetched_per_step` bytes
  /// with each step along K.
  const std::byte* next;
  std::int64_t next_bytes, fetched_per_step = 0;
};

/// sums[i, j] (+)= x[i0 + i] . panel[j], over the blocks of the panel; the first is block `block0` of x.
template <class Arch, int M>
void multiply_int8_tile(float* sums, int8_rows x, std::int64_t i0, byte_panels w, std::int64_t block0) {
  constexpr int batches = int8_tile_batches<Arch>;
  constexpr std::int64_t width = simd::lanes<Arch>;
  // Start of a batch of the tile among the words or scales of panels.
  const auto place = [](int v, std::int64_t panel_stride)
                         QWQ_INLINE { return v * width / panel_n * panel_stride + v * width % panel_n * 4; };
  const std::int64_t blocks = x.blocks();
  const std::int8_t* at = x.codes + i0 * x.row_bytes + block0 * x.block;
  const std::int32_t* x_sums = x.sums + i0 * blocks + block0;
  const float* x_scales = x.scales + i0 * blocks + block0;
  for (std::int64_t b = 0; b < w.blocks; ++b, ++x_sums, ++x_scales) {
    simd::ints<Arch> sum[M][batches];
    QWQ_UNROLL for (int i = 0; i < M; ++i) QWQ_UNROLL for (int v = 0; v < batches; ++v) sum[i][v] =
        simd::ints<Arch>(-w.middle * x_sums[i * blocks]);
    const std::byte* words = w.codes + b * w.code_stride;
    const std::int8_t* const end = at + x.block;
    do {
      simd::words<Arch> word[batches];
      QWQ_UNROLL for (int v = 0; v < batches; ++v) word[v] =
          simd::load_words<Arch>(words + place(v, w.code_panel_stride));
      QWQ_UNROLL for (int i = 0; i < M; ++i) {
        const auto four = broadcast_word<Arch>(at + i * x.row_bytes);
        QWQ_UNROLL for (int v = 0; v < batches; ++v) sum[i][v] = simd::add_dot<Arch>(sum[i][v], word[v], four);
      }
      QWQ_UNROLL for (std::int64_t q = 0; q < panels_n<Arch> / panel_n; ++q)
          __builtin_prefetch(w.next + q * w.scale_panel_stride, 0, 2);
      w.next += w.fetched_per_step;
      words += panel_n * 4;
      at += 4;
    } while (at < end);
    const auto epilogue = [&](auto add) QWQ_INLINE {
      QWQ_UNROLL for (int v = 0; v < batches; ++v) {
        const auto scale = simd::load<Arch>(
            reinterpret_cast<const float*>(w.scales + b * w.scale_stride + place(v, w.scale_panel_stride)));
        QWQ_UNROLL for (int i = 0; i < M; ++i) {
          float* const to = sums + i * int8_sums_stride + v * width;
          const simd::batch<Arch> of_row(x_scales[i * blocks]);
          simd::store<Arch>(to, add(xsimd::to_float(sum[i][v]), scale * of_row, to));
        }
      }
    };
    if (block0 + b == 0)
      epilogue([](simd::batch<Arch> dot, simd::batch<Arch> by, const float*) QWQ_INLINE { return dot * by; });
    else
      epilogue([](simd::batch<Arch> dot, simd::batch<Arch> by, const float* to)
                   QWQ_INLINE { return simd::fma<Arch>(dot, by, simd::load<Arch>(to)); });
  }
}

/// As above, for rows [i0, i1), in tiles of (nearly) equal height.
template <class Arch>
void multiply_int8_rows(float* sums, const int8_rows& x, std::int64_t i0, std::int64_t i1, byte_panels w,
                        std::int64_t block0) {
  constexpr int most = int8_tile_m<Arch>;
  std::int64_t tiles = (i1 - i0 + most - 1) / most;
  const std::int64_t steps = w.blocks * x.block / 4;
  w.fetched_per_step = (w.next_bytes + tiles * steps - 1) / (tiles * steps);
  for (; tiles > 0; --tiles, w.next += steps * w.fetched_per_step) {
    const std::int64_t rows = (i1 - i0 + tiles - 1) / tiles;
    [&]<int... M>(std::integer_sequence<int, M...>) {
      ((rows == M + 1 ? multiply_int8_tile<Arch, M + 1>(sums, x, i0, w, block0) : void()), ...);
    }
    (std::make_integer_sequence<int, most>{});
    sums += rows * int8_sums_stride;
    i0 += rows;
  }
}

/// True if there is memory for the bytes of a block.
template <class Arch, int Bits>
bool has_byte_panels(const packed_weight<Bits>& w) {
  return Bits == 8 || w.block * panels_n<Arch> <= byte_panels_size;
}

/// Calls f(panels, b0) for the blocks of the `panels_n` outputs of w from panel p on: several blocks at a time, the
/// first of which is b0. If p is the last panel of w, it is processed twice. 4-bit codes are expanded to `memory`.
template <class Arch, int Bits, class F>
void for_each_byte_panels(const packed_weight<Bits>& w, std::int64_t p, std::byte* memory, F&& f) {
  using packed = packed_weight<Bits>;
  const std::byte* const panel = w.panel(p);
  const std::int64_t panel_bytes = p + 1 < w.panels() ? w.panel_bytes() : 0;
  const std::int64_t bytes = w.block * panel_n;  // size of a block, expanded to bytes
  const std::int64_t at_a_time = std::max<std::int64_t>(byte_panels_size / (w.block * panels_n<Arch>), 1);
  for (std::int64_t b0 = 0; b0 < w.blocks(); b0 += at_a_time) {
    const std::int64_t count = std::min(at_a_time, w.blocks() - b0);
    const std::byte* const first = panel + b0 * w.block_bytes();
    const std::byte* const codes = first + packed::scale_bytes;
    const std::int64_t after = std::min(at_a_time, w.blocks() - b0 - count);
    const bool last = after == 0;
    byte_panels to{.codes = codes,
                   .scales = first,
                   .code_stride = w.block_bytes(),
                   .scale_stride = w.block_bytes(),
                   .code_panel_stride = panel_bytes,
                   .scale_panel_stride = panel_bytes,
                   .blocks = count,
                   .middle = packed::middle,
                   .next = last ? panel + panels_n<Arch> / panel_n * panel_bytes : first + count * w.block_bytes(),
                   .next_bytes = (last ? std::min(at_a_time, w.blocks()) : after) * w.block_bytes()};
    if constexpr (Bits == 4) {
      to.codes = memory;
      to.code_stride = bytes;
      to.code_panel_stride = count * bytes;
      for (std::int64_t q = 0; q < panels_n<Arch> / panel_n; ++q)
        for (std::int64_t b = 0; b < count; ++b)
          spread_codes<Arch>(memory + (q * count + b) * bytes, codes + q * panel_bytes + b * w.block_bytes(), w.block);
    }
    f(to, b0);
  }
}

/// Calls f(i, j0, x[i] . w[j]) for rows i of x and at most block_n outputs j in [j0, j1).
template <class Arch, int Bits, class F>
void for_each_sums(const int8_rows& x, const packed_weight<Bits>& w, std::int64_t j0, std::int64_t j1, F&& f) {
  alignas(64) float sums[block_rows * int8_sums_stride];
  alignas(64) std::byte memory[byte_panels_size];
  for (std::int64_t i0 = 0; i0 < x.rows; i0 += block_rows) {
    const std::int64_t i1 = std::min(i0 + block_rows, x.rows);
    if (w.cols == 0) std::fill_n(sums, block_rows * int8_sums_stride, 0.0f);
    for (std::int64_t j = j0; j < j1; j += panels_n<Arch>)
      for_each_byte_panels<Arch>(w, j / panel_n, memory, [&](byte_panels panels, std::int64_t block0) {
        for (std::int64_t v = 0; v < panels_n<Arch>; v += int8_tile_n<Arch>) {
          multiply_int8_rows<Arch>(sums + j - j0 + v, x, i0, i1, panels, block0);
          panels.codes += int8_tile_n<Arch> * 4;
          panels.scales += int8_tile_n<Arch> * 4;
        }
      });
    for (std::int64_t i = i0; i < i1; ++i)
      f(i, j0, std::span<float>(sums + (i - i0) * int8_sums_stride, static_cast<std::size_t>(j1 - j0)));
  }
}

/// As above, one row at a time (GEMV).
template <class Arch, int Bits, class F>
void for_each_row(const int8_rows& x, const packed_weight<Bits>& w, std::int64_t j0, std::int64_t j1, F&& f) {
  alignas(64) float sums[block_n];
  for (std::int64_t i = 0; i < x.rows; ++i) {
    multiply_int8_row<Arch, 1>(sums, x, i, w, j0, j1);
    f(i, j0, std::span<float>(sums, static_cast<std::size_t>(j1 - j0)));
  }
}

}  // namespace detail

/// GEMM with activations that were quantized in the blocks of `w`: integer accumulators are exact, and scaled by the
/// product of both scales. See `product` in linear.hpp.
template <class Arch = xsimd::default_arch, int Bits>
void product(executor& ex, const int8_rows& x, const packed_weight<Bits>& w, const sums_sink& epilogue) {
  detail::for_output_blocks(ex, w.rows, w.rows * w.cols * x.rows, [&](std::int64_t j0, std::int64_t j1) {
    if (x.rows < detail::few_rows || !detail::has_byte_panels<Arch>(w))
      detail::for_each_row<Arch>(x, w, j0, j1, epilogue);
    else
      detail::for_each_sums<Arch>(x, w, j0, j1, epilogue);
  });
}
/// y[m, n] = x[m, k] . w[n, k]^T on int8 activations.
template <class Arch = xsimd::default_arch, int Bits>
void linear(executor& ex, matrix_view<float> y, const int8_rows& x, const packed_weight<Bits>& w) {
  product<Arch>(ex, x, w, store_sums<Arch>{y});
}

}  // namespace qwq::kernel
