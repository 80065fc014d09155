// SPDX-License-Identifier: Apache-2.0
// Activations that are quantized to int8 while a model runs, for products with packed weights.
#pragma once

#include <cmath>

#include "qwq/core/parallel.hpp"
#include "qwq/kernel/packed_weight.hpp"
#include "qwq/kernel/simd.hpp"

namespace qwq::kernel {

/// Rows of activations as int8 codes, with a scale for each row and `block` elements: those of the weight that they are
/// multiplied with. The memory is the caller's.
struct int8_rows {
  std::int64_t rows = 0, cols = 0, block = 0;
  std::int64_t row_bytes = 0;  ///< of codes: whole blocks, padded with zeros; an odd number of cache lines
  std::int8_t* codes = nullptr;
  float* scales = nullptr;       // [rows, blocks]
  std::int32_t* sums = nullptr;  // of the codes of a block, [rows, blocks]

  constexpr std::int64_t blocks() const { return (cols + block - 1) / block; }
  static constexpr std::int64_t row_size(std::int64_t cols, std::int64_t block) {
    return (((cols + block - 1) / block * block + 63) / 64 | 1) * 64;
  }
  /// Bytes that the constructor takes.
  static constexpr std::size_t bytes(std::int64_t rows, std::int64_t cols, std::int64_t block) {
    return static_cast<std::size_t>(rows * (row_size(cols, block) + (cols + block - 1) / block * 8));
  }
  /// Rows in `bytes(...)` of the caller's memory.
  int8_rows(std::byte* memory, std::int64_t row_count, std::int64_t col_count, std::int64_t block_size)
      : rows(row_count),
        cols(col_count),
        block(block_size),
        row_bytes(row_size(col_count, block_size)),
        codes(reinterpret_cast<std::int8_t*>(memory)),
        scales(reinterpret_cast<float*>(memory + rows * row_bytes)),
        sums(reinterpret_cast<std::int32_t*>(memory + rows * (row_bytes + blocks() * 4))) {}
};

namespace detail {

template <class Arch>
void quantize_block(std::int8_t* codes, float& scale, std::int32_t& sum, const float* x, std::int64_t count) {
  const float largest = simd::reduce_max<Arch>(simd::fold<Arch>(
      count, simd::batch<Arch>(0.0f),
      [&](simd::batch<Arch> a, std::int64_t i, auto n) QWQ_INLINE {
        return xsimd::max(a, xsimd::abs(simd::load<Arch>(x + i, n)));
      },
      [](simd::batch<Arch> a, simd::batch<Arch> b) { return xsimd::max(a, b); }));
  scale = largest / 127.0f;
  const simd::batch<Arch> inverse(largest > 0 && std::isfinite(largest) ? 127.0f / largest : 0.0f);
  simd::batch<Arch> total(0.0f);
  simd::strips<Arch>(count, [&](std::int64_t i, auto n) QWQ_INLINE {
    const auto code = xsimd::nearbyint(simd::load<Arch>(x + i, n) * inverse);
    total = total + code;  // exact: integers below 2^24 for rows of 2^17 elements
    simd::store<Arch>(codes + i, code, n);
  });
  sum = static_cast<std::int32_t>(simd::reduce_add<Arch>(total));
}

}  // namespace detail

/// y = x in codes of [-127, 127]: round(x * 127 / largest magnitude), as MatMulNBits at accuracy level 4 does. A block
/// that is not finite has the scale infinity or NaN, which its products are.
template <class Arch = xsimd::default_arch>
void quantize_rows(executor& ex, const int8_rows& y, matrix_view<const float> x) {
  parallel_for(ex, static_cast<std::size_t>(x.rows), x.rows * x.cols, [&](std::size_t row) {
    const auto i = static_cast<std::int64_t>(row);
    std::int8_t* const codes = y.codes + i * y.row_bytes;
    for (std::int64_t b = 0; b < y.blocks(); ++b) {
      const std::int64_t first = b * y.block, at = i * y.blocks() + b;
      detail::quantize_block<Arch>(codes + first, y.scales[at], y.sums[at], x.row(i) + first,
                                   std::min(y.block, y.cols - first));
    }
    std::fill(codes + y.cols, codes + y.row_bytes, std::int8_t{0});
  });
}

}  // namespace qwq::kernel
