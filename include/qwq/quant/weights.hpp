// SPDX-License-Identifier: Apache-2.0
// Defines round-to-nearest quantization of weight matrices in two passes over rows, which may be passed in pieces.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "qwq/core/dtype.hpp"
#include "qwq/core/error.hpp"
#include "qwq/core/view.hpp"
#include "qwq/kernel/observe.hpp"
#include "qwq/kernel/quantize.hpp"
#include "qwq/quant/params.hpp"

namespace qwq {

/// Elements that share one scale: the whole matrix, a row (axis 0), or a column (axis 1).
enum class granularity : std::uint8_t { tensor, row, column };

/// `Format` with one scale per row, regardless of the user's choice.
template <class Format>
struct for_each_row : Format {
  /// Granularity that the format requires.
  static constexpr granularity shared = granularity::row;
};

/// Granularity of `Format`: the one that the format requires, or else `chosen`.
template <class Format>
constexpr granularity shared_in(granularity chosen) {
  if constexpr (requires { Format::shared; })
    return Format::shared;
  else
    return chosen;
}

namespace detail {
template <dtype T>
struct code {
  using type = storage_t<T>;
};
template <>
struct code<dtype::i4> {
  using type = std::int8_t;
};
template <>
struct code<dtype::u4> {
  using type = std::uint8_t;
};
}  // namespace detail

/// C++ type of one code; 4-bit codes take one byte each until `kernel::pack_int4` packs two per byte.
template <dtype T>
using code_t = typename detail::code<T>::type;

namespace detail {
/// Range of row `index` of a weight; `tensor` is the weight's name in messages. Throws `error` for NaN or infinity.
inline kernel::extrema finite_range(std::span<const float> row, const std::string& tensor, std::int64_t index) {
  const auto seen = kernel::finite_min_max(row);
  if (!seen) throw error(tensor + ": expected finite values, found NaN or infinity in row " + std::to_string(index));
  return *seen;
}
}  // namespace detail

/// First pass: computes the range of each group of elements that share a scale.
class weight_ranges {
 public:
  /// Ranges of a `rows` x `cols` matrix; `tensor` is its name in messages. Throws `error` if it is empty.
  weight_ranges(std::string tensor, granularity shared, std::int64_t rows, std::int64_t cols)
      : tensor_(std::move(tensor)), shared_(shared), rows_(rows), cols_(cols) {
    if (rows < 1 || cols < 1) throw error(tensor_ + ": expected a matrix with elements, found " + shape(rows, cols));
    const std::int64_t count = shared == granularity::tensor ? 1 : shared == granularity::row ? rows : cols;
    seen_.resize(static_cast<std::size_t>(count));
  }

  /// Adds rows [first_row, first_row + block.rows); each row must be added once, in any order. Throws `error` for NaN
  /// or infinity, and for a block outside the matrix.
  void observe(std::int64_t first_row, matrix_view<const float> block) {
    if (block.cols != cols_ || first_row < 0 || block.rows < 0 || first_row > rows_ - block.rows)
      throw error(tensor_ + ": expected rows of " + shape(rows_, cols_) + ", found " + shape(block.rows, block.cols) +
                  " from row " + std::to_string(first_row));
    for (std::int64_t i = 0; i < block.rows; ++i) {
      const auto row = block.span(i);
      const kernel::extrema seen = detail::finite_range(row, tensor_, first_row + i);
      if (shared_ == granularity::column) {
        for (std::size_t j = 0; j < row.size(); ++j) {
          seen_[j].min = row[j] < seen_[j].min ? row[j] : seen_[j].min;
          seen_[j].max = row[j] > seen_[j].max ? row[j] : seen_[j].max;
        }
      } else {
        auto& all = seen_[shared_ == granularity::row ? static_cast<std::size_t>(first_row + i) : 0];
        all = {std::min(all.min, seen.min), std::max(all.max, seen.max)};
      }
    }
    rows_seen_ += block.rows;
  }

