// SPDX-License-Identifier: Apache-2.0
// Products of blocks that fit the caches, tile by tile in registers.
#pragma once

#include <utility>

#include "qwq/kernel/panel.hpp"

namespace qwq::kernel::detail {

/// Tile of accumulators: rows x batches. 16 of them hide the latency of multiply-adds with AVX-512, 8 elsewhere, and
/// leave each machine registers for what they are multiplied from.
template <class Arch> inline constexpr int tile_m = simd::detail::lanes_512<Arch> ? 8 : 4;
inline constexpr int tile_batches = 2;

/// Rows and columns of a block of sums, at most, and what lies between the rows of a block of the left side: rows that
/// are a power of two apart would push each other out of the first cache.
inline constexpr std::int64_t block_m = 256, block_n = 256, left_stride = panel_k + 16;

/// Rows in memory that will be the next left side: they are fetched while this one is multiplied.
struct next_rows {
  const std::byte* first = nullptr;  // null: there are none
  std::int64_t row_bytes = 0, element_bytes = 0;
};

/// sums[i, j] (+)= left[i] . panel[j] for M rows and `tile_batches` batches of columns.
template <class Arch, int M>
void multiply_tile(float* sums, std::int64_t stride, const float* left, const float* panel, std::int64_t depth,
                   bool first, const next_rows& next) {
  constexpr std::int64_t line = 16;  // floats
  constexpr std::int64_t width = simd::lanes<Arch>;
  simd::batch<Arch> sum[M][tile_batches];
  QWQ_UNROLL for (int i = 0; i < M; ++i) QWQ_UNROLL for (int v = 0; v < tile_batches; ++v) sum[i][v] =
      first ? simd::batch<Arch>(0.0f) : simd::load<Arch>(sums + i * stride + v * width);
  for (std::int64_t k0 = 0; k0 < depth; k0 += line) {
    if (next.first != nullptr)
      QWQ_UNROLL for (int i = 0; i < M; ++i)
          __builtin_prefetch(next.first + i * next.row_bytes + k0 * next.element_bytes, 0, 2);
    for (std::int64_t k = k0; k < std::min(k0 + line, depth); ++k) {
      simd::batch<Arch> w[tile_batches];
      QWQ_UNROLL for (int v = 0; v < tile_batches; ++v) w[v] = simd::load<Arch>(panel + k * panel_n + v * width);
      QWQ_UNROLL for (int i = 0; i < M; ++i) {
        const simd::batch<Arch> x(left[i * left_stride + k]);
        QWQ_UNROLL for (int v = 0; v < tile_batches; ++v) sum[i][v] = simd::fma<Arch>(x, w[v], sum[i][v]);
      }
    }
  }
  QWQ_UNROLL for (int i = 0; i < M; ++i) QWQ_UNROLL for (int v = 0; v < tile_batches; ++v)
      simd::store<Arch>(sums + i * stride + v * width, sum[i][v]);
}

/// The same for any number of rows.
template <class Arch, int M = tile_m<Arch>>
void multiply_rows(float* sums, std::int64_t stride, const float* left, const float* panel, std::int64_t rows,
                   std::int64_t depth, bool first, next_rows next) {
  for (; rows >= M; rows -= M, sums += M * stride, left += M * left_stride) {
    multiply_tile<Arch, M>(sums, stride, left, panel, depth, first, next);
    if (next.first != nullptr) next.first += M * next.row_bytes;
  }
  if constexpr (M > 1)
    if (rows > 0) multiply_rows<Arch, M / 2>(sums, stride, left, panel, rows, depth, first, next);
}

/// Memory of one product of blocks, on the stack of the thread that works.
struct block_store {
  alignas(64) float left[block_m * left_stride];
  alignas(64) float panel[panel_k * panel_n];
};

/// What multiply_blocks copies after the part of rows [i0, i1) that begins at k: their next part, or the first of the
/// rows below.
template <class T>
next_rows rows_after(const matrix_view<T>& x, std::int64_t i0, std::int64_t i1, std::int64_t k) {
  const bool last = k + panel_k >= x.cols;
  if (last && i1 + (i1 - i0) > x.rows) return {};
  return {reinterpret_cast<const std::byte*>(last ? x.row(i1) : x.row(i0) + k + panel_k),
          x.row_stride * std::int64_t{sizeof(T)}, sizeof(T)};
}
template <int Bits>
next_rows rows_after(const packed_weight<Bits>&, std::int64_t, std::int64_t, std::int64_t) {
  return {};
}

/// sums[i - i0, j - j0] = x[i] . w[j] for rows [i0, i1) of x, block_m at most, and outputs [j0, j1) of w; j0 is a
/// multiple of panel_n. `x` is anything with rows (weight_row.hpp), `w` with panels (panel.hpp). Columns of `sums` up
/// to the next multiple of panel_n are written too.
template <class Arch, class X, class W>
void multiply_blocks(float* sums, std::int64_t stride, const X& x, std::int64_t i0, std::int64_t i1, const W& w,
                     std::int64_t j0, std::int64_t j1, block_store& store) {
  constexpr std::int64_t tile_n = tile_batches * simd::lanes<Arch>;
  for (std::int64_t k0 = 0; k0 == 0 || k0 < x.cols; k0 += panel_k) {
    const std::int64_t depth = std::min(panel_k, x.cols - k0);
    for (std::int64_t i = i0; i < i1; ++i) {
      const auto row = weight_row(x, i);
      simd::strips<Arch>(depth, [&](std::int64_t k, auto count) {
        simd::store<Arch>(store.left + (i - i0) * left_stride + k, row.template at<Arch>(k0 + k, count), count);
      });
    }
    next_rows next = rows_after(x, i0, i1, k0);
    for (std::int64_t j = j0; j < j1; j += panel_n) {
      make_panel<Arch>(store.panel, w, j, k0, depth);
      for (std::int64_t v = 0; v < panel_n && j + v < j1; v += tile_n)
        multiply_rows<Arch>(sums + j - j0 + v, stride, store.left, store.panel + v, i1 - i0, depth, k0 == 0,
                            std::exchange(next, {}));
    }
  }
}

}  // namespace qwq::kernel::detail
