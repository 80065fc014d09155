// SPDX-License-Identifier: Apache-2.0
// Defines `dim` and `shape`, with static and named extents, and `tensor_type`, the element type and shape of a value.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string_view>

#include "qwq/core/dtype.hpp"
#include "qwq/core/fixed_string.hpp"
#include "qwq/core/fixed_vector.hpp"

namespace qwq {

/// One extent of a shape. Emitted files keep the name of a named dimension; its extent is then the maximum at run time,
/// for which buffers are planned.
struct dim {
  std::int64_t extent = 1;    ///< Length; for a named dimension, the maximum length.
  std::string_view symbol{};  ///< Name; empty for a fixed extent.
  std::int64_t plus = 0;      ///< Elements in addition to those that `symbol` counts: "sequence_length+3".

  /// A fixed extent of 1.
  constexpr dim() = default;
  /// A fixed extent.
  constexpr dim(std::int64_t e) : extent(e) {}  // NOLINT(google-explicit-constructor): shapes are written {1, S, 64}
  /// A named extent of at most `bound` elements; `more` of them are not counted by the name.
  constexpr dim(std::int64_t bound, std::string_view name, std::int64_t more = 0)
      : extent(bound), symbol(name), plus(more) {}

  constexpr bool named() const { return !symbol.empty(); }  ///< True if the extent has a name.
  /// Compares all members.
  friend constexpr bool operator==(const dim& a, const dim& b) {
    return a.extent == b.extent && a.symbol == b.symbol && a.plus == b.plus;
  }
};

/// Maximum number of dimensions of a shape.
inline constexpr std::size_t max_rank = 5;

/// Up to five dimensions, outermost first.
struct shape : fixed_vector<dim, max_rank> {
  /// True if more than `max_rank` dimensions were given; graphs report such a shape as a problem of its node.
  bool too_long = false;

  /// A scalar: no dimensions.
  constexpr shape() = default;
  /// Dimensions {1, S, 64}, outermost first.
  constexpr shape(std::initializer_list<dim> dims) {
    for (const dim& d : dims)
      if (!try_push_back(d)) too_long = true;
  }

  constexpr const dim& last() const { return back(); }  ///< The innermost dimension.
  /// Number of elements, with named dimensions at their bounds.
  constexpr std::int64_t elements() const {
    std::int64_t n = 1;
    for (const dim& d : *this) n *= d.extent;
    return n;
  }
};

/// A shape as text: "[1,64,1024]", with names for named dimensions.
template <std::size_t N = 48>
constexpr fixed_string<N> to_text(const shape& s) {
  fixed_string<N> out{"["};
  for (std::size_t i = 0; i < s.size(); ++i) {
    if (i > 0) out.append(",");
    if (s[i].named()) {
      out.append(s[i].symbol);
      if (s[i].plus > 0) out.append("+").append(s[i].plus);
    } else {
      out.append(s[i].extent);
    }
  }
  if (s.too_long) out.append(",...");
  return out.append("]");
}

/// Element type and shape of a value.
struct tensor_type {
  dtype type = dtype::f32;  ///< Element type.
  shape dims{};             ///< Shape.
  /// Compares element type and shape.
  friend constexpr bool operator==(const tensor_type& a, const tensor_type& b) {
    return a.type == b.type && a.dims == b.dims;
  }
};

}  // namespace qwq
