// SPDX-License-Identifier: Apache-2.0
// Panels: what stands on the right of a product, as f32 [k, panel_n], made from the form in which it is stored.
#pragma once

#include "qwq/kernel/simd_codes.hpp"
#include "qwq/kernel/simd_transpose.hpp"
#include "qwq/kernel/weight_row.hpp"

namespace qwq::kernel::detail {

/// Elements along K that a panel has at most: 32 KB of floats, which stay in the first cache.
inline constexpr std::int64_t panel_k = 256;

/// The columns of a matrix [k, n] as outputs.
struct columns_of {
  matrix_view<const float> matrix;
  std::int64_t outputs() const { return matrix.cols; }
};
/// The rows of a matrix [n, k] as outputs.
struct rows_of {
  matrix_view<const float> matrix;
  std::int64_t outputs() const { return matrix.rows; }
};

// make_panel: panel[k, j] = weight of output j0 + j for input k0 + k, for k in [0, depth) and the outputs that there are.
// j0 is a multiple of panel_n, k0 of panel_k; `panel` holds panel_k * panel_n floats.

template <class Arch>
void make_panel(float* panel, const columns_of& w, std::int64_t j0, std::int64_t k0, std::int64_t depth) {
  const std::int64_t count = std::min(panel_n, w.matrix.cols - j0);
  for (std::int64_t k = 0; k < depth; ++k) std::copy_n(w.matrix.row(k0 + k) + j0, count, panel + k * panel_n);
}

template <class Arch>
void make_panel(float* panel, const rows_of& w, std::int64_t j0, std::int64_t k0, std::int64_t depth) {
  simd::transpose<Arch>(panel, panel_n, w.matrix.row(j0) + k0, w.matrix.row_stride,
                        std::min(panel_n, w.matrix.rows - j0), depth);
}

template <class Arch, int Bits>
void make_panel(float* panel, const packed_weight<Bits>& w, std::int64_t j0, std::int64_t k0, std::int64_t depth) {
  using packed = packed_weight<Bits>;
  constexpr std::int64_t width = simd::lanes<Arch>;
  const std::byte* const blocks = w.panel(j0 / panel_n);
  for (std::int64_t k = k0; k < k0 + depth;) {
    const std::byte* const block = blocks + k / w.block * w.block_bytes();
    const std::int64_t inside = k % w.block, end = std::min(k - inside + w.block, k0 + depth);
    const std::byte* codes = block + packed::scale_bytes + inside / packed::per_word * panel_n * 4;
    for (; k < end; k += packed::per_word, codes += panel_n * 4)
      for (std::int64_t j = 0; j < panel_n; j += width) {
        const auto scale = simd::load<Arch>(reinterpret_cast<const float*>(block) + j);
        const auto word = simd::prepare_codes<Arch, Bits>(simd::load_words<Arch>(codes + j * 4));
        float* const to = panel + (k - k0) * panel_n + j;
        [&]<int... I>(std::integer_sequence<int, I...>) QWQ_INLINE {
          (simd::store<Arch>(to + I * panel_n,
                             simd::code_at<Arch, Bits, packed::shift(I)>(word) * scale), ...);
        }(std::make_integer_sequence<int, int{packed::per_word}>{});
      }
  }
}

}  // namespace qwq::kernel::detail
