// SPDX-License-Identifier: Apache-2.0
// Activations that are quantized to int8 while a model runs, for products with packed weights.
#pragma once

#include <limits>

#include "qwq/core/parallel.hpp"
#include "qwq/kernel/norm.hpp"
#include "qwq/kernel/packed_weight.hpp"
#include "qwq/kernel/simd_reduce.hpp"

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

/// 127 / largest; 0 for a block that is zero or not finite.
template <class Arch>
simd::batch<Arch> inverse_scale(simd::batch<Arch> largest) {
  const simd::batch<Arch> zero(0.0f), infinity(std::numeric_limits<float>::infinity());
  return xsimd::select((largest > zero) & (largest < infinity), simd::batch<Arch>(127.0f) / largest, zero);
}
/// What `total` adds is 0, or NaN when a code is: a maximum is not, after a NaN.
template <class T>
T scale_of(T largest, T total) {
  return largest / T(127.0f) + total * T(0.0f);
}

/// A row of floats, which gives batches as a normed_row does.
template <class Arch>
struct plain_row {
  const float* x;
  template <class Count>
  simd::batch<Arch> operator()(std::int64_t k, Count count) const {
    return simd::load<Arch>(x + k, count);
  }
};

/// Of elements [first, first + count) of a row.
template <class Arch, class Row>
float largest_magnitude(const Row& x, std::int64_t first, std::int64_t count) {
  return simd::reduce_max<Arch>(simd::fold<Arch>(
      count, simd::batch<Arch>(0.0f),
      [&](simd::batch<Arch> a, std::int64_t i, auto n)
          QWQ_INLINE { return xsimd::max(a, xsimd::abs(x(first + i, n))); },
      [](simd::batch<Arch> a, simd::batch<Arch> b) { return xsimd::max(a, b); }));
}

/// The code of each lane, which is added to `total`: exact, as integers below 2^24 for blocks of 2^17 elements.
template <class Arch, class Count>
simd::batch<Arch> quantize_batch(std::int8_t* codes, simd::batch<Arch> x, Count count, simd::batch<Arch> inverse,
                                 simd::batch<Arch> total) {
  const auto code = xsimd::nearbyint(x * inverse);
  simd::store<Arch>(codes, code, count);
  return total + code;
}

/// One block: elements [first, first + count) of a row.
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

/// As many whole blocks as a batch has lanes: what is computed once for each is a lane.
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

/// Quantizes the rows that row(i) gives, in parallel. An element costs as much as some 4 multiply-adds.
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

/// y = x in codes of [-127, 127]: round(x * 127 / largest magnitude), as MatMulNBits at accuracy level 4 does. A block
/// that is not finite has the scale NaN, which its products are.
template <class Arch = xsimd::default_arch>
void quantize_rows(executor& ex, const int8_rows& y, matrix_view<const float> x) {
  detail::quantize_each<Arch>(ex, y, [&](std::int64_t i) { return detail::plain_row<Arch>{x.row(i)}; });
}

/// The same of rms_norm(x, weight, eps), with the codes that its result would have.
template <class Arch = xsimd::default_arch>
void quantize_normed_rows(executor& ex, const int8_rows& y, matrix_view<const float> x, std::span<const float> weight,
                          float eps) {
  detail::quantize_each<Arch>(ex, y, [&](std::int64_t i) { return detail::normed_row<Arch>(x.row(i), weight, eps); });
}

}  // namespace qwq::kernel
