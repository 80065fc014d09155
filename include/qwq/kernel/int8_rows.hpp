// SPDX-License-Identifier: Apache-2.0
// Defines `int8_rows`, activations that are quantized to int8 at run time for GEMMs with packed weights.
#pragma once

#include <limits>

#include "qwq/core/parallel.hpp"
#include "qwq/kernel/norm.hpp"
#include "qwq/kernel/packed_weight.hpp"
#include "qwq/kernel/simd_reduce.hpp"

namespace qwq::kernel {

/// Rows of activations as int8 codes, with a scale for each row and `block` elements, the blocks of the weight. The
/// caller owns the memory.
struct int8_rows {
  // Extents, and elements per block.
  std::int64_t rows = 0,  ///< Number of rows.
      cols = 0,           ///< Elements per row.
      block = 0;          ///< Elements that share a scale.
  /// Bytes of a row of codes: whole blocks, padded with zeros; an odd number of cache lines.
  std::int64_t row_bytes = 0;
  std::int8_t* codes = nullptr;  ///< The codes.
  float* scales = nullptr;       ///< [rows, blocks].
  std::int32_t* sums = nullptr;  ///< Sums of the codes of each block, [rows, blocks].

  /// Blocks per row.
  constexpr std::int64_t blocks() const { return (cols + block - 1) / block; }
  /// The value of `row_bytes`.
  static constexpr std::int64_t row_size(std::int64_t cols, std::int64_t block) {
    return (((cols + block - 1) / block * block + 63) / 64 | 1) * 64;
  }
  /// Size of the memory that the constructor needs.
  static constexpr std::size_t bytes(std::int64_t rows, std::int64_t cols, std::int64_t block) {
    return static_cast<std::size_t>(rows * (row_size(cols, block) + (cols + block - 1) / block * 8));
  }
  /// Makes rows in `bytes(...)` bytes of the caller's memory.
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

/// 127 / largest; 0 if a block is zero or not finite.
template <class Arch>
simd::batch<Arch> inverse_scale(simd::batch<Arch> largest) {
  const simd::batch<Arch> zero(0.0f), infinity(std::numeric_limits<float>::infinity());
  return xsimd::select((largest > zero) & (largest < infinity), simd::batch<Arch>(127.0f) / largest, zero);
}
/// The scale for `largest`. Adding `total` gives NaN if a code is NaN: the maximum alone can lose a NaN.
template <class T>
T scale_of(T largest, T total) {
  return largest / T(127.0f) + total * T(0.0f);
}

/// A row of floats, with the interface of `normed_row`.
template <class Arch>
struct plain_row {
  const float* x;
  template <class Count>
  simd::batch<Arch> operator()(std::int64_t k, Count count) const {
    return simd::load<Arch>(x + k, count);
  }
};

/// Maximum magnitude of elements [first, first + count) of a row.
template <class Arch, class Row>
float largest_magnitude(const Row& x, std::int64_t first, std::int64_t count) {
  return simd::reduce_max<Arch>(simd::fold<Arch>(
      count, simd::batch<Arch>(0.0f),
      [&](simd::batch<Arch> a, std::int64_t i, auto n)
          QWQ_INLINE { return xsimd::max(a, xsimd::abs(x(first + i, n))); },
      [](simd::batch<Arch> a, simd::batch<Arch> b) { return xsimd::max(a, b); }));
}

/// Stores the code of each lane and adds it to `total`: exact, as integers below 2^24 for blocks of 2^17 elements.
template <class Arch, class Count>
simd::batch<Arch> quantize_batch(std::int8_t* codes, simd::batch<Arch> x, Count count, simd::batch<Arch> inverse,
                                 simd::batch<Arch> total) {
  const auto code = xsimd::nearbyint(x * inverse);
  simd::store<Arch>(codes, code, count);
  return total + code;
}

/// Quantizes one block: elements [first, first + count) of a row.
template <class Arch, class Row>
void quantize_block(std::int8_t* codes, float& scale, std::int32_t& sum, const Row& x, std::int64_t first,
                    std::int64_t count) {
  const float largest = largest_magnitude<Arch>(x, first, count);
  const auto inverse = inverse_scale<Arch>(simd::batch<Arch>(largest));
  simd::batch<Arch> lanes(0.0f);
  simd::strips<Arch>(count, [&](std::int64_t i, auto n) QWQ_INLINE {
    lanes = quantize_batch<Arch>(codes + i, x(first + i, n), n, inverse, lanes);
  });
  const float total = simd::reduce_add<Arch>(lanes);
  scale = scale_of(largest, total);
  sum = total == total ? static_cast<std::int32_t>(total) : 0;
}

/// Quantizes as many whole blocks as a batch has lanes: values per block are computed one per lane.
template <class Arch, class Row>
void quantize_blocks(std::int8_t* codes, float* scales, std::int32_t* sums, const Row& x, std::int64_t first,
                     std::int64_t block) {
  constexpr std::int64_t count = simd::lanes<Arch>;
  simd::batch<Arch> lanes[count], quads[count / 4];
  for (std::int64_t b = 0; b < count; ++b) {
    simd::batch<Arch> most(0.0f);
    for (std::int64_t i = b * block; i < (b + 1) * block; i += count)
      most = xsimd::max(most, xsimd::abs(x(first + i, simd::whole{})));
    lanes[b] = most;
  }
  const simd::batch<Arch> largest = simd::reduce_max_each<Arch>(lanes);
  float inverse[count];
  simd::store<Arch>(inverse, inverse_scale<Arch>(largest));
  for (std::int64_t b = 0; b < count; ++b) {
    simd::batch<Arch> total(0.0f);
    for (std::int64_t i = b * block; i < (b + 1) * block; i += count)
      total = quantize_batch<Arch>(codes + i, x(first + i, simd::whole{}), simd::whole{}, simd::batch<Arch>(inverse[b]),
                                   total);
    lanes[b] = total;
  }
  for (std::int64_t q = 0; q < count / 4; ++q)
    quads[q] = simd::add_quads<Arch>(lanes[4 * q], lanes[4 * q + 1], lanes[4 * q + 2], lanes[4 * q + 3]);
  const simd::batch<Arch> total = simd::add_parts<Arch>(quads);
  simd::store<Arch>(scales, scale_of(largest, total));
  xsimd::to_int(xsimd::select(total == total, total, simd::batch<Arch>(0.0f))).store_unaligned(sums);
}

/// Quantizes the rows that row(i) returns, in parallel. An element costs about as much as 4 multiply-adds.
template <class Arch, class Rows>
void quantize_each(executor& ex, const int8_rows& y, Rows&& row) {
  parallel_for(ex, static_cast<std::size_t>(y.rows), 4 * y.rows * y.cols, [&](std::size_t task) {
    const auto i = static_cast<std::int64_t>(task);
    const auto x = row(i);
    std::int8_t* const codes = y.codes + i * y.row_bytes;
    std::int64_t b = 0;
    if (y.block % simd::lanes<Arch> == 0)
      for (; (b + simd::lanes<Arch>)*y.block <= y.cols; b += simd::lanes<Arch>) {
        const std::int64_t first = b * y.block, at = i * y.blocks() + b;
        quantize_blocks<Arch>(codes + first, y.scales + at, y.sums + at, x, first, y.block);
      }
    for (; b < y.blocks(); ++b) {
      const std::int64_t first = b * y.block, at = i * y.blocks() + b;
      quantize_block<Arch>(codes + first, y.scales[at], y.sums[at], x, first, std::min(y.block, y.cols - first));
    }
    std::fill(codes + y.cols, codes + y.row_bytes, std::int8_t{0});
  });
}

}  // namespace detail

/// Quantizes x to codes in [-127, 127]: round(x * 127 / max|x|) for each block, as MatMulNBits does at accuracy level
/// 4. A block that is not finite has scale NaN, and so its GEMM results are NaN.
template <class Arch = xsimd::default_arch>
void quantize_rows(executor& ex, const int8_rows& y, matrix_view<const float> x) {
  detail::quantize_each<Arch>(ex, y, [&](std::int64_t i) { return detail::plain_row<Arch>{x.row(i)}; });
}

/// Quantizes rms_norm(x, weight, eps), to the same codes as in two steps.
template <class Arch = xsimd::default_arch>
void quantize_normed_rows(executor& ex, const int8_rows& y, matrix_view<const float> x, std::span<const float> weight,
                          float eps) {
  detail::quantize_each<Arch>(ex, y, [&](std::int64_t i) { return detail::normed_row<Arch>(x.row(i), weight, eps); });
}

}  // namespace qwq::kernel
