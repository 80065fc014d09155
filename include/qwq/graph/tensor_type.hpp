// SPDX-License-Identifier: Apache-2.0
// Static and named dimensions, shapes, and the type of a value in a graph.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string_view>

#include "qwq/core/dtype.hpp"
#include "qwq/core/fixed_string.hpp"
#include "qwq/core/fixed_vector.hpp"

namespace qwq {

/// One extent of a shape. A named dimension keeps its name to the emitted file; its extent is then the
/// largest value that it may take at run time, and buffers are planned for it.
struct dim {
  std::int64_t extent = 1;    ///< Its length, or the largest that it can have.
  std::string_view symbol{};  ///< Its name; empty where the extent is fixed.
  std::int64_t plus = 0;      ///< Elements beside those that `symbol` counts: "sequence_length+3".

  constexpr dim() = default;
  /// A fixed extent.
  constexpr dim(std::int64_t e) : extent(e) {}  // NOLINT(google-explicit-constructor): shapes are written {1, S, 64}
  /// A named one, of `bound` at most; `more` elements of it are not counted by the name.
  constexpr dim(std::int64_t bound, std::string_view name, std::int64_t more = 0)
      : extent(bound), symbol(name), plus(more) {}

  constexpr bool named() const { return !symbol.empty(); }  ///< Whether it has a name.
  friend constexpr bool operator==(const dim& a, const dim& b) {
    return a.extent == b.extent && a.symbol == b.symbol && a.plus == b.plus;
  }
};

inline constexpr std::size_t max_rank = 5;

/// Up to five dimensions, outermost first.
struct shape : fixed_vector<dim, max_rank> {
  bool too_long = false;  ///< More than five were given; graphs refuse such a shape and name the node.

  constexpr shape() = default;
  /// {1, S, 64}: outermost first.
  constexpr shape(std::initializer_list<dim> dims) {
    for (const dim& d : dims)
      if (!try_push_back(d)) too_long = true;
  }

  constexpr const dim& last() const { return back(); }  ///< The innermost extent.
  /// Number of elements; named dimensions count with their bound.
  constexpr std::int64_t elements() const {
    std::int64_t n = 1;
    for (const dim& d : *this) n *= d.extent;
    return n;
  }
};

/// "[1,64,1024]", names in place of named extents.
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
  dtype type = dtype::f32;
  shape dims{};
  friend constexpr bool operator==(const tensor_type& a, const tensor_type& b) {
    return a.type == b.type && a.dims == b.dims;
  }
};

}  // namespace qwq
