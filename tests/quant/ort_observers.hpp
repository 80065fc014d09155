// SPDX-License-Identifier: Apache-2.0
// onnxruntime's calibrators (1.23) bit for bit, for comparing with its results. To calibrate, use the streaming ones.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "qwq/core/error.hpp"
#include "qwq/kernel/observe.hpp"
#include "qwq/quant/finite.hpp"
#include "qwq/quant/params.hpp"
#include "qwq/quant/rounding.hpp"

namespace qwq {

/// What one tensor was in each sample of one collect call. `quantize_static` collects all samples in one call, with
/// `CalibStridedMinMax` = 1 each sample in a call of its own.
using ort_samples = std::span<const std::span<const float>>;

namespace detail {

/// Extrema of all samples together. Throws `error` when there is no value, or one that is not finite.
inline kernel::extrema ort_extrema(ort_samples samples) {
  kernel::extrema seen;
  for (const auto sample : samples) {
    if (!all_finite(sample)) throw error("onnxruntime calibration: expected finite values, found NaN or infinity");
    seen = kernel::min_max(sample, seen);
  }
  if (seen.min > seen.max) throw error("onnxruntime calibration: expected data, found none");
  return seen;
}

/// The counts and the bins' f32 edges that numpy.histogram gives, and the extrema of the data.
struct ort_histogram {
  std::vector<std::int64_t> counts;
  std::vector<float> edges;
  kernel::extrema seen;

  ort_histogram(ort_samples samples, std::size_t bins, float low, float high, bool magnitude, kernel::extrema extrema)
      : counts(bins), edges(bins + 1), seen(extrema) {
    if (low == high) {
      low -= 0.5f;
      high += 0.5f;
    }
    kernel::histogram_edges(edges, low, high);
    for (const auto sample : samples) kernel::histogram(counts, edges, sample, magnitude);
  }

  /// [low, high], but not beyond the data.
  range within_data(float low, float high) const {
    return {low < seen.min ? seen.min : low, high > seen.max ? seen.max : high};
  }
};

/// Counts the samples between -threshold and threshold, and widens both by whole bins when the data outgrows them.
class ort_signed_histogram {
 public:
  explicit ort_signed_histogram(std::size_t bins) : bins_(bins) {}

  void collect(ort_samples samples) {
    const auto seen = ort_extrema(samples);
    const float threshold = std::max(std::abs(seen.min), std::abs(seen.max));
    if (!histogram_) {
      threshold_ = threshold;
      histogram_.emplace(samples, bins_, -threshold, threshold, false, seen);
      return;
    }
    const ort_histogram before = std::move(*histogram_);
    std::size_t more = 0;
    if (threshold > threshold_ && threshold_ == 0) threshold_ = threshold;
    if (threshold > threshold_) {
      const float stride = 2 * threshold_ / static_cast<float>(before.counts.size());
      const float half = floor_divide(threshold - threshold_, stride) + 1;
      threshold_ = product(half, stride) + threshold_;
      more = static_cast<std::size_t>(half);
    }
    histogram_.emplace(samples, before.counts.size() + 2 * more, -threshold_, threshold_, false, seen);
    for (std::size_t i = 0; i < before.counts.size(); ++i) histogram_->counts[more + i] += before.counts[i];
    include_extrema(before.seen);
  }

  const ort_histogram& get() const {
    if (!histogram_) throw error("onnxruntime calibration: expected data, found none");
    return *histogram_;
  }

 private:
  /// numpy's floor_divide of positive f32.
  static float floor_divide(float a, float b) {
    const float quotient = (a - std::fmod(a, b)) / b;
    const float floor = std::floor(quotient);
    return quotient - floor > 0.5f ? floor + 1 : floor;
  }

  void include_extrema(const kernel::extrema& before) {
    histogram_->seen.min = std::min(histogram_->seen.min, before.min);
    histogram_->seen.max = std::max(histogram_->seen.max, before.max);
  }

  std::size_t bins_;
  float threshold_ = 0;
  std::optional<ort_histogram> histogram_;
};

}  // namespace detail

/// `MinMaxCalibrater`: extrema over everything. With `moving_average` a collect call gives the means of its samples'
/// extrema, of which every call after the first moves the range by `constant`.
class ort_minmax {
 public:
  /// As the calibrator's arguments of those names.
  explicit ort_minmax(bool symmetric = false, bool moving_average = false, float constant = 0.01f)
      : symmetric_(symmetric), moving_average_(moving_average), constant_(constant) {}

