// SPDX-License-Identifier: Apache-2.0
// Defines `minmax` and `moving_average`, observers of the range of all values, and of its average over samples.
#pragma once

#include <cmath>
#include <cstdint>
#include <span>

#include "qwq/quant/observer.hpp"

namespace qwq {

/// Observer of the range [minimum, maximum] of all finite values. See `observer` for the member functions.
class minmax : public detail::observer_base {
 public:
  /// Adds values.
  void observe(std::span<const float> values) {
    seen_.observe(values, [](auto, auto) {});
  }
  /// Adds the values of `other`.
  void merge(const minmax& other) { seen_.merge(other.seen_); }
  /// Removes all values.
  void reset() { *this = {}; }
  /// The range. Throws `error` if there were no finite values.
  range result() const { return seen_.require("minmax"); }
};

/// Observer of an exponential moving average of the samples' ranges: each end moves by `Constant` times its distance
/// from the sample's. Bit-identical to onnxruntime's `CalibMovingAverage` if each sample is a separate collect call.
/// `merge` appends the samples of the other observer.
template <double Constant = 0.01>
class moving_average : public detail::observer_base {
  static_assert(Constant > 0 && Constant <= 1);

 public:
  /// Adds values of the current sample.
  void observe(std::span<const float> values) {
    seen_.observe(values, [this](auto, const kernel::extrema& seen) { detail::include(batch_, seen); });
  }

  /// Ends a sample: updates the average with its range. Samples without finite values are ignored.
  void end_batch() {
    if (batch_.min > batch_.max) return;  // no finite values
    const range batch{batch_.min, batch_.max};
    batch_ = {};
    if (batches_++ == 0) {
      first_ = average_ = batch;
      return;
    }
    average_.low += detail::product(constant, batch.low - average_.low);
    average_.high += detail::product(constant, batch.high - average_.high);
  }

  /// Appends the samples of `other`; an unfinished sample of either observer ends first.
  void merge(moving_average other) {
    other.end_batch();
    end_batch();
    seen_.merge(other.seen_);
    if (other.batches_ == 0) return;
    if (batches_ == 0) {
      first_ = other.first_;
      average_ = other.average_;
    } else {
      // The other average started at its own first sample. Only a decayed part of the difference to this average
      // remains.
      const double left = std::pow(1 - Constant, static_cast<double>(other.batches_));
      const auto append = [&](float here, float first, float last) {
        return static_cast<float>(last + left * (static_cast<double>(here) - static_cast<double>(first)));
      };
      average_ = {append(average_.low, other.first_.low, other.average_.low),
                  append(average_.high, other.first_.high, other.average_.high)};
    }
    batches_ += other.batches_;
  }

  /// Removes all samples.
  void reset() { *this = {}; }

  /// The averaged range. An unfinished sample counts as if it had ended. Throws `error` if there were no finite values.
  range result() const {
    seen_.require("moving_average");
    moving_average ended = *this;
    ended.end_batch();
    return ended.average_;
  }

 private:
  static constexpr auto constant = static_cast<float>(Constant);

  kernel::extrema batch_;
  range first_, average_;
  std::uint64_t batches_ = 0;
};

}  // namespace qwq
