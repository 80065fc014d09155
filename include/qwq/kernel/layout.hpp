// SPDX-License-Identifier: Apache-2.0
// Defines kernels that move elements: copy, permute, and concatenation and slicing of columns.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "qwq/core/fixed_vector.hpp"
#include "qwq/core/view.hpp"

namespace qwq::kernel {

/// y = x, of the same shape.
template <class T>
void copy(matrix_view<T> y, matrix_view<const T> x) {
  for (std::int64_t i = 0; i < x.rows; ++i) std::copy_n(x.row(i), x.cols, y.row(i));
}

/// y[i, j] = x[i * row_stride + j * col_stride], in tiles so that both sides stay in cache. Not in place.
template <class T>
void gather(matrix_view<T> y, const T* x, std::int64_t row_stride, std::int64_t col_stride) {
  constexpr std::int64_t tile = 16;
  for (std::int64_t i0 = 0; i0 < y.rows; i0 += tile)
    for (std::int64_t j0 = 0; j0 < y.cols; j0 += tile)
      for (std::int64_t i = i0; i < std::min(i0 + tile, y.rows); ++i)
        for (std::int64_t j = j0; j < std::min(j0 + tile, y.cols); ++j) y(i, j) = x[i * row_stride + j * col_stride];
}

namespace detail {

/// An axis of a traversal of x.
struct walked_axis {
  std::int64_t extent, stride;
};

template <class T>
T* gather_axes(T* y, const T* x, std::span<const walked_axis> axes) {
  const auto [rows, row_stride] = axes[0];
  if (axes.size() > 2) {
    for (std::int64_t i = 0; i < rows; ++i) y = gather_axes(y, x + i * row_stride, axes.subspan(1));
    return y;
  }
  const auto [cols, col_stride] = axes[1];
  const matrix_view<T> block{y, rows, cols};
  if (col_stride == 1)
    copy(block, matrix_view<const T>{x, rows, cols, row_stride});
  else
    gather(block, x, row_stride, col_stride);
  return y + rows * cols;
}

}  // namespace detail

/// Axis i of y is axis perm[i] of x, whose extents are `extents`. Both are dense; not in place.
template <class T>
void permute(T* y, const T* x, std::span<const std::int64_t> extents, std::span<const std::int32_t> perm) {
  fixed_vector<std::int64_t, 5> strides;
  std::int64_t elements = 1;
  for (std::size_t i = 0; i < extents.size(); ++i) strides.push_back(1);
  for (std::size_t i = extents.size(); i-- > 0; elements *= extents[i]) strides[i] = elements;
  fixed_vector<detail::walked_axis, 6> axes{{{{1, 0}}}, 1};  // at least two
  for (const std::int32_t p : perm) {
    const auto from = static_cast<std::size_t>(p);
    if (extents[from] == 1) continue;
    detail::walked_axis& outer = axes[axes.size() - 1];
    if (outer.stride == extents[from] * strides[from])  // adjacent in x too: merged into one axis
      outer = {outer.extent * extents[from], strides[from]};
    else
      axes.push_back({extents[from], strides[from]});
  }
  if (axes.size() == 1) axes.push_back({1, 1});
  detail::gather_axes(y, x, {axes.begin(), axes.end()});
}

/// Concatenates the parts along columns; the sum of their columns must be y.cols.
template <class T>
void concat_columns(matrix_view<T> y, std::span<const matrix_view<const T>> parts) {
  std::int64_t first = 0;
  for (const auto& part : parts) {
    copy(y.cols_from(first, part.cols), part);
    first += part.cols;
  }
}

/// y = columns [first, first + y.cols) of x.
template <class T>
void slice_columns(matrix_view<T> y, matrix_view<const T> x, std::int64_t first) {
  copy(y, x.cols_from(first, y.cols));
}

}  // namespace qwq::kernel