  void collect(ort_samples samples) {
    const auto seen = detail::ort_extrema(samples);
    range now{seen.min, seen.max};
    if (moving_average_) {
      now = {};
      for (const auto sample : samples) {
        const auto one = kernel::min_max(sample);
        now.low += one.min;
        now.high += one.max;
      }
      now.low /= static_cast<float>(samples.size());
      now.high /= static_cast<float>(samples.size());
    }
    if (symmetric_) {
      now.high = std::max(std::abs(now.low), std::abs(now.high));
      now.low = -now.high;
    }
    if (!range_) {
      range_ = now;
    } else if (moving_average_) {
      range_->low += detail::product(constant_, now.low - range_->low);
      range_->high += detail::product(constant_, now.high - range_->high);
    } else {
      range_ = range{std::min(range_->low, now.low), std::max(range_->high, now.high)};
    }
  }

  range result() const {
    if (!range_) throw error("onnxruntime calibration: expected data, found none");
    return *range_;
  }

 private:
  bool symmetric_, moving_average_;
  float constant_;
  std::optional<range> range_;
};

/// `PercentileCalibrater`. Symmetric (its default): the left edge of the bin of |x| at which `percent` % are reached;
/// bins begin at the least |x| of the first call. Otherwise each side loses half of the rest.
class ort_percentile {
 public:
  /// As the calibrator's arguments of those names.
  explicit ort_percentile(double percent = 99.999, bool symmetric = true, std::size_t bins = 2048)
      : percent_(percent), symmetric_(symmetric), bins_(bins), signed_(bins) {
    if (!(percent >= 0 && percent <= 100))
      throw error("onnxruntime calibration: percentile: expected 0 to 100, found " + std::to_string(percent));
  }

  void collect(ort_samples samples) {
    if (symmetric_)
      collect_magnitudes(samples);
    else
      signed_.collect(samples);
  }

  range result() const {
    if (!symmetric_) {
      const double cut = (100.0 - percent_) / 200.0;
      const auto& h = signed_.get();
      return h.within_data(edge(h, cut), edge(h, 1.0 - cut));
    }
    if (!magnitudes_) throw error("onnxruntime calibration: expected data, found none");
    const float t = edge(*magnitudes_, percent_ / 100.0);
    return magnitudes_->within_data(-t, t);
  }

 private:
  /// Left edge of the first bin at which `share` of the values are reached.
  static float edge(const detail::ort_histogram& h, double share) {
    const auto total = static_cast<double>(std::accumulate(h.counts.begin(), h.counts.end(), std::int64_t{0}));
    double reached = 0;
    std::size_t i = 0;
    for (; i < h.counts.size(); ++i) {
      reached += static_cast<double>(h.counts[i]) / total;
      if (reached >= share) break;
    }
    return h.edges[i];
  }

  void collect_magnitudes(ort_samples samples) {
    const auto seen = detail::ort_extrema(samples);
    float least = std::numeric_limits<float>::max(), largest = 0;
    for (const auto sample : samples)
      for (const float x : sample) {
        least = std::min(least, std::abs(x));
        largest = std::max(largest, std::abs(x));
      }
    if (!magnitudes_) {
      magnitudes_.emplace(samples, bins_, least, largest, true, seen);
      return;
    }
    auto& [counts, edges, all] = *magnitudes_;
    if (largest > edges.back()) append_edges(edges, largest);
    counts.resize(edges.size() - 1);
    for (const auto sample : samples)
      for (const float x : sample) {
        const float magnitude = std::abs(x);
        if (magnitude < edges.front() || magnitude > edges.back()) continue;
        const auto above = std::upper_bound(edges.begin(), edges.end(), magnitude) - edges.begin();
        ++counts[std::min(static_cast<std::size_t>(above - 1), counts.size() - 1)];
      }
    all.min = std::min(all.min, seen.min);
    all.max = std::max(all.max, seen.max);
  }

  /// numpy.arange(last + width, largest + width, width) in f32, with numpy's idea of how many there are.
  static void append_edges(std::vector<float>& edges, float largest) {
    const float width = edges[1] - edges[0];
    const float first = edges.back() + width;
    const auto count = static_cast<std::size_t>(std::ceil((largest + width - first) / width));
    const float step = first + width - first;
    for (std::size_t i = 0; i < count; ++i) edges.push_back(detail::product(static_cast<float>(i), step) + first);
  }

