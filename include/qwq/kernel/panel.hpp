// SPDX-License-Identifier: Apache-2.0
// Defines panels, the right operand of a GEMM as f32 [k, right_n], converted from its storage format.
#pragma once

#include "qwq/kernel/simd_dequantize.hpp"
#include "qwq/kernel/simd_transpose.hpp"
#include "qwq/kernel/weight_row.hpp"

namespace qwq::kernel::detail {

/// Maximum outputs and elements along K of a panel: a quarter of a megabyte of floats, which stays in L2. Each tile
/// reads it sequentially. Panels that fit in L1 are slower: they divide the left rows into short pieces, and
/// accumulators are stored and loaded between pieces.
inline constexpr std::int64_t right_n = 64, right_k = 1024;

/// The columns of a matrix [k, n] as outputs.
struct columns_of {
  matrix_view<const float> matrix;
};
inline std::int64_t outputs(const columns_of& w) { return w.matrix.cols; }
/// The rows of a matrix [n, k] as outputs.
struct rows_of {
  matrix_view<const float> matrix;
};
inline std::int64_t outputs(const rows_of& w) { return w.matrix.rows; }
template <int Bits>
std::int64_t outputs(const packed_weight<Bits>& w) {
  return w.rows;
}

/// Writes zeros from `count` to the end of the batch: multiplying with leftover data can be slow.
template <class Arch>
void fill_batch(float* panel, std::int64_t count, std::int64_t depth) {
  const std::int64_t over = count % simd::lanes<Arch>;
  if (over == 0) return;
  for (std::int64_t k = 0; k < depth; ++k) std::fill_n(panel + k * right_n + count, simd::lanes<Arch> - over, 0.0f);
}

// make_panel: panel[k, j] = weight of output j0 + j for input k0 + k, for k in [0, depth) and right_n outputs, or as
// many as exist, with zeros up to a whole batch. j0 is a multiple of right_n, k0 of right_k.

template <class Arch>
void make_panel(float* panel, const columns_of& w, std::int64_t j0, std::int64_t k0, std::int64_t depth) {
  const std::int64_t count = std::min(right_n, w.matrix.cols - j0);
  for (std::int64_t k = 0; k < depth; ++k) std::copy_n(w.matrix.row(k0 + k) + j0, count, panel + k * right_n);
  fill_batch<Arch>(panel, count, depth);
}

template <class Arch>
void make_panel(float* panel, const rows_of& w, std::int64_t j0, std::int64_t k0, std::int64_t depth) {
  const std::int64_t count = std::min(right_n, w.matrix.rows - j0);
  simd::transpose<Arch>(panel, right_n, w.matrix.row(j0) + k0, w.matrix.row_stride, count, depth);
  fill_batch<Arch>(panel, count, depth);
}

template <class Arch, int Bits>
void make_panel(float* panel, const packed_weight<Bits>& w, std::int64_t j0, std::int64_t k0, std::int64_t depth) {
  using packed = packed_weight<Bits>;
  constexpr std::int64_t width = simd::lanes<Arch>;
  for (std::int64_t j = j0; j < std::min(j0 + right_n, w.rows); j += panel_n, panel += panel_n) {
    const std::byte* const blocks = w.panel(j / panel_n);
    for (std::int64_t k = k0; k < k0 + depth;) {
      const std::byte* const block = blocks + k / w.block * w.block_bytes();
      const std::int64_t inside = k % w.block, end = std::min(k - inside + w.block, k0 + depth);
      const std::byte* codes = block + packed::scale_bytes + inside / packed::per_word * panel_n * 4;
      for (; k < end; k += packed::per_word, codes += panel_n * 4)
        for (std::int64_t v = 0; v < panel_n; v += width) {
          const auto scale = simd::load<Arch>(reinterpret_cast<const float*>(block) + v);
          const auto word = simd::prepare_codes<Arch, Bits>(simd::load_words<Arch>(codes + v * 4));
          float* const to = panel + (k - k0) * right_n + v;
          [&]<int... I>(std::integer_sequence<int, I...>) QWQ_INLINE {
            (simd::store<Arch>(to + I * right_n, simd::code_at<Arch, Bits, packed::shift(I)>(word) * scale), ...);
          }
          (std::make_integer_sequence<int, int{packed::per_word}>{});
        }
    }
  }
}

}  // namespace qwq::kernel::detail
