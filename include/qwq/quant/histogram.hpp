// SPDX-License-Identifier: Apache-2.0
// Defines streaming histograms, whose range grows in powers of two, so that merging is exact in any order.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "qwq/quant/finite.hpp"

namespace qwq::detail {

/// Bins of equal width over the magnitudes [0, 2^top).
template <int Bins>
struct linear_axis {
  static_assert(std::has_single_bit(static_cast<unsigned>(Bins)));
  static constexpr int bins = Bins;

  explicit linear_axis(int top) : per_unit(std::ldexp(static_cast<float>(Bins), -top)) {}
  /// Bin of a magnitude, given as its f32 bits. Scaling by a power of two is exact.
  std::int32_t operator()(std::uint32_t magnitude) const {
    return static_cast<std::int32_t>(std::bit_cast<float>(magnitude) * per_unit);
  }
  /// Lower edge of `bin`.
  static double edge(int bin, int top) { return std::ldexp(static_cast<double>(bin) / Bins, top); }
  /// Bin that contains `bin` after `top` grew by `octaves`.
  static int grown(int bin, int octaves) { return bin >> std::min(octaves, 30); }

  float per_unit;
};

/// 64 bins per octave, over the 16 octaves below 2^top: a bin is at most 1/64 of its value wide, whatever the largest
/// outlier. The first bin starts at 0.
struct octave_axis {
  static constexpr int bins = 1024, per_octave = 64, octaves = bins / per_octave;

  explicit octave_axis(int top) : first(first_key(top)) {}
  std::int32_t operator()(std::uint32_t magnitude) const {
    return std::max(static_cast<std::int32_t>(magnitude >> key_shift) - first, 0);
  }
  static double edge(int bin, int top) {
    if (bin == 0) return 0;
    const int key = first_key(top) + bin;
    return std::ldexp(1.0 + key % per_octave / static_cast<double>(per_octave), key / per_octave - 127);
  }
  static int grown(int bin, int more) { return std::max(bin - per_octave * more, 0); }

  std::int32_t first;

 private:
  // The exponent and leading mantissa bits of an f32, as an integer, number the bins of all magnitudes.
  static constexpr int key_shift = 17;
  static constexpr int first_key(int top) { return (top + 127 - octaves) * per_octave; }
};

/// Counts per bin. They are 32 bits wide; before they could overflow they are moved to 64-bit counts.
class bin_counts {
 public:
  bool empty() const { return recent_.empty(); }
  std::uint64_t operator[](std::size_t i) const { return recent_[i] + (old_.empty() ? 0 : old_[i]); }

  /// Counts of `bins` bins, which the caller increments `n` times in total.
  std::uint32_t* increment(std::size_t bins, std::uint32_t n) {
    recent_.resize(bins);
    if (n > std::numeric_limits<std::uint32_t>::max() - increments_) {
      old_.resize(bins);
      for (std::size_t i = 0; i < bins; ++i) old_[i] += recent_[i];
      std::fill(recent_.begin(), recent_.end(), 0u);
      increments_ = 0;
    }
    increments_ += n;
    return recent_.data();
  }

  void merge(const bin_counts& other) {
    std::uint32_t* counts = increment(other.recent_.size(), other.increments_);
    for (std::size_t i = 0; i < other.recent_.size(); ++i) counts[i] += other.recent_[i];
    old_.resize(std::max(old_.size(), other.old_.size()));
    for (std::size_t i = 0; i < other.old_.size(); ++i) old_[i] += other.old_[i];
  }

  /// Moves the counts of every bin i to `to(i)`, which is at most i.
  template <class F>
  void move(F&& to) {
    const auto move_all = [&](auto& counts) {
      for (std::size_t i = 0; i < counts.size(); ++i) {
        const std::size_t j = to(i);
        if (j != i) {
          counts[j] += counts[i];
          counts[i] = 0;
        }
      }
    };
    move_all(recent_);
    move_all(old_);
  }

 private:
  std::vector<std::uint32_t> recent_;
  std::vector<std::uint64_t> old_;
  std::uint32_t increments_ = 0;  ///< Sum of `recent_`.
};

/// Counts of positive and negative values by magnitude. The bins end at the least power of two above all magnitudes, so
/// the counts depend only on the observed values, not on their order. 8 KB with 1024 bins per sign.
template <class Axis>
class signed_histogram {
 public:
  static constexpr int bins = Axis::bins;

  /// Counts finite values; `largest` is their largest magnitude.
  void observe(std::span<const float> values, float largest) {
    grow(top_of(largest));
    std::uint32_t* const counts = counts_.increment(2 * bins, static_cast<std::uint32_t>(values.size()));
    blockwise<256>(values.size(), [counts, x = values.data(), bin = Axis(top_)](std::size_t first, auto count) {
      std::uint32_t index[256];
      for (std::size_t i = 0; i < count; ++i) {
        const std::uint32_t sign = std::bit_cast<std::uint32_t>(x[first + i]) >> 31;
        index[i] = sign * bins + static_cast<std::uint32_t>(bin(magnitude_bits(x[first + i])));
      }
      for (std::size_t i = 0; i < count; ++i) ++counts[index[i]];
    });
  }

  void merge(signed_histogram other) {
    if (other.counts_.empty()) return;
    grow(other.top_);
    other.grow(top_);
    counts_.merge(other.counts_);
  }

  /// Number of positive (negative) values in bin i, which contains the magnitudes [edge(i), edge(i + 1)).
  std::uint64_t positive(int i) const { return counts_[static_cast<std::size_t>(i)]; }
  std::uint64_t negative(int i) const { return counts_[static_cast<std::size_t>(bins + i)]; }
  double edge(int i) const { return Axis::edge(i, top_); }
  /// Bin of a magnitude; `bins` if it is above all bins.
  int bin(float magnitude) const {
    return magnitude < std::ldexp(1.0f, top_) ? Axis(top_)(magnitude_bits(magnitude)) : bins;
  }

 private:
  /// `top` is at least this, far from the smallest f32 exponents.
  static constexpr int least_top = -100;
  static int top_of(float largest) {
    return std::max(static_cast<int>(magnitude_bits(largest) >> 23) - 126, least_top);
  }

  void grow(int top) {
    if (top <= top_) return;
    counts_.move([&](std::size_t i) {
      const std::size_t side = i / bins * bins;
      return side + static_cast<std::size_t>(Axis::grown(static_cast<int>(i - side), top - top_));
    });
    top_ = top;
  }

  int top_ = least_top;
  bin_counts counts_;
};

}  // namespace qwq::detail
