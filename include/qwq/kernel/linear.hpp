// SPDX-License-Identifier: Apache-2.0
// Products of f32 activations with a weight in any form that weight_row.hpp reads, and with each other.
#pragma once

#include "qwq/core/parallel.hpp"
#include "qwq/kernel/weight_row.hpp"

namespace qwq::kernel {

namespace detail {

/// Tile of accumulators that fits the registers: 32 of them with AVX-512, 16 elsewhere.
template <class Arch> inline constexpr int tile_m = simd::detail::lanes_512<Arch> ? 4 : 3;
template <class Arch> inline constexpr int tile_n = simd::detail::lanes_512<Arch> ? 6 : 4;

/// Outputs per task, activation rows that are swept while the weights of a task are in cache, and the weight elements
/// that `linear_columns` converts at a time. The first two are multiples of both tiles as far as that matters.
inline constexpr std::int64_t task_n = 96, block_m = 96, block_k = 256;

/// y[i, j] = x[i] . w[j] for an M x N tile.
template <class Arch, int M, int N, class W>
void dot_tile(matrix_view<float> y, matrix_view<const float> x, const W& w, std::int64_t i0, std::int64_t j0) {
  using row = decltype(weight_row(w, j0));
  simd::batch<Arch> sum[M][N];
  const float* a[M];
  row b[N];
  QWQ_UNROLL for (int i = 0; i < M; ++i) {
    a[i] = x.row(i0 + i);
    QWQ_UNROLL for (int j = 0; j < N; ++j) sum[i][j] = simd::batch<Arch>(0.0f);
  }
  QWQ_UNROLL for (int j = 0; j < N; ++j) b[j] = weight_row(w, j0 + j);
  simd::strips<Arch>(x.cols, [&](std::int64_t k, auto count) {
    simd::batch<Arch> v[M];
    QWQ_UNROLL for (int i = 0; i < M; ++i) v[i] = simd::load<Arch>(a[i] + k, count);
    QWQ_UNROLL for (int j = 0; j < N; ++j) {
      const auto weight = b[j].template at<Arch>(k, count);
      QWQ_UNROLL for (int i = 0; i < M; ++i) sum[i][j] = simd::fma<Arch>(v[i], weight, sum[i][j]);
    }
  });
  QWQ_UNROLL for (int i = 0; i < M; ++i) QWQ_UNROLL for (int j = 0; j < N; ++j) y(i0 + i, j0 + j) =
      simd::reduce_add<Arch>(sum[i][j]);
}

template <class Arch, int N, class W>
void dot_rows(matrix_view<float> y, matrix_view<const float> x, const W& w, std::int64_t i0, std::int64_t i1,
              std::int64_t j) {
  std::int64_t i = i0;
  for (; i + tile_m<Arch> <= i1; i += tile_m<Arch>) dot_tile<Arch, tile_m<Arch>, N>(y, x, w, i, j);
  for (; i < i1; ++i) dot_tile<Arch, 1, N>(y, x, w, i, j);
}

/// y[j0 + j, c0 + c] (+)= sum over `depth` rows of x, for N outputs and C batches of columns; `w` holds the N x depth
/// weights as f32, block_k apart.
template <class Arch, int N, int C, class Count>
void columns_tile(matrix_view<float> y, matrix_view<const float> x, const float* w, std::int64_t depth, bool first,
                  std::int64_t j0, std::int64_t c0, Count count) {
  constexpr std::int64_t width = simd::lanes<Arch>;
  simd::batch<Arch> sum[N][C];
  QWQ_UNROLL for (int j = 0; j < N; ++j) QWQ_UNROLL for (int c = 0; c < C; ++c) sum[j][c] =
      first ? simd::batch<Arch>(0.0f) : simd::load<Arch>(y.row(j0 + j) + c0 + c * width, count);
  for (std::int64_t k = 0; k < depth; ++k) {
    simd::batch<Arch> v[C];
    QWQ_UNROLL for (int c = 0; c < C; ++c) v[c] = simd::load<Arch>(x.row(k) + c0 + c * width, count);
    QWQ_UNROLL for (int j = 0; j < N; ++j) {
      const simd::batch<Arch> weight(w[j * block_k + k]);
      QWQ_UNROLL for (int c = 0; c < C; ++c) sum[j][c] = simd::fma<Arch>(v[c], weight, sum[j][c]);
    }
  }
  QWQ_UNROLL for (int j = 0; j < N; ++j) QWQ_UNROLL for (int c = 0; c < C; ++c)
      simd::store<Arch>(y.row(j0 + j) + c0 + c * width, sum[j][c], count);
}

template <class Arch, int N, class W>
void columns_rows(matrix_view<float> y, matrix_view<const float> x, const W& w, std::int64_t j0) {
  constexpr std::int64_t width = simd::lanes<Arch>;
  constexpr int wide = simd::detail::lanes_512<Arch> ? 4 : 2;
  float weight[N * block_k];
  for (std::int64_t k0 = 0; k0 < x.rows; k0 += block_k) {
    const std::int64_t depth = std::min(block_k, x.rows - k0);
    for (int j = 0; j < N; ++j) {
      const auto row = weight_row(w, j0 + j);
      simd::strips<Arch>(depth, [&](std::int64_t k, auto count) {
        simd::store<Arch>(weight + j * block_k + k, row.template at<Arch>(k0 + k, count), count);
      });
    }
    const auto part = x.rows_from(k0, depth);
    std::int64_t c = 0;
    for (; c + wide * width <= x.cols; c += wide * width)
      columns_tile<Arch, N, wide>(y, part, weight, depth, k0 == 0, j0, c, simd::whole{});
    for (; c + width <= x.cols; c += width)
      columns_tile<Arch, N, 1>(y, part, weight, depth, k0 == 0, j0, c, simd::whole{});
    if (c < x.cols) columns_tile<Arch, N, 1>(y, part, weight, depth, k0 == 0, j0, c, x.cols - c);
  }
}

/// Calls f(j0, j1) for blocks of outputs, in parallel. The blocks do not depend on the number of threads.
template <class F>
void for_output_blocks(executor& ex, std::int64_t outputs, std::int64_t work, F&& f) {
  const auto tasks = static_cast<std::size_t>((outputs + task_n - 1) / task_n);
  parallel_for(ex, tasks, work, [&](std::size_t task) {
    const std::int64_t j0 = static_cast<std::int64_t>(task) * task_n;
    f(j0, std::min(j0 + task_n, outputs));
  });
}

}  // namespace detail

/// y[m, n] = x[m, k] . w[n, k]^T. `W` is a matrix_view of float, float16 or bfloat16, an int8_weight or a
/// block_weight. The result does not depend on the number of threads. y must not overlap x.
template <class Arch = xsimd::default_arch, class W>
void linear(executor& ex, matrix_view<float> y, matrix_view<const float> x, const W& w) {
  const std::int64_t m = x.rows;
  detail::for_output_blocks(ex, w.rows, w.rows * w.cols * m, [&](std::int64_t j0, std::int64_t j1) {
    constexpr int n = detail::tile_n<Arch>;
    for (std::int64_t i0 = 0; i0 < x.rows; i0 += detail::block_m) {
      const std::int64_t i1 = std::min(i0 + detail::block_m, x.rows);
      std::int64_t j = j0;
      for (; j + n <= j1; j += n) detail::dot_rows<Arch, n>(y, x, w, i0, i1, j);
      for (; j < j1; ++j) detail::dot_rows<Arch, 1>(y, x, w, i0, i1, j);
    }
  });
}

/// The same product on column-major activations, as a 1x1 convolution over [1, k, 1, m] computes it:
/// y[n, m] = w[n, k] . x[k, m]. y must not overlap x.
template <class Arch = xsimd::default_arch, class W>
void linear_columns(executor& ex, matrix_view<float> y, matrix_view<const float> x, const W& w) {
  if (x.cols == 1 && x.row_stride == 1 && y.row_stride == 1)  // one column is one row
    return linear<Arch>(ex, {y.data, 1, y.rows}, matrix_view<const float>{x.data, 1, x.rows}, w);
  const std::int64_t m = x.cols;
  detail::for_output_blocks(ex, w.rows, w.rows * w.cols * m, [&](std::int64_t j0, std::int64_t j1) {
    constexpr int n = detail::tile_n<Arch>;
    std::int64_t j = j0;
    for (; j + n <= j1; j += n) detail::columns_rows<Arch, n>(y, x, w, j);
    for (; j < j1; ++j) detail::columns_rows<Arch, 1>(y, x, w, j);
  });
}

/// y[b] = x[b] . w[b] for each of `batch` pairs of matrices, which stand below each other: x is [batch * m, k], w
/// [batch * k, n] and y [batch * m, n]. y must not overlap x or w.
template <class Arch = xsimd::default_arch>
void matmul(executor& ex, matrix_view<float> y, matrix_view<const float> x, matrix_view<const float> w,
            std::int64_t batch) {
  const std::int64_t m = x.rows / batch, k = w.rows / batch;
  for (std::int64_t b = 0; b < batch; ++b)
    linear_columns<Arch>(ex, y.rows_from(b * m, m), w.rows_from(b * k, k), x.rows_from(b * m, m));
}

}  // namespace qwq::kernel
