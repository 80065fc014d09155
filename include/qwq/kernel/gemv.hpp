// SPDX-License-Identifier: Apache-2.0
// Defines GEMV of one row of f32 activations and a weight, limited by memory bandwidth.
#pragma once

#include "qwq/kernel/simd_dequantize.hpp"
#include "qwq/kernel/simd_stream.hpp"
#include "qwq/kernel/weight_row.hpp"

namespace qwq::kernel::detail {

/// sums[j * apart] = x . w[j0 + j * apart] for N rows of a float weight.
template <class Arch, int N, class T>
void dot_rows(float* sums, const float* x, const matrix_view<T>& w, std::int64_t j0, std::int64_t apart) {
  simd::batch<Arch> sum[N];
  QWQ_UNROLL for (int j = 0; j < N; ++j) sum[j] = simd::batch<Arch>(0.0f);
  const auto add = [&](std::int64_t k, auto count) QWQ_INLINE {
    const auto v = simd::load<Arch>(x + k, count);
    QWQ_UNROLL for (int j = 0; j < N; ++j) {
      const auto* const from = w.row(j0 + j * apart) + k;
      fetch_ahead(from, k);
      sum[j] = simd::fma<Arch>(v, simd::load<Arch>(from, count), sum[j]);
    }
  };
  std::int64_t k = 0;
  for (; k + simd::lanes<Arch> <= w.cols; k += simd::lanes<Arch>) add(k, simd::whole{});
  if (k < w.cols) add(k, w.cols - k);
  QWQ_UNROLL for (int j = 0; j < N; ++j) sums[j * apart] = simd::reduce_add<Arch>(sum[j]);
}

/// sums[j - j0] = x . w[j] for outputs [j0, j1): interleaved from four runs of rows, because prefetchers follow each
/// memory page separately. Runs have an odd number of rows: a distance of a power of two is slower.
template <class Arch, class T>
void multiply_row(float* sums, const float* x, const matrix_view<T>& w, std::int64_t j0, std::int64_t j1) {
  const std::int64_t count = j1 - j0, run = count < 4 ? 0 : (count / 4 - 1) | 1;
  std::int64_t j = 4 * run;
  for (std::int64_t i = 0; i < run; ++i) dot_rows<Arch, 4>(sums + i, x, w, j0 + i, run);
  for (; j + 4 <= count; j += 4) dot_rows<Arch, 4>(sums + j, x, w, j0 + j, 1);
  for (; j < count; ++j) dot_rows<Arch, 1>(sums + j, x, w, j0 + j, 1);
}

/// Software prefetch distance of codes, in bytes: for such a slow stream the hardware prefetches too little.
inline constexpr std::int64_t fetched_ahead = 4096;

/// sums[p, V batches] = x . outputs from `first` on of P adjacent panels.
template <class Arch, int P, int V, int Bits>
void multiply_panels(float* sums, const float* x, const packed_weight<Bits>& w, const std::byte* panel,
                     std::int64_t first) {
  using packed = packed_weight<Bits>;
  constexpr std::int64_t width = simd::lanes<Arch>;
  constexpr int chains = std::max(8 / (P * V), 1);  // to overlap latencies
  const std::int64_t panel_bytes = w.panel_bytes();
  simd::batch<Arch> total[P][V];
  QWQ_UNROLL for (int p = 0; p < P; ++p) QWQ_UNROLL for (int v = 0; v < V; ++v) total[p][v] = simd::batch<Arch>(0.0f);
  for (std::int64_t k = 0; k < w.cols; k += w.block, panel += w.block_bytes()) {
    simd::batch<Arch> sum[P][V][chains];
    QWQ_UNROLL for (int p = 0; p < P; ++p) QWQ_UNROLL for (int v = 0; v < V; ++v)
        QWQ_UNROLL for (int c = 0; c < chains; ++c) sum[p][v][c] = simd::batch<Arch>(0.0f);
    const std::byte* codes = panel + packed::scale_bytes + first * 4;
    const auto add_words = [&](const float* at) QWQ_INLINE {
      QWQ_UNROLL for (int p = 0; p < P; ++p) QWQ_UNROLL for (int v = 0; v < V; ++v) {
        const std::byte* const from = codes + p * panel_bytes + v * width * 4;
        const auto word = simd::prepare_codes<Arch, Bits>(simd::load_words<Arch>(from));
        if (v * width % 16 == 0) __builtin_prefetch(from + fetched_ahead);
        [&]<int... I>(std::integer_sequence<int, I...>) QWQ_INLINE {
          ((sum[p][v][I % chains] = simd::fma<Arch>(
                simd::batch<Arch>(at[I]), simd::code_at<Arch, Bits, packed::shift(I)>(word), sum[p][v][I % chains])),
           ...);
        }
        (std::make_integer_sequence<int, int{packed::per_word}>{});
      }
      codes += panel_n * 4;
    };
    const std::int64_t end = std::min(k + w.block, w.cols);
    std::int64_t i = k;
    for (; i + packed::per_word <= end; i += packed::per_word) add_words(x + i);
    if (i < end) {
      float rest[packed::per_word] = {};
      std::copy_n(x + i, end - i, rest);
      add_words(rest);
    }
    QWQ_UNROLL for (int p = 0; p < P; ++p) QWQ_UNROLL for (int v = 0; v < V; ++v) {
      QWQ_UNROLL for (int c = 1; c < chains; ++c) sum[p][v][0] = sum[p][v][0] + sum[p][v][c];
      const auto scale = simd::load<Arch>(reinterpret_cast<const float*>(panel + p * panel_bytes) + first + v * width);
      total[p][v] = simd::fma<Arch>(sum[p][v][0], scale, total[p][v]);
    }
  }
  QWQ_UNROLL for (int p = 0; p < P; ++p) QWQ_UNROLL for (int v = 0; v < V; ++v)
      simd::store<Arch>(sums + p * panel_n + v * width, total[p][v]);
}

/// Calls f(integral_constant P, j) for the panels from output j0 to j1, P at a time: the hardware prefetches more from
/// several streams than from one.
template <class Arch, class F>
void for_each_panel_group(std::int64_t j0, std::int64_t j1, F&& f) {
  std::int64_t j = j0;
  if constexpr (simd::detail::lanes_512<Arch>)
    for (; j + 3 * panel_n < j1; j += 4 * panel_n) f(std::integral_constant<int, 4>{}, j);
  for (; j < j1; j += panel_n) f(std::integral_constant<int, 1>{}, j);
}

/// GEMV of a packed weight; j0 is a multiple of panel_n, and sums up to the next multiple of it are also written.
template <class Arch, int Bits>
void multiply_row(float* sums, const float* x, const packed_weight<Bits>& w, std::int64_t j0, std::int64_t j1) {
  constexpr int batches = std::min<int>(panel_n / simd::lanes<Arch>, 4);
  for_each_panel_group<Arch>(j0, j1, [&]<int P>(std::integral_constant<int, P>, std::int64_t j) {
    for (std::int64_t v = 0; v < panel_n; v += batches * simd::lanes<Arch>)
      multiply_panels<Arch, P, batches>(sums + j - j0 + v, x, w, w.panel(j / panel_n), v);
  });
}

}  // namespace qwq::kernel::detail