  /// Elements that share a scale.
  granularity shared() const { return shared_; }

  /// One range per scale. Throws `error` if not all rows were added.
  std::vector<range> result() const {
    if (rows_seen_ != rows_)
      throw error(tensor_ + ": expected " + std::to_string(rows_) + " observed rows, found " +
                  std::to_string(rows_seen_));
    std::vector<range> ranges;
    ranges.reserve(seen_.size());
    for (const auto& seen : seen_) ranges.push_back({seen.min, seen.max});
    return ranges;
  }

 private:
  static std::string shape(std::int64_t rows, std::int64_t cols) {
    return std::string("[").append(std::to_string(rows)).append(", ").append(std::to_string(cols)).append("]");
  }

  std::string tensor_;
  granularity shared_;
  std::int64_t rows_, cols_, rows_seen_ = 0;
  std::vector<kernel::extrema> seen_;
};

/// Scales and zero points of a weight in `Format`: one per tensor, row or column.
template <class Format>
struct weight_params {
  granularity shared = granularity::tensor;  ///< Elements that share a scale.
  std::vector<float> scales;                 ///< Scales.
  std::vector<std::int32_t> zero_points;     ///< Zero points, one per scale.

  /// No scales.
  weight_params() = default;
  /// Computes scales and zero points from `ranges`.
  explicit weight_params(const weight_ranges& ranges, float min_real_range = 0, bool reduce_range = false)
      : shared(ranges.shared()) {
    for (const range r : ranges.result()) {
      const qparams p = compute_qparams<Format>(r, min_real_range, reduce_range, shared != granularity::tensor);
      scales.push_back(p.scale);
      zero_points.push_back(p.zero_point);
    }
  }
};

namespace detail {

/// Calls `f` with the parameters of a block of rows, of which the first is row `first_row` of the weight.
template <class Format, class F>
void with_row_params(const weight_params<Format>& p, std::int64_t first_row, std::int64_t rows, F&& f) {
  constexpr auto clip = kernel::full_range(Format::type);
  constexpr auto by = Format::convention::by;
  std::span<const float> scales = p.scales;
  std::span<const std::int32_t> zero_points = p.zero_points;
  if (p.shared == granularity::tensor) return f(kernel::affine{scales[0], zero_points[0], clip, by});
  if (p.shared == granularity::column)
    return f(kernel::channel_affine{scales, zero_points, clip, kernel::channel_axis::column, by});
  const auto first = static_cast<std::size_t>(first_row), count = static_cast<std::size_t>(rows);
  f(kernel::channel_affine{scales.subspan(first, count), zero_points.subspan(first, count), clip,
                           kernel::channel_axis::row, by});
}

}  // namespace detail

/// Second pass: quantizes the rows of `block`, of which the first is row `first_row` of the weight.
template <class Format>
void quantize_rows(matrix_view<code_t<Format::type>> codes, std::type_identity_t<matrix_view<const float>> block,
                   const weight_params<Format>& p, std::int64_t first_row = 0) {
  detail::with_row_params(p, first_row, block.rows, [&](const auto& params) {
    if constexpr (std::is_same_v<decltype(params), const kernel::affine&>)
      for (std::int64_t i = 0; i < block.rows; ++i) kernel::quantize(codes.span(i), block.span(i), params);
    else
      kernel::quantize(codes, block, params);
  });
}

/// Dequantizes rows of codes, of which the first is row `first_row` of the weight.
template <class Format>
void dequantize_rows(matrix_view<float> y, matrix_view<const code_t<Format::type>> codes,
                     const weight_params<Format>& p, std::int64_t first_row = 0) {
  detail::with_row_params(p, first_row, codes.rows, [&](const auto& params) {
    if constexpr (std::is_same_v<decltype(params), const kernel::affine&>)
      for (std::int64_t i = 0; i < codes.rows; ++i) kernel::dequantize(y.span(i), codes.span(i), params);
    else
      kernel::dequantize(y, codes, params);
  });
}

}  // namespace qwq
