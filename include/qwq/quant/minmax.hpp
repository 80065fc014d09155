// SPDX-License-Identifier: Apache-2.0
// Observers of the smallest and the largest value: over all data, and as a moving average over samples.
#pragma once

#include <cmath>
#include <cstdint>
#include <span>

#include "qwq/quant/observer.hpp"

namespace qwq {

/// The smallest and the largest value.
class minmax : public detail::observer_base {
 public:
  void observe(std::span<const float> values) {
    seen_.observe(values, [](auto, auto) {});
  }
  void merge(const minmax& other) { seen_.merge(other.seen_); }
  void reset() { *this = {}; }
  range result() const { return seen_.require("minmax"); }
};

/// Exponential moving average of the samples' extrema: each end moves by `Constant` of its distance to the sample's.
/// Bits of onnxruntime's `CalibMovingAverage` when each sample is a collect call of its own. Merging appends the
/// other's samples.
template <double Constant = 0.01>
class moving_average : public detail::observer_base {
  static_assert(Constant > 0 && Constant <= 1);

 public:
  void observe(std::span<const float> values) {
    seen_.observe(values, [this](auto, const kernel::extrema& seen) { detail::include(batch_, seen); });
  }

  void end_batch() {
    if (batch_.min > batch_.max) return;  // nothing finite in it
    const range batch{batch_.min, batch_.max};
    batch_ = {};
    if (batches_++ == 0) {
      first_ = average_ = batch;
      return;
    }
    average_.low += detail::product(constant, batch.low - average_.low);
    average_.high += detail::product(constant, batch.high - average_.high);
  }

  void merge(moving_average other) {
    other.end_batch();
    end_batch();
    seen_.merge(other.seen_);
    if (other.batches_ == 0) return;
    if (batches_ == 0) {
      first_ = other.first_;
      average_ = other.average_;
    } else {
      // The other began at its first sample instead of here; what is left of that difference is all that changes.
      const double left = std::pow(1 - Constant, static_cast<double>(other.batches_));
      const auto append = [&](float here, float first, float last) {
        return static_cast<float>(last + left * (static_cast<double>(here) - static_cast<double>(first)));
      };
      average_ = {append(average_.low, other.first_.low, other.average_.low),
                  append(average_.high, other.first_.high, other.average_.high)};
    }
    batches_ += other.batches_;
  }

  void reset() { *this = {}; }

  /// A sample that has not ended counts as it is.
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
