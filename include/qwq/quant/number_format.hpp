// SPDX-License-Identifier: Apache-2.0
// Defines `number_format`, how the elements of a quantized tensor are stored.
#pragma once

#include <concepts>
#include <cstdint>

#include "qwq/core/dtype.hpp"

namespace qwq {

/// How the elements of a tensor are stored, and which elements share a scale. By default f32, which is not quantized.
/// It is a value that two tensors can be compared by. How scales are computed from values is another matter, on which
/// ecosystems differ: that is the convention, a type (`tensor_format`).
struct number_format {
  dtype element = dtype::f32;  ///< Type of a code; f32: the values themselves.
  bool symmetric = true;       ///< Codes have no zero point.
  /// Elements along a row that share a scale; 0: one scale for each row or for the tensor, as the user chooses.
  std::int32_t block = 0;
  std::int32_t block_rows = 1;  ///< Rows that a block spans.
  dtype scale = dtype::f32;     ///< Type in which scales are stored: f32, f8e4m3 or f8e8m0.
  bool global_scale = false;    ///< A further f32 scale for the tensor multiplies those of blocks.
  bool dynamic = false;         ///< Scales are computed from the values of each run; calibration finds none.
  dtype then = dtype::f32;      ///< Type that dequantized values are rounded to in a second stage (W4A8: f8e4m3).

  constexpr bool operator==(const number_format&) const = default;

  /// Whether elements are codes.
  constexpr bool quantizes() const { return element != dtype::f32; }
  /// Whether elements are integers with f32 scales that are known before a run, and nothing else.
  constexpr bool is_static_integer() const {
    return !is_floating_point(element) && block_rows == 1 && scale == dtype::f32 && !global_scale && !dynamic &&
           then == dtype::f32;
  }
};

/// A number format with the convention by which its scales and codes are computed, as a type.
template <class F>
concept tensor_format = requires {
  { F::value } -> std::convertible_to<number_format>;
  typename F::convention;
};

}  // namespace qwq
