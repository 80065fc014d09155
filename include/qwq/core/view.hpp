// SPDX-License-Identifier: Apache-2.0
// Defines `matrix_view`, a view of a row-major matrix.
#pragma once

#include <cstdint>
#include <span>
#include <type_traits>

namespace qwq {

/// Non-owning view of `rows` x `cols` elements; row i starts at `data + i * row_stride` (a stride in elements).
template <class T>
struct matrix_view {
  T* data = nullptr;      ///< First element.
  std::int64_t rows = 0,  ///< Number of rows.
      cols = 0,           ///< Number of columns.
      row_stride = 0;     ///< Elements from one row to the next.

  /// An empty view.
  constexpr matrix_view() = default;
  /// A view of contiguous rows.
  constexpr matrix_view(T* first, std::int64_t row_count, std::int64_t col_count)
      : matrix_view(first, row_count, col_count, col_count) {}
  /// A view of rows that start `stride` elements apart.
  constexpr matrix_view(T* first, std::int64_t row_count, std::int64_t col_count, std::int64_t stride)
      : data(first), rows(row_count), cols(col_count), row_stride(stride) {}

  /// First element of row i.
  constexpr T* row(std::int64_t i) const { return data + i * row_stride; }
  /// Elements of row i.
  constexpr std::span<T> span(std::int64_t i) const { return {row(i), static_cast<std::size_t>(cols)}; }
  /// Element j of row i.
  constexpr T& operator()(std::int64_t i, std::int64_t j) const { return row(i)[j]; }
  /// Rows [first, first + count).
  constexpr matrix_view rows_from(std::int64_t first, std::int64_t count) const {
    return {row(first), count, cols, row_stride};
  }
  /// Columns [first, first + count).
  constexpr matrix_view cols_from(std::int64_t first, std::int64_t count) const {
    return {data + first, rows, count, row_stride};
  }

  /// Converts to a view of const elements.
  constexpr operator matrix_view<const T>() const requires(!std::is_const_v<T>) {
    return {data, rows, cols, row_stride};
  }
};

}  // namespace qwq
