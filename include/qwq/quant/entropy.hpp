// SPDX-License-Identifier: Apache-2.0
// Defines `entropy`, an observer that minimizes the loss of information, as TensorRT and onnxruntime choose thresholds.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "qwq/quant/histogram.hpp"
#include "qwq/quant/observer.hpp"

namespace qwq {

/// Observer of the clip range [-t, t], limited to the data's range, whose distribution in `QuantizedBins` levels has
/// the least Kullback-Leibler divergence from the distribution of the data in fine bins; the widest range if several
/// are equal. Clipped values count at the ends. `Bins` fine bins of equal width span both signs. Intended for 8-bit
/// activations. Formula: Szymon Migacz, "8-bit Inference with TensorRT", GTC 2017.
template <int Bins = 2048, int QuantizedBins = 128>
class entropy : public detail::observer_base {
  static_assert(QuantizedBins >= 2 && Bins >= 4 * QuantizedBins);

 public:
  /// Adds values of the current sample.
  void observe(std::span<const float> values) {
    seen_.observe(values, [this](std::span<const float> finite, const kernel::extrema& seen) {
      histogram_.observe(finite, std::max(-seen.min, seen.max));
    });
  }
  /// Adds the values of `other`.
  void merge(const entropy& other) {
    seen_.merge(other.seen_);
    histogram_.merge(other.histogram_);
  }
  /// Removes all values.
  void reset() { *this = {}; }

  /// The range. Throws `error` if there were no finite values.
  range result() const {
    const range all = seen_.require("entropy");
    const int below = all.low < 0 ? histogram_.bin(-all.low) + 1 : 0;
    const int above = all.high > 0 ? histogram_.bin(all.high) + 1 : 0;
    const distribution fine(histogram_, below, above);
    range best = all;
    double least = std::numeric_limits<double>::infinity();
    for (int t = 1; t <= std::max(below, above); ++t) {
      const int low = std::min(t, below), high = std::min(t, above);
      if (low + high < QuantizedBins) continue;
      const double divergence =
          fine.divergence(static_cast<std::size_t>(below - low), static_cast<std::size_t>(below + high));
      if (divergence > least) continue;
      least = divergence;
      best = {low == below ? all.low : static_cast<float>(-histogram_.edge(low)),
              high == above ? all.high : static_cast<float>(histogram_.edge(high))};
    }
    return best;
  }

 private:
  using histogram = detail::signed_histogram<detail::linear_axis<Bins / 2>>;

  /// The fine bins from the lowest value to the highest, as running sums over the bins before each.
  struct distribution {
    std::vector<double> count, filled, n_log_n;

    static double x_log_x(double x) { return x > 0 ? x * std::log(x) : 0; }

    distribution(const histogram& h, int below, int above) : count{0}, filled{0}, n_log_n{0} {
      const auto add = [&](std::uint64_t n) {
        const auto x = static_cast<double>(n);
        count.push_back(count.back() + x);
        filled.push_back(filled.back() + (n > 0));
        n_log_n.push_back(n_log_n.back() + x_log_x(x));
      };
      for (int i = below - 1; i >= 0; --i) add(h.negative(i));
      for (int i = 0; i < above; ++i) add(h.positive(i));
    }

    /// Divergence of the quantized bins [a, b) from the data; values outside are clipped to the ends.
    double divergence(std::size_t a, std::size_t b) const {
      const double all = count.back(), kept = count[b] - count[a];
      const double clipped[] = {count[a], all - count[b]};
      const double ends[] = {count[a + 1] - count[a], count[b] - count[b - 1]};
      double reference = n_log_n[b] - n_log_n[a];  // sum of p log p over the bins
      for (int i = 0; i < 2; ++i) reference += x_log_x(ends[i] + clipped[i]) - x_log_x(ends[i]);

      double cross = 0;  // sum of p log q
      for (std::size_t j = 0, from = a; j < QuantizedBins; ++j) {
        const std::size_t to = a + (j + 1) * (b - a) / QuantizedBins;
        const double level = count[to] - count[from];
        double p = level, bins = filled[to] - filled[from];
        for (int i = 0; i < 2; ++i) {
          if (j != (i == 0 ? 0 : QuantizedBins - 1)) continue;
          p += clipped[i];
          bins += ends[i] == 0 && clipped[i] > 0;
        }
        from = to;
        if (p == 0) continue;
        if (level == 0) return std::numeric_limits<double>::infinity();
        cross += p * std::log(level / bins);
      }
      return (reference - cross) / all - std::log(all) + std::log(kept);
    }
  };

  histogram histogram_;
};

}  // namespace qwq
