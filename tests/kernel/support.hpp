// SPDX-License-Identifier: Apache-2.0
// What the kernel tests share: sizes, samples, guarded unaligned buffers, comparisons.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "qwq/core/parallel.hpp"
#include "qwq/core/view.hpp"

namespace test {

inline constexpr float infinity = std::numeric_limits<float>::infinity();
inline constexpr float quiet_nan = std::numeric_limits<float>::quiet_NaN();
inline constexpr float half_ulp = 0x1p-24f;

/// Around the widths of every architecture, their multiples and their tails.
inline const std::vector<std::int64_t> lengths{0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 100, 257};
inline const std::vector<float> special{
    0.0f, -0.0f, 1.0f,       -1.0f,     infinity, -infinity, quiet_nan, 0x1p-149f, 0x1.fffffep127f, -0x1.fffffep127f,
    0.5f, -2.5f, -0x1p-140f, 0x1p-126f, 88.7f,    -104.0f};

/// `count` elements that start one element past an aligned address and lie between guards.
template <class T>
class buffer {
 public:
  explicit buffer(std::int64_t count) : store_(static_cast<std::size_t>(count) + 65, guard()) {
    std::fill_n(data(), count, T{});
  }
  buffer(std::int64_t count, const std::vector<float>& cycle) : buffer(count) {
    for (std::size_t i = 0; i < size(); ++i) data()[i] = static_cast<T>(cycle[i % cycle.size()]);
  }
  T* data() { return store_.data() + 1; }
  const T* data() const { return store_.data() + 1; }
  std::size_t size() const { return store_.size() - 65; }
  T& operator[](std::size_t i) { return data()[i]; }
  const T& operator[](std::size_t i) const { return data()[i]; }
  std::span<T> span() { return {data(), size()}; }
  std::span<const T> span() const { return {data(), size()}; }
  qwq::matrix_view<T> matrix(std::int64_t rows, std::int64_t cols) { return {data(), rows, cols}; }
  qwq::matrix_view<const T> matrix(std::int64_t rows, std::int64_t cols) const { return {data(), rows, cols}; }
  /// Nothing was written outside.
  bool intact() const {
    const T expected = guard();
    const auto same = [&](const T& x) { return std::memcmp(&x, &expected, sizeof(T)) == 0; };
    return same(store_[0]) && std::all_of(store_.end() - 64, store_.end(), same);
  }

 private:
  static T guard() {
    T value;
    std::memset(static_cast<void*>(&value), 0x5a, sizeof value);
    return value;
  }
  std::vector<T> store_;
};

inline std::vector<float> normal(std::int64_t count, unsigned seed, float deviation = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> next(0, deviation);
  std::vector<float> values(static_cast<std::size_t>(std::max<std::int64_t>(count, 1)));
  for (float& v : values) v = next(random);
  return values;
}

/// Any bit pattern: every exponent, subnormals, infinities and NaN.
inline std::vector<float> any_bits(std::int64_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& v : values) v = std::bit_cast<float>(static_cast<std::uint32_t>(random()));
  return values;
}

/// The same bits, or NaN both.
inline bool same(float a, float b) {
  return (std::isnan(a) && std::isnan(b)) || std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b);
}

/// Within `relative` of b, or `absolute`; NaN and infinities must be the same.
inline bool close(float a, float b, float relative, float absolute = 0x1p-126f) {
  if (!std::isfinite(a) || !std::isfinite(b)) return same(a, b);
  return std::abs(a - b) <= relative * std::abs(b) + absolute;
}

/// Index of the first element where `agree(a, b)` is false, or -1.
template <class A, class B, class F>
std::int64_t first_difference(const A& a, const B& b, F&& agree) {
  if (a.size() != b.size()) return 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (!agree(a[i], b[i])) return static_cast<std::int64_t>(i);
  return -1;
}

/// Runs the tasks from the last to the first.
class backward_executor final : public qwq::executor {
 public:
  std::size_t threads() const override { return 7; }
  void run(std::size_t count, task f, void* context) override {
    while (count-- > 0) f(context, count);
  }
};

}  // namespace test
