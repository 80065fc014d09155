// SPDX-License-Identifier: Apache-2.0
// Defines GEMM of rows and a panel, in register tiles.
#pragma once

#include <utility>

#include "qwq/kernel/panel.hpp"

namespace qwq::kernel::detail {

/// Tile of accumulators: rows x batches. A wide tile needs fewest loads per multiply-add; two or four batches leave
/// registers for the operands.
inline constexpr int row_tile = 6;
template <class Arch>
inline constexpr int most_batches = simd::detail::lanes_512<Arch> || std::is_base_of_v<xsimd::neon64, Arch> ? 4 : 2;

/// MC: rows per strip. Row pitch of the converted A panel, padded off a power of two to avoid L1 set conflicts.
inline constexpr std::int64_t strip_m = 32 * row_tile, left_stride = right_k + 16;

/// Maximum number of rows whose accumulators are kept across panels along K: as many as fit in L2 next to a panel.
template <class Arch>
inline constexpr std::int64_t kept_m = (simd::detail::lanes_512<Arch> ? 176 : 88) * row_tile;

/// Work buffers for one panel, on the stack of the executing thread.
template <class Arch>
struct panel_store {
  alignas(64) float panel[right_k * right_n];
  alignas(64) float sums[kept_m<Arch> * right_n];
  alignas(64) float left[row_tile * left_stride];
  alignas(64) float turned[16 * (strip_m + 16)];
};

/// The left rows as floats, and the address of rows that will be read soon, to prefetch them.
struct left_rows {
  const float* data;
  std::int64_t stride;
  const std::byte* next;  ///< null: none
  std::int64_t next_stride, element_bytes;
};

/// Float rows are used in place.
template <class Arch, class X>
left_rows read_left(const X& x, std::int64_t i, std::int64_t, std::int64_t k0, std::int64_t,
                    float*) requires std::is_convertible_v<X, matrix_view<const float>> {
  const std::int64_t next = i + 2 * row_tile;
  return {x.row(i) + k0, x.row_stride,
          next + row_tile <= x.rows ? reinterpret_cast<const std::byte*>(x.row(next) + k0) : nullptr, x.row_stride * 4,
          4};
}
/// Other types are converted into `memory`.
template <class Arch, class X>
left_rows read_left(const X& x, std::int64_t i, std::int64_t rows, std::int64_t k0, std::int64_t depth, float* memory) {
  for (std::int64_t r = 0; r < rows; ++r) {
    const auto row = weight_row(x, i + r);
    simd::strips<Arch>(depth, [&](std::int64_t k, auto count) {
      simd::store<Arch>(memory + r * left_stride + k, row.template at<Arch>(k0 + k, count), count);
    });
  }
  left_rows left{memory, left_stride, nullptr, 0, 0};
  if constexpr (requires { x.row_stride; })
    if (const std::int64_t next = i + 2 * row_tile; next + row_tile <= x.rows) {
      left.element_bytes = sizeof(*x.data);
      left.next = reinterpret_cast<const std::byte*>(x.row(next) + k0);
      left.next_stride = x.row_stride * left.element_bytes;
    }
  return left;
}

/// sums[i, j] (+)= left[i] . panel[j] for M rows and V batches of columns.
template <class Arch, int M, int V>
void multiply_tile(float* sums, const left_rows& left, const float* panel, std::int64_t depth, bool first) {
  constexpr std::int64_t line = 16;  // floats
  constexpr std::int64_t width = simd::lanes<Arch>;
  simd::batch<Arch> sum[M][V];
  QWQ_UNROLL for (int i = 0; i < M; ++i) QWQ_UNROLL for (int v = 0; v < V; ++v) sum[i][v] =
      first ? simd::batch<Arch>(0.0f) : simd::load<Arch>(sums + i * right_n + v * width);
  for (std::int64_t k0 = 0; k0 < depth; k0 += line) {
    if (left.next != nullptr)
      QWQ_UNROLL for (int i = 0; i < M; ++i)
          __builtin_prefetch(left.next + i * left.next_stride + k0 * left.element_bytes, 0, 2);
    for (std::int64_t k = k0; k < std::min(k0 + line, depth); ++k) {
      simd::batch<Arch> w[V];
      QWQ_UNROLL for (int v = 0; v < V; ++v) {
        const float* const from = panel + k * right_n + v * width;
        w[v] = simd::load<Arch>(from);
        if (v * width % line == 0) __builtin_prefetch(from + 4 * right_n);
      }
      QWQ_UNROLL for (int i = 0; i < M; ++i) {
        const simd::batch<Arch> x(left.data[i * left.stride + k]);
        QWQ_UNROLL for (int v = 0; v < V; ++v) sum[i][v] = simd::fma<Arch>(x, w[v], sum[i][v]);
      }
    }
  }
  QWQ_UNROLL for (int i = 0; i < M; ++i) QWQ_UNROLL for (int v = 0; v < V; ++v)
      simd::store<Arch>(sums + i * right_n + v * width, sum[i][v]);
}

/// As above for any number of columns; columns up to the next whole batch are also written.
template <class Arch, int M, int V = most_batches<Arch>>
void multiply_columns(float* sums, left_rows left, const float* panel, std::int64_t columns, std::int64_t depth,
                      bool first) {
  constexpr std::int64_t tile = V * simd::lanes<Arch>, fewer = tile - simd::lanes<Arch>;
  for (; columns > fewer; columns -= tile, sums += tile, panel += tile) {
    multiply_tile<Arch, M, V>(sums, left, panel, depth, first);
    left.next = nullptr;
  }
  if constexpr (V > 1)
    if (columns > 0) multiply_columns<Arch, M, V - 1>(sums, left, panel, columns, depth, first);
}

/// As above for rows [i0, i1) of x, from k0 on.
template <class Arch, int M = row_tile, class X>
void multiply_rows(float* sums, const X& x, std::int64_t i0, std::int64_t i1, std::int64_t k0, std::int64_t columns,
                   std::int64_t depth, panel_store<Arch>& store) {
  std::int64_t i = i0;
  for (; i + M <= i1; i += M)
    multiply_columns<Arch, M>(sums + (i - i0) * right_n, read_left<Arch>(x, i, M, k0, depth, store.left), store.panel,
                              columns, depth, k0 == 0);
  if constexpr (M > 1)
    if (i < i1) multiply_rows<Arch, M - 1>(sums + (i - i0) * right_n, x, i, i1, k0, columns, depth, store);
}

/// Calls f(i, rows, sums) with sums[r, j - j0] = x[i + r] . w[j] for strips of the rows [i0, i1) of x and for outputs
/// [j0, j1) of w. If one panel does not hold all of K, there must be at most kept_m rows; at most right_n outputs, and
/// j0 a multiple of right_n. `x` is any type with rows (weight_row.hpp), `w` any type with panels (panel.hpp).
template <class Arch, class X, class W, class F>
void multiply_panel(const X& x, std::int64_t i0, std::int64_t i1, const W& w, std::int64_t j0, std::int64_t j1,
                    panel_store<Arch>& store, F&& f) {
  for (std::int64_t k0 = 0; k0 == 0 || k0 < x.cols; k0 += right_k) {
    const std::int64_t depth = std::min(right_k, x.cols - k0);
    make_panel<Arch>(store.panel, w, j0, k0, depth);
    for (std::int64_t i = i0; i < i1; i += strip_m) {
      const std::int64_t rows = std::min(strip_m, i1 - i);
      float* const sums = store.sums + (x.cols > right_k ? i - i0 : 0) * right_n;
      multiply_rows<Arch>(sums, x, i, i + rows, k0, j1 - j0, depth, store);
      if (k0 + depth == x.cols) f(i, rows, sums);
    }
  }
}

}  // namespace qwq::kernel::detail
