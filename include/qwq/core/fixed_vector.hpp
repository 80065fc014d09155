// SPDX-License-Identifier: Apache-2.0
// Defines `fixed_vector`, a vector of fixed capacity for constexpr values.
#pragma once

#include <array>
#include <cstddef>
#include <new>

namespace qwq {

/// A vector of at most `N` elements without allocation, with the interface of C++26's std::inplace_vector.
template <class T, std::size_t N>
struct fixed_vector {
  std::array<T, N> items{};
  std::size_t count = 0;

  static constexpr std::size_t capacity() { return N; }
  constexpr std::size_t size() const { return count; }
  constexpr bool empty() const { return count == 0; }
  constexpr const T* begin() const { return items.data(); }
  constexpr const T* end() const { return items.data() + count; }
  constexpr T* begin() { return items.data(); }
  constexpr T* end() { return items.data() + count; }
  constexpr const T& operator[](std::size_t i) const { return items[i]; }
  constexpr T& operator[](std::size_t i) { return items[i]; }
  constexpr const T& back() const { return items[count - 1]; }

  /// Appends `value`; returns false, and changes nothing, when the vector is full.
  [[nodiscard]] constexpr bool try_push_back(const T& value) {
    if (count == N) return false;
    items[count++] = value;
    return true;
  }
  /// Appends `value`. A full vector does not compile in a constant expression, and throws std::bad_alloc at run time.
  constexpr void push_back(const T& value) {
    if (!try_push_back(value)) throw std::bad_alloc{};
  }

  friend constexpr bool operator==(const fixed_vector& a, const fixed_vector& b) {
    if (a.count != b.count) return false;
    for (std::size_t i = 0; i < a.count; ++i)
      if (!(a.items[i] == b.items[i])) return false;
    return true;
  }
};

}  // namespace qwq
