// SPDX-License-Identifier: Apache-2.0
// Observer that leaves out the same share of values at both ends.
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

/// The range that holds a given share of the values; half of the others lies below it, half above. An end is off by
/// less than 1/64 of its magnitude, and exact while nothing is cut. Values under 2^-15 of the largest magnitude are not
/// told apart.
class percentile_observer : public detail::observer_base {
 public:
  /// `kept` is the share in parts per million: 999900 is 99.99 %.
  explicit percentile_observer(std::uint32_t kept = 999900) : kept_(kept) {
    if (kept < 1 || kept > million)
      throw error("percentile: expected 1 to 1000000 parts per million, found " + std::to_string(kept));
  }

  void observe(std::span<const float> values) {
    seen_.observe(values, [this](std::span<const float> finite, const kernel::extrema& seen) {
      histogram_.observe(finite, std::max(-seen.min, seen.max));
    });
  }
  void merge(const percentile_observer& other) {
    seen_.merge(other.seen_);
    histogram_.merge(other.histogram_);
  }
  void reset() { *this = percentile_observer(kept_); }

  range result() const {
    const range all = seen_.require("percentile");
    const std::uint64_t n = count(), lost = million - kept_;
    const std::uint64_t cut = n / (2 * million) * lost + n % (2 * million) * lost / (2 * million);
    if (cut == 0) return all;
    return {std::clamp(value_at(cut), all.low, all.high), std::clamp(value_at(n - 1 - cut), all.low, all.high)};
  }

  std::uint32_t kept() const { return kept_; }  ///< Values that are kept of each tail.

 private:
  static constexpr std::uint32_t million = 1'000'000;
  using histogram = detail::signed_histogram<detail::octave_axis>;

  /// The value that `rank` values are below, interpolated inside of its bin.
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

/// `percentile_observer` whose share is written as the digits behind the decimal point: percentile<9999> keeps 0.9999
/// of the values, percentile<99999> 0.99999, percentile<95> 0.95.
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
