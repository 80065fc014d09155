// SPDX-License-Identifier: Apache-2.0
// Defines `number_format`, the storage format of a quantized tensor, and `tensor_format`, a format with a convention.
#pragma once

#include <concepts>
#include <cstdint>

#include "qwq/core/dtype.hpp"

namespace qwq {

/// Element type and scale layout of a tensor. The default is f32, which is not quantized. Formats are values and can be
/// compared. How scales are computed from values depends on the ecosystem; that is the convention, a type
/// (`tensor_format`).
struct number_format {
  dtype element = dtype::f32;  ///< Type of codes; f32: the tensor is not quantized.
  bool symmetric = true;       ///< True if there are no zero points.
  /// Elements along a row that share a scale; 0: one scale per row or per tensor, as the user chooses.
  std::int32_t block = 0;
  std::int32_t block_rows = 1;  ///< Rows that a block spans.
  dtype scale = dtype::f32;     ///< Type in which scales are stored: f32, f8e4m3 or f8e8m0.
  bool global_scale = false;    ///< True if an additional f32 scale per tensor multiplies the block scales.
  bool dynamic = false;         ///< True if scales are computed from the values of each run, instead of by calibration.
  dtype then = dtype::f32;      ///< Type to which dequantized values are rounded in a second stage (W4A8: f8e4m3).

  /// True if all members are equal.
  constexpr bool operator==(const number_format&) const = default;

  /// True if elements are stored as codes.
  constexpr bool quantizes() const { return element != dtype::f32; }
  /// True if elements are integers with f32 scales that are known before a run, without blocks of several rows, global
  /// scales or a second stage.
  constexpr bool is_static_integer() const {
    return !is_floating_point(element) && block_rows == 1 && scale == dtype::f32 && !global_scale && !dynamic &&
           then == dtype::f32;
  }
};

/// A number format and the convention that computes its scales and codes, as a type.
template <class F>
concept tensor_format = requires {
  { F::value } -> std::convertible_to<number_format>;
  typename F::convention;
};

}  // namespace qwq
