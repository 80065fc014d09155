// SPDX-License-Identifier: Apache-2.0
// Products of int8 activations with packed weights: sums of integers, scaled once for each block.
#pragma once

#include "qwq/kernel/int8_rows.hpp"
#include "qwq/kernel/linear.hpp"
#include "qwq/kernel/simd_int8.hpp"

namespace qwq::kernel {

namespace detail {

/// The signed bytes of x from element k on, in every word.
template <class Arch>
simd::words<Arch> broadcast_word(const std::int8_t* x) {
  std::uint32_t word;
  std::memcpy(&word, x, 4);
  return simd::words<Arch>(word);
}

/// The two words of unsigned bytes in a word of 4-bit codes.
template <class Arch>
simd::words<Arch> low_codes(simd::words<Arch> w) {
  return w & simd::words<Arch>(0x0f0f0f0fu);
}
template <class Arch>
simd::words<Arch> high_codes(simd::words<Arch> w) {
  return w >> 4 & simd::words<Arch>(0x0f0f0f0fu);
}

/// Some blocks of a panel as unsigned bytes, four to a word: what tiles take.
struct byte_panel {
  const std::byte* codes;   // [block / 4, panel_n] words of each block
  const std::byte* scales;  // [panel_n] of each block
  std::int64_t code_stride, scale_stride, blocks;
  int middle;
};

/// sums[i, j] (+)= x[i0 + i] . panel[j], over its blocks, of which the first is `block0` of x.
template <class Arch, int M>
void multiply_int8_tile(float* sums, std::int64_t stride, const int8_rows& x, std::int64_t i0, const byte_panel& panel,
                        std::int64_t block0) {
  constexpr std::int64_t width = simd::lanes<Arch>;
  const std::int64_t blocks = x.blocks();
  const std::int8_t* const codes = x.codes + i0 * x.row_bytes + block0 * x.block;
  for (std::int64_t b = 0; b < panel.blocks; ++b) {
    simd::ints<Arch> sum[M][tile_batches];
    const std::int64_t first = i0 * blocks + block0 + b;
    QWQ_UNROLL for (int i = 0; i < M; ++i) QWQ_UNROLL for (int v = 0; v < tile_batches; ++v) sum[i][v] =
        simd::ints<Arch>(-panel.middle * x.sums[first + i * blocks]);
    const std::byte* w = panel.codes + b * panel.code_stride;
    const std::int8_t* at = codes + b * x.block;
    for (std::int64_t k = 0; k < x.block; k += 4, w += panel_n * 4, at += 4) {
      simd::words<Arch> word[tile_batches];
      QWQ_UNROLL for (int v = 0; v < tile_batches; ++v) word[v] = simd::load_words<Arch>(w + v * width * 4);
      QWQ_UNROLL for (int i = 0; i < M; ++i) {
        const auto four = broadcast_word<Arch>(at + i * x.row_bytes);
        QWQ_UNROLL for (int v = 0; v < tile_batches; ++v) sum[i][v] = simd::add_dot<Arch>(sum[i][v], word[v], four);
      }
    }
    simd::batch<Arch> scale[tile_batches];
    QWQ_UNROLL for (int v = 0; v < tile_batches; ++v) scale[v] = simd::load<Arch>(
        reinterpret_cast<const float*>(panel.scales + b * panel.scale_stride) + v * width);
    QWQ_UNROLL for (int i = 0; i < M; ++i) {
      const simd::batch<Arch> of_row(x.scales[first + i * blocks]);
      QWQ_UNROLL for (int v = 0; v < tile_batches; ++v) {
        float* const to = sums + i * stride + v * width;
        const auto product = xsimd::to_float(sum[i][v]) * (scale[v] * of_row);
        simd::store<Arch>(to, block0 + b == 0 ? product : simd::load<Arch>(to) + product);
      }
    }
  }
}

template <class Arch, int M = tile_m<Arch>>
void multiply_int8_rows(float* sums, std::int64_t stride, const int8_rows& x, std::int64_t i0, std::int64_t i1,
                        const byte_panel& panel, std::int64_t block0) {
  std::int64_t i = i0;
  for (; i + M <= i1; i += M) multiply_int8_tile<Arch, M>(sums + (i - i0) * stride, stride, x, i, panel, block0);
  if constexpr (M > 1)
    if (i < i1) multiply_int8_rows<Arch, M / 2>(sums + (i - i0) * stride, stride, x, i, i1, panel, block0);
}

/// Calls f with byte panels for all blocks of panel p of w. `memory` holds panel_k * panel_n floats.
template <class Arch, int Bits, class F>
void for_each_byte_panel(const packed_weight<Bits>& w, std::int64_t p, std::byte* memory, F&& f) {
  using packed = packed_weight<Bits>;
  const std::byte* const panel = w.panel(p);
  const std::byte* const codes = panel + packed::scale_bytes;
  if constexpr (Bits == 8) {
    f(byte_panel{codes, panel, w.block_bytes(), w.block_bytes(), w.blocks(), packed::middle}, 0);
  } else {
    const std::int64_t bytes = w.block * panel_n;
    const std::int64_t at_a_time = std::max<std::int64_t>(panel_k * panel_n * 4 / bytes, 1);
    for (std::int64_t b0 = 0; b0 < w.blocks(); b0 += at_a_time) {
      const std::int64_t count = std::min(at_a_time, w.blocks() - b0);
      for (std::int64_t b = 0; b < count; ++b) {
        const std::byte* from = codes + (b0 + b) * w.block_bytes();
        std::byte* to = memory + b * bytes;
        for (std::int64_t k = 0; k < w.block; k += 8, from += panel_n * 4, to += panel_n * 8)
          for (std::int64_t j = 0; j < panel_n; j += simd::lanes<Arch>) {
            const auto word = simd::load_words<Arch>(from + j * 4);
            low_codes<Arch>(word).store_unaligned(reinterpret_cast<std::uint32_t*>(to) + j);
            high_codes<Arch>(word).store_unaligned(reinterpret_cast<std::uint32_t*>(to) + panel_n + j);
          }
      }
      f(byte_panel{memory, panel + b0 * w.block_bytes(), bytes, w.block_bytes(), count, packed::middle}, b0);
    }
  }
}

/// Calls f(i, j0, x[i] . w[j]) for rows i of x and the outputs j in [j0, j1), at most block_n of them.
template <class Arch, int Bits, class F>
void for_each_sums(const int8_rows& x, const packed_weight<Bits>& w, std::int64_t j0, std::int64_t j1, F&& f) {
  constexpr std::int64_t tile_n = tile_batches * simd::lanes<Arch>;
  alignas(64) float sums[block_rows * block_n];
  alignas(64) std::byte memory[panel_k * panel_n * 4];
  for (std::int64_t i0 = 0; i0 < x.rows; i0 += block_rows) {
    const std::int64_t i1 = std::min(i0 + block_rows, x.rows);
    if (w.cols == 0) std::fill_n(sums, block_rows * block_n, 0.0f);
    for (std::int64_t j = j0; j < j1; j += panel_n)
      for_each_byte_panel<Arch>(w, j / panel_n, memory, [&](byte_panel panel, std::int64_t block0) {
        for (std::int64_t v = 0; v < panel_n; v += tile_n) {
          multiply_int8_rows<Arch>(sums + j - j0 + v, block_n, x, i0, i1, panel, block0);
          panel.codes += tile_n * 4;
          panel.scales += tile_n * 4;
        }
      });
    for (std::int64_t i = i0; i < i1; ++i)
      f(i, j0, std::span<float>(sums + (i - i0) * block_n, static_cast<std::size_t>(j1 - j0)));
  }
}

/// sums[p, V batches] = x[row] . the outputs from `first` on of P panels, which follow each other.
template <class Arch, int P, int V, int Bits>
void multiply_int8_panels(float* sums, const int8_rows& x, std::int64_t row, const packed_weight<Bits>& w,
                          const std::byte* panel, std::int64_t first) {
  using packed = packed_weight<Bits>;
  constexpr std::int64_t width = simd::lanes<Arch>;
  const std::int64_t panel_bytes = w.panel_bytes();
  const std::int8_t* at = x.codes + row * x.row_bytes;
  simd::batch<Arch> total[P][V];
  QWQ_UNROLL for (int p = 0; p < P; ++p) QWQ_UNROLL for (int v = 0; v < V; ++v) total[p][v] = simd::batch<Arch>(0.0f);
  for (std::int64_t b = 0; b < w.blocks(); ++b, panel += w.block_bytes()) {
    simd::ints<Arch> sum[P][V];
    const simd::ints<Arch> start(-packed::middle * x.sums[row * x.blocks() + b]);
    QWQ_UNROLL for (int p = 0; p < P; ++p) QWQ_UNROLL for (int v = 0; v < V; ++v) sum[p][v] = start;
    const std::byte* codes = panel + packed::scale_bytes + first * 4;
    for (std::int64_t k = 0; k < w.block; k += packed::per_word, codes += panel_n * 4, at += packed::per_word) {
      const auto four = broadcast_word<Arch>(at), next = broadcast_word<Arch>(at + packed::per_word - 4);
      QWQ_UNROLL for (int p = 0; p < P; ++p) QWQ_UNROLL for (int v = 0; v < V; ++v) {
        const std::byte* const from = codes + p * panel_bytes + v * width * 4;
        const auto word = simd::load_words<Arch>(from);
        if (v * width % 16 == 0) __builtin_prefetch(from + fetched_ahead, 0, 2);
        if constexpr (Bits == 8) {
          sum[p][v] = simd::add_dot<Arch>(sum[p][v], word, four);
        } else {
          sum[p][v] = simd::add_dot<Arch>(sum[p][v], low_codes<Arch>(word), four);
          sum[p][v] = simd::add_dot<Arch>(sum[p][v], high_codes<Arch>(word), next);
        }
      }
    }
    const simd::batch<Arch> of_row(x.scales[row * x.blocks() + b]);
    QWQ_UNROLL for (int p = 0; p < P; ++p) QWQ_UNROLL for (int v = 0; v < V; ++v) {
      const auto scale = simd::load<Arch>(reinterpret_cast<const float*>(panel + p * panel_bytes) + first + v * width);
      total[p][v] = total[p][v] + xsimd::to_float(sum[p][v]) * (scale * of_row);
    }
  }
  QWQ_UNROLL for (int p = 0; p < P; ++p) QWQ_UNROLL for (int v = 0; v < V; ++v)
      simd::store<Arch>(sums + p * panel_n + v * width, total[p][v]);
}

/// The same as for_each_sums, one row at a time.
template <class Arch, int Bits, class F>
void for_each_row(const int8_rows& x, const packed_weight<Bits>& w, std::int64_t j0, std::int64_t j1, F&& f) {
  constexpr int batches = std::min<int>(panel_n / simd::lanes<Arch>, 4);
  alignas(64) float sums[block_n];
  for (std::int64_t i = 0; i < x.rows; ++i) {
    for_each_panel_group<Arch>(j0, j1, [&]<int P>(std::integral_constant<int, P>, std::int64_t j) {
      for (std::int64_t v = 0; v < panel_n; v += batches * simd::lanes<Arch>)
        multiply_int8_panels<Arch, P, batches>(sums + j - j0 + v, x, i, w, w.panel(j / panel_n), v);
    });
    f(i, j0, std::span<float>(sums, static_cast<std::size_t>(j1 - j0)));
  }
}

}  // namespace detail

/// `product` with activations that were quantized in the blocks of `w`: sums of products of integers are exact, and
/// scaled by the product of both scales.
template <class Arch = xsimd::default_arch, int Bits>
void product(executor& ex, const int8_rows& x, const packed_weight<Bits>& w, const sums_sink& finish) {
  detail::for_output_blocks(ex, w.rows, w.rows * w.cols * x.rows, [&](std::int64_t j0, std::int64_t j1) {
    if (x.rows < detail::few_rows)
      detail::for_each_row<Arch>(x, w, j0, j1, finish);
    else
      detail::for_each_sums<Arch>(x, w, j0, j1, finish);
  });
}
template <class Arch = xsimd::default_arch, int Bits>
void linear(executor& ex, matrix_view<float> y, const int8_rows& x, const packed_weight<Bits>& w) {
  product<Arch>(ex, x, w, store_sums<Arch>{y});
}

}  // namespace qwq::kernel
