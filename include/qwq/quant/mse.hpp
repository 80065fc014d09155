// SPDX-License-Identifier: Apache-2.0
// Defines `mse_observer` and `mse`, observers that minimize the expected squared quantization error.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "qwq/core/error.hpp"
#include "qwq/quant/histogram.hpp"
#include "qwq/quant/observer.hpp"

namespace qwq {

/// Observer of the range, cut separately at both ends, in which an asymmetric integer format of `bits` bits has the
/// least expected squared error. The error of a value x is x^2 below half a step (it becomes 0), step^2 / 12 above, and
/// (|x| - end)^2 outside the range. Ends are bin edges (64 bins per octave), down to 8 octaves below the extreme value.
class mse_observer : public detail::observer_base {
 public:
  /// `bits` is the width of the codes. Throws `error` unless it is from 2 to 16.
  explicit mse_observer(int bits = 8) : bits_(bits) {
    if (bits < 2 || bits > 16) throw error("mse: expected 2 to 16 bits, found " + std::to_string(bits));
  }

  /// Adds values of the current sample.
  void observe(std::span<const float> values) {
    seen_.observe(values, [this](std::span<const float> finite, const kernel::extrema& seen) {
      histogram_.observe(finite, std::max(-seen.min, seen.max));
    });
  }
  /// Adds the values of `other`.
  void merge(const mse_observer& other) {
    seen_.merge(other.seen_);
    histogram_.merge(other.histogram_);
  }
  /// Removes all values; the width of the codes is kept.
  void reset() { *this = mse_observer(bits_); }

  /// The range. Throws `error` if there were no finite values.
  range result() const {
    const range all = seen_.require("mse");
    const auto below = side([this](int i) { return histogram_.negative(i); }, -all.low);
    const auto above = side([this](int i) { return histogram_.positive(i); }, all.high);
    const double steps = (1 << bits_) - 1;
    range best = all;
    double least = std::numeric_limits<double>::infinity();
    for (const cut& low : below.cuts)
      for (const cut& high : above.cuts) {
        const double step = (low.at + high.at) / steps;
        const int half_step = histogram_.bin(static_cast<float>(step / 2));
        const double error = below.error(low, step, half_step) + above.error(high, step, half_step);
        if (error >= least) continue;
        least = error;
        best = {low.bin == histogram::bins ? all.low : static_cast<float>(-low.at),
                high.bin == histogram::bins ? all.high : static_cast<float>(high.at)};
      }
    return best;
  }

  int bits() const { return bits_; }  ///< Width of the codes.

 private:
  using histogram = detail::signed_histogram<detail::octave_axis>;

  /// A candidate end at magnitude `at`, the lower edge of `bin`; or at the extreme value, with `bin` = bins, where no
  /// bin is cut.
  struct cut {
    double at;
    int bin;
  };

  /// One sign: for each bin, sums over this and all higher bins; and the candidate ends, the widest first.
  struct half {
    std::vector<double> count, sum, squares;
    std::vector<cut> cuts;

    double error(const cut& end, double step, int half_step) const {
      const auto clipped = static_cast<std::size_t>(end.bin);
      const auto rounded = static_cast<std::size_t>(std::min(half_step, end.bin));
      return squares[0] - squares[rounded] + (count[rounded] - count[clipped]) * step * step / 12 + squares[clipped] -
             2 * end.at * sum[clipped] + end.at * end.at * count[clipped];
    }
  };

  template <class F>
  half side(F&& count, double extreme) const {
    half h;
    for (auto* sums : {&h.count, &h.sum, &h.squares}) sums->resize(histogram::bins + 1);
    for (int i = histogram::bins - 1; i >= 0; --i) {
      const auto at = static_cast<std::size_t>(i);
      const auto n = static_cast<double>(count(i));
      const double middle = (histogram_.edge(i) + histogram_.edge(i + 1)) / 2;
      h.count[at] = h.count[at + 1] + n;
      h.sum[at] = h.sum[at + 1] + n * middle;
      h.squares[at] = h.squares[at + 1] + n * middle * middle;
    }
    h.cuts.push_back({std::max(extreme, 0.0), histogram::bins});
    if (extreme <= 0) return h;
    const int last = histogram_.bin(static_cast<float>(extreme));
    for (int i = last; i > std::max(last - 8 * detail::octave_axis::per_octave, 0); --i)
      h.cuts.push_back({histogram_.edge(i), i});
    return h;
  }

  int bits_;
  histogram histogram_;
};

/// An `mse_observer` for codes of `Bits` bits.
template <int Bits = 8>
class mse : public mse_observer {
  static_assert(Bits >= 2 && Bits <= 16);

 public:
  mse() : mse_observer(Bits) {}
};

}  // namespace qwq
