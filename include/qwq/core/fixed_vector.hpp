// SPDX-License-Identifier: Apache-2.0
// Defines `fixed_vector`, a vector of fixed capacity for constexpr values.
#pragma once

#include <array>
#include <cstddef>
#include <new>

namespace qwq {

/// A vector of at most `N` elements that does not allocate, with the interface of C++26's std::inplace_vector.
template <class T, std::size_t N>
struct fixed_vector {
  std::array<T, N> items{};  ///< Storage; only the first `count` items are elements.
  std::size_t count = 0;     ///< Number of elements.

  static constexpr std::size_t capacity() { return N; }                    ///< Maximum number of elements.
  constexpr std::size_t size() const { return count; }                     ///< Number of elements.
  constexpr bool empty() const { return count == 0; }                      ///< True if there are no elements.
  constexpr const T* begin() const { return items.data(); }                ///< First element.
  constexpr const T* end() const { return items.data() + count; }          ///< End of the elements.
  constexpr T* begin() { return items.data(); }                            ///< First element.
  constexpr T* end() { return items.data() + count; }                      ///< End of the elements.
  constexpr const T& operator[](std::size_t i) const { return items[i]; }  ///< Element i; not checked.
  constexpr T& operator[](std::size_t i) { return items[i]; }              ///< Element i; not checked.
  constexpr const T& back() const { return items[count - 1]; }             ///< Last element; there must be one.

  /// Appends `value`. Returns false, without any change, if the vector is full.
  [[nodiscard]] constexpr bool try_push_back(const T& value) {
    if (count == N) return false;
    items[count++] = value;
    return true;
  }
  /// Appends `value`. If the vector is full, a constant expression does not compile, and run-time code throws
  /// std::bad_alloc.
  constexpr void push_back(const T& value) {
    if (!try_push_back(value)) throw std::bad_alloc{};
  }

  /// True if sizes and elements are equal.
  friend constexpr bool operator==(const fixed_vector& a, const fixed_vector& b) {
    if (a.count != b.count) return false;
    for (std::size_t i = 0; i < a.count; ++i)
      if (!(a.items[i] == b.items[i])) return false;
    return true;
  }
};

}  // namespace qwq
