// SPDX-License-Identifier: Apache-2.0
// Defines `percentile_observer` and `percentile`, observers that cut the same share of values at both ends.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>

#include "qwq/core/error.hpp"
#include "qwq/quant/histogram.hpp"
#include "qwq/quant/observer.hpp"

namespace qwq {

/// Observer of the range that contains a given share of the values; half of the others are below it and half above. The
/// error of an end is less than 1/64 of its magnitude, and 0 if nothing is cut. Values below 2^-15 of the largest
/// magnitude share one bin.
class percentile_observer : public detail::observer_base {
 public:
  /// `kept` is the share in parts per million: 999900 is 99.99 %. Throws `error` unless it is from 1 to 1000000.
  explicit percentile_observer(std::uint32_t kept = 999900) : kept_(kept) {
    if (kept < 1 || kept > million)
      throw error("percentile: expected 1 to 1000000 parts per million, found " + std::to_string(kept));
  }

  /// Adds values of the current sample.
  void observe(std::span<const float> values) {
    seen_.observe(values, [this](std::span<const float> finite, const kernel::extrema& seen) {
      histogram_.observe(finite, std::max(-seen.min, seen.max));
    });
  }
  /// Adds the values of `other`.
  void merge(const percentile_observer& other) {
    seen_.merge(other.seen_);
    histogram_.merge(other.histogram_);
  }
  /// Removes all values; the share is kept.
  void reset() { *this = percentile_observer(kept_); }

  /// The range. Throws `error` if there were no finite values.
  range result() const {
    const range all = seen_.require("percentile");
    const std::uint64_t n = count(), lost = million - kept_;
    const std::uint64_t cut = n / (2 * million) * lost + n % (2 * million) * lost / (2 * million);
    if (cut == 0) return all;
    return {std::clamp(value_at(cut), all.low, all.high), std::clamp(value_at(n - 1 - cut), all.low, all.high)};
  }

  std::uint32_t kept() const { return kept_; }  ///< Share of values inside the range, in parts per million.

 private:
  static constexpr std::uint32_t million = 1'000'000;
  using histogram = detail::signed_histogram<detail::octave_axis>;

  /// The value with `rank` values below it, interpolated within its bin.
  float value_at(std::uint64_t rank) const {
    const auto inside = [&](int i, std::uint64_t n, double part) {
      const double low = histogram_.edge(i), high = histogram_.edge(i + 1);
      return static_cast<float>(low + (high - low) * part / static_cast<double>(n));
    };
    for (int i = histogram::bins - 1; i >= 0; --i) {
      const std::uint64_t n = histogram_.negative(i);
      if (rank < n) return -inside(i, n, static_cast<double>(n - rank) - 0.5);
      rank -= n;
    }
    int i = 0;
    while (rank >= histogram_.positive(i)) rank -= histogram_.positive(i++);
    return inside(i, histogram_.positive(i), static_cast<double>(rank) + 0.5);
  }

  std::uint32_t kept_;
  histogram histogram_;
};

/// A `percentile_observer` with the share as the digits after the decimal point: percentile<9999> keeps 0.9999 of the
/// values, percentile<99999> 0.99999, percentile<95> 0.95.
template <unsigned Digits = 9999>
class percentile : public percentile_observer {
  static_assert(Digits > 0 && Digits < 1'000'000);
  static constexpr std::uint32_t kept_share() {
    std::uint32_t share = Digits;
    while (share < 100'000) share *= 10;
    return share;
  }

 public:
  percentile() : percentile_observer(kept_share()) {}
};

}  // namespace qwq
