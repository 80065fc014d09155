// SPDX-License-Identifier: Apache-2.0
// Defines `observer`, the concept of calibration observers, and the base class of the library's observers.
#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "qwq/core/error.hpp"
#include "qwq/kernel/observe.hpp"
#include "qwq/quant/finite.hpp"
#include "qwq/quant/params.hpp"

namespace qwq {

/// Observes the values of one slot in constant memory, and computes the range to quantize. Observers of separate parts
/// of the data can be merged. NaN and infinity are never part of the range; `nonfinite` counts them, `count` does not.
/// `result` throws `error` if no finite value was observed.
template <class O>
concept observer = std::default_initializable<O> && std::copyable<O> &&
    requires(O o, const O& other, std::span<const float> values) {
  o.observe(values);
  o.end_batch();  // ends a calibration sample
  o.merge(other);
  o.reset();  // removes the data, keeps the options
  { other.result() } -> std::same_as<range>;
  { other.count() } -> std::same_as<std::uint64_t>;
  { other.nonfinite() } -> std::same_as<std::uint64_t>;
};

namespace detail {

/// Widens `seen` to include `more`.
constexpr void include(kernel::extrema& seen, const kernel::extrema& more) {
  seen.min = std::min(seen.min, more.min);
  seen.max = std::max(seen.max, more.max);
}

/// Minimum, maximum and number of the finite values, and number of the others.
class extent {
 public:
  /// Observes `values`, and passes the finite ones to `f(piece, extrema_of_the_piece)` in pieces that fit in L1.
  template <class F>
  void observe(std::span<const float> values, F&& f) {
    while (!values.empty()) {
      std::array<float, 4096> finite;
      auto piece = values.first(std::min(values.size(), finite.size()));
      values = values.subspan(piece.size());
      auto seen = kernel::finite_min_max(piece);
      if (!seen) {
        const auto end = std::copy_if(piece.begin(), piece.end(), finite.begin(),
                                      [](float x) { return magnitude_bits(x) < infinity_bits; });
        const auto kept = static_cast<std::size_t>(end - finite.begin());
        nonfinite_ += piece.size() - kept;
        piece = std::span(finite).first(kept);
        if (piece.empty()) continue;
        seen = kernel::min_max(piece);
      }
      count_ += piece.size();
      include(seen_, *seen);
      f(piece, *seen);
    }
  }

  void merge(const extent& other) {
    include(seen_, other.seen_);
    count_ += other.count_;
    nonfinite_ += other.nonfinite_;
  }

  std::uint64_t count() const { return count_; }
  std::uint64_t nonfinite() const { return nonfinite_; }

  /// [min, max]. Throws `error`, with `observer` as the name in the message, if there were no finite values.
  range require(std::string_view observer) const {
    if (count_ == 0)
      throw error(std::string(observer) + ": expected at least one finite value, found none among " +
                  std::to_string(nonfinite_));
    return {seen_.min, seen_.max};
  }

 private:
  kernel::extrema seen_;
  std::uint64_t count_ = 0, nonfinite_ = 0;
};

/// Base of the library's observers.
class observer_base {
 public:
  /// Number of finite values.
  std::uint64_t count() const { return seen_.count(); }
  /// Number of values that are NaN or infinity.
  std::uint64_t nonfinite() const { return seen_.nonfinite(); }
  /// Ends a calibration sample; no effect for observers that don't distinguish samples.
  void end_batch() {}

 protected:
  extent seen_;
};

}  // namespace detail
}  // namespace qwq