  double percent_;
  bool symmetric_;
  std::size_t bins_;
  detail::ort_signed_histogram signed_;
  std::optional<detail::ort_histogram> magnitudes_;
};

/// `EntropyCalibrater`. With its default of 128 bins and 128 quantized bins there is one candidate in the first collect
/// call, the range of the data.
class ort_entropy {
 public:
  /// As the calibrator's arguments of those names.
  explicit ort_entropy(std::size_t bins = 128, std::size_t quantized_bins = 128)
      : quantized_bins_(quantized_bins), histogram_(bins) {
    if (quantized_bins < 2 || bins < quantized_bins)
      throw error("onnxruntime calibration: entropy: expected 2 <= quantized bins <= bins, found " +
                  std::to_string(quantized_bins) + " and " + std::to_string(bins));
  }

  void collect(ort_samples samples) { histogram_.collect(samples); }

  range result() const {
    const auto& h = histogram_.get();
    const std::size_t bins = h.counts.size(), zero = bins / 2;
    float least = std::numeric_limits<float>::infinity();
    std::size_t best = quantized_bins_ / 2;
    for (std::size_t i = quantized_bins_ / 2; i <= zero; ++i) {
      const float divergence = candidate(h.counts, zero - i, std::min(zero + i + 1, bins));
      if (divergence < least) {
        least = divergence;
        best = i;
      }
    }
    return h.within_data(h.edges[zero - best], h.edges[std::min(zero + best + 1, bins)]);
  }

 private:
  /// Divergence of the bins [start, end), with what is outside at their ends, from themselves in quantized bins.
  float candidate(const std::vector<std::int64_t>& counts, std::size_t start, std::size_t end) const {
    const auto sum = [&](std::size_t from, std::size_t to) {
      return std::accumulate(counts.begin() + static_cast<std::ptrdiff_t>(from),
                             counts.begin() + static_cast<std::ptrdiff_t>(to), std::int64_t{0});
    };
    const std::size_t size = end - start, merged = size / quantized_bins_;
    std::vector<std::int64_t> p(counts.begin() + static_cast<std::ptrdiff_t>(start),
                                counts.begin() + static_cast<std::ptrdiff_t>(end));
    p.front() += sum(0, start);
    p.back() += sum(end, counts.size());
    // The last level holds what the division left over, but is spread over its own bins only.
    std::vector<std::int64_t> q(size);
    for (std::size_t level = 0; level < quantized_bins_; ++level) {
      const std::size_t first = level * merged, last = first + merged;
      const auto total = sum(start + first, level + 1 == quantized_bins_ ? end : start + last);
      std::int64_t filled = 0;
      for (std::size_t i = first; i < last; ++i) filled += p[i] != 0;
      if (filled == 0) continue;
      const auto share = static_cast<std::int64_t>(static_cast<double>(total) / static_cast<double>(filled));
      std::fill(q.begin() + static_cast<std::ptrdiff_t>(first), q.begin() + static_cast<std::ptrdiff_t>(last), share);
    }
    return divergence(smooth(p), smooth(q));
  }

  /// `smooth_distribution`: gives empty bins 0.0001, taken from the others; nothing when all are empty.
  static std::vector<float> smooth(const std::vector<std::int64_t>& counts) {
    const auto zeros = static_cast<double>(std::count(counts.begin(), counts.end(), 0));
    const double others = static_cast<double>(counts.size()) - zeros;
    if (others == 0) return {};
    const auto taken = static_cast<float>(0.0001 * zeros / others);
    std::vector<float> out;
    for (const auto n : counts) out.push_back(n == 0 ? 0.0001f : static_cast<float>(n) - taken);
    return out;
  }

  static float divergence(const std::vector<float>& p, const std::vector<float>& q) {
    if (p.empty() || q.empty()) return std::numeric_limits<float>::infinity();
    const auto total = [](const std::vector<float>& v) {
      return static_cast<float>(std::accumulate(v.begin(), v.end(), 0.0));
    };
    const float sum_p = total(p), sum_q = total(q);
    double result = 0;
    for (std::size_t i = 0; i < p.size(); ++i) {
      const float a = p[i] / sum_p, b = q[i] / sum_q;
      if (!(a > 0 && b > 0)) return std::numeric_limits<float>::infinity();
      result += static_cast<double>(a * std::log(a / b));
    }
    return static_cast<float>(result);
  }

  std::size_t quantized_bins_;
  detail::ort_signed_histogram histogram_;
};

}  // namespace qwq
