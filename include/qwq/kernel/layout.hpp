// SPDX-License-Identifier: Apache-2.0
// Moving elements: copy, transpose, columns of a matrix put together or taken apart.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "qwq/core/view.hpp"

namespace qwq::kernel {

/// y = x, of the same shape.
template <class T>
void copy(matrix_view<T> y, matrix_view<const T> x) {
  for (std::int64_t i = 0; i < x.rows; ++i) std::copy_n(x.row(i), x.cols, y.row(i));
}

/// y[j, i] = x[i, j], tile by tile so that both sides stay in cache. Not in place.
template <class T>
void transpose(matrix_view<T> y, matrix_view<const T> x) {
  constexpr std::int64_t tile = 16;
  for (std::int64_t i0 = 0; i0 < x.rows; i0 += tile)
    for (std::int64_t j0 = 0; j0 < x.cols; j0 += tile)
      for (std::int64_t j = j0; j < std::min(j0 + tile, x.cols); ++j)
        for (std::int64_t i = i0; i < std::min(i0 + tile, x.rows); ++i) y(j, i) = x(i, j);
}

/// The parts side by side; their columns add up to y.cols.
template <class T>
void concat_columns(matrix_view<T> y, std::span<const matrix_view<const T>> parts) {
  std::int64_t first = 0;
  for (const auto& part : parts) {
    copy(y.cols_from(first, part.cols), part);
    first += part.cols;
  }
}

/// Columns [first, first + y.cols) of x.
template <class T>
void slice_columns(matrix_view<T> y, matrix_view<const T> x, std::int64_t first) {
  copy(y, x.cols_from(first, y.cols));
}

}  // namespace qwq::kernel
