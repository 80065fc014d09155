// SPDX-License-Identifier: Apache-2.0
// Defines the statistics of calibration observers: range, magnitude per channel, histogram.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <optional>
#include <type_traits>

#include "qwq/kernel/simd.hpp"
#include "qwq/kernel/simd_stream.hpp"
#include "qwq/kernel/views.hpp"

namespace qwq::kernel {

namespace detail {

/// Number of parallel accumulators: latencies overlap, and all fit the registers.
template <class Arch>
inline constexpr int observed_lines = simd::detail::lanes_512<Arch> ? 8 : 4;

/// Statistics of one pass over the data. Each has `take`, for a batch and one of its accumulators, and an element that
/// does not change it. Extrema and magnitudes ignore NaN.
template <class Arch>
struct extrema_lanes {
  using batch = simd::batch<Arch>;
  static constexpr int lines = observed_lines<Arch>;
  static constexpr float neutral = std::numeric_limits<float>::quiet_NaN();
  batch low[lines], high[lines];

  explicit extrema_lanes(const extrema& seen) {
    QWQ_UNROLL for (int k = 0; k < lines; ++k) low[k] = batch(seen.min), high[k] = batch(seen.max);
  }
  void take(int k, batch v) {
    low[k] = simd::at_most<Arch>(v, low[k]);
    high[k] = simd::at_least<Arch>(v, high[k]);
  }
  extrema result() {
    QWQ_UNROLL for (int k = 1; k < lines; ++k) {
      low[0] = xsimd::min(low[0], low[k]);
      high[0] = xsimd::max(high[0], high[k]);
    }
    return {simd::reduce_min<Arch>(low[0]), simd::reduce_max<Arch>(high[0])};
  }
};

template <class Arch>
struct magnitude_lanes {
  using batch = simd::batch<Arch>;
  static constexpr int lines = observed_lines<Arch>;
  static constexpr float neutral = 0;
  batch high[lines];

  explicit magnitude_lanes() { QWQ_UNROLL for (int k = 0; k < lines; ++k) high[k] = batch(0.0f); }
  void take(int k, batch v) { high[k] = simd::at_least<Arch>(xsimd::abs(v), high[k]); }
  float result() {
    QWQ_UNROLL for (int k = 1; k < lines; ++k) high[0] = xsimd::max(high[0], high[k]);
    return simd::reduce_max<Arch>(high[0]);
  }
};

/// Tests if all elements are finite: 0 times infinity, or NaN, is NaN and propagates.
template <class Arch>
struct finite_lanes {
  using batch = simd::batch<Arch>;
  static constexpr int lines = observed_lines<Arch>;
  static constexpr float neutral = 0;
  batch zero[lines];

  explicit finite_lanes() { QWQ_UNROLL for (int k = 0; k < lines; ++k) zero[k] = batch(0.0f); }
  void take(int k, batch v) { zero[k] = simd::fma<Arch>(v, batch(0.0f), zero[k]); }
  bool result() {
    QWQ_UNROLL for (int k = 1; k < lines; ++k) zero[0] += zero[k];
    return simd::reduce_add<Arch>(zero[0]) == 0;
  }
};

/// Sum and sum of squares, in f32: for blocks of some thousand elements.
template <class Arch>
struct moment_lanes {
  using batch = simd::batch<Arch>;
  static constexpr int lines = observed_lines<Arch>;
  static constexpr float neutral = 0;
  batch sum[lines], squares[lines];

  explicit moment_lanes() { QWQ_UNROLL for (int k = 0; k < lines; ++k) sum[k] = squares[k] = batch(0.0f); }
  void take(int k, batch v) {
    sum[k] += v;
    squares[k] = simd::fma<Arch>(v, v, squares[k]);
  }
  moments result() {
    QWQ_UNROLL for (int k = 1; k < lines; ++k) {
      sum[0] += sum[k];
      squares[0] += squares[k];
    }
    return {simd::reduce_add<Arch>(sum[0]), simd::reduce_add<Arch>(squares[0])};
  }
};

/// Computes all of `parts` in one pass over x; `far` as in `simd::walk`.
template <class Arch, class... Parts>
[[gnu::always_inline]] inline void observe(std::span<const float> x, bool far, Parts&... parts) {
  const auto n = static_cast<std::int64_t>(x.size());
  const auto i = simd::walk<Arch, observed_lines<Arch>>(
      n, far, [&](int k, std::int64_t at) __attribute__((always_inline)) {
        const auto v = simd::load<Arch>(x.data() + at);
        (parts.take(k, v), ...);
      });
  if (i < n) (parts.take(1, simd::load_or<Arch>(x.data() + i, n - i, Parts::neutral)), ...);
}

}  // namespace detail

/// Minimum and maximum of x and of `seen`; NaN elements are ignored.
template <class Arch = xsimd::default_arch>
extrema min_max(std::span<const float> x, extrema seen = {}) {
  detail::extrema_lanes<Arch> lanes(seen);
  detail::observe<Arch>(x, simd::is_far(x.size()), lanes);
  return lanes.result();
}

/// As `min_max`, in one pass with a test for finite elements: nothing if an element is not finite.
template <class Arch = xsimd::default_arch>
std::optional<extrema> finite_min_max(std::span<const float> x, extrema seen = {}) {
  detail::extrema_lanes<Arch> lanes(seen);
  detail::finite_lanes<Arch> finite;
  detail::observe<Arch>(x, simd::is_far(x.size()), lanes, finite);
  if (!finite.result()) return std::nullopt;
  return lanes.result();
}

/// max|x|; NaN elements are ignored. 0 if there are no elements.
template <class Arch = xsimd::default_arch>
float abs_max(std::span<const float> x) {
  detail::magnitude_lanes<Arch> lanes;
  detail::observe<Arch>(x, simd::is_far(x.size()), lanes);
  return lanes.result();
}

/// Adds the sums of x and its squares to `seen`, in f64 over blocks that are accumulated in f32.
template <class Arch = xsimd::default_arch>
moments sums(std::span<const float> x, moments seen = {}) {
  constexpr std::size_t block = 4096;
  for (std::size_t i = 0; i < x.size(); i += block) {
    detail::moment_lanes<Arch> lanes;
    detail::observe<Arch>(x.subspan(i, std::min(block, x.size() - i)), simd::is_far(x.size()), lanes);
    const moments more = lanes.result();
    seen.sum += more.sum;
    seen.squares += more.squares;
  }
  return seen;
}

/// out[i] = max(out[i], max|x| of row i); initialize out to 0. NaN elements are ignored.
template <class Arch = xsimd::default_arch>
void abs_max_rows(std::span<float> out, matrix_view<const float> x) {
  for (std::int64_t i = 0; i < x.rows; ++i) {
    float& seen = out[static_cast<std::size_t>(i)];
    seen = std::max(seen, abs_max<Arch>(x.span(i)));
  }
}

/// out[j] = max(out[j], max|x| of column j); initialize out to 0. NaN elements are ignored.
template <class Arch = xsimd::default_arch>
void abs_max_columns(std::span<float> out, matrix_view<const float> x) {
  constexpr int tile = 4;
  const auto rows = [&]<int Rows>(std::integral_constant<int, Rows>, std::int64_t i) {
    simd::strips<Arch>(x.cols, [seen = out.data(), in = x.row(i), stride = x.row_stride](std::int64_t j, auto count) {
      auto most = simd::load<Arch>(seen + j, count);
      QWQ_UNROLL for (int r = 0; r < Rows; ++r) most =
          simd::at_least<Arch>(xsimd::abs(simd::load<Arch>(in + r * stride + j, count)), most);
      simd::store<Arch>(seen + j, most, count);
    });
  };
  std::int64_t i = 0;
  for (; i + tile <= x.rows; i += tile) rows(std::integral_constant<int, tile>{}, i);
  for (; i < x.rows; ++i) rows(std::integral_constant<int, 1>{}, i);
}

/// Edges of edges.size() - 1 equal bins, bitwise equal to numpy 2's f32 linspace(lo, hi): i * step + lo, each operation
/// rounded to f32; the last edge is hi itself.
inline void histogram_edges(std::span<float> edges, float lo, float hi) {
  const std::size_t bins = edges.size() - 1;
  const float step = (hi - lo) / static_cast<float>(bins);
  for (std::size_t i = 0; i < bins; ++i) {
    // The f64 product is exact and its conversion rounds, so that no compiler contracts it with the addition.
    const auto offset = static_cast<float>(static_cast<double>(i) * static_cast<double>(step));
    edges[i] = offset + lo;
  }
  edges[bins] = hi;
}

namespace detail {

/// Counts in several interleaved histograms, with an extra bin at each end for elements outside: adjacent elements
/// often have similar values, and a counter that was just stored is slow to load.
class side_by_side {
 public:
  static constexpr std::size_t most_bins = 2048;

  explicit side_by_side(std::size_t bins) : bins_(bins) {
    for (auto& one : counts_) std::fill_n(one, bins + 2, 0u);
  }
  void add(const std::int32_t* index, std::int64_t n) {
    std::int64_t i = 0;
    for (; i + copies <= n; i += copies) {
      QWQ_UNROLL for (int k = 0; k < copies; ++k)++ counts_[k][index[i + k]];
    }
    for (; i < n; ++i) ++counts_[0][index[i]];
  }
  void add_to(std::span<std::int64_t> counts) const {
    for (std::size_t i = 0; i < bins_; ++i) {
      std::int64_t sum = 0;
      QWQ_UNROLL for (int k = 0; k < copies; ++k) sum += counts_[k][i + 1];
      counts[i] += sum;
    }
  }

 private:
  static constexpr int copies = 4;
  std::size_t bins_;
  std::uint32_t counts_[copies][most_bins + 2];
};

/// One plus the bin of an element: 0 is below the first edge, bins + 1 above the last.
template <class Arch>
class bin_finder {
  using batch = simd::batch<Arch>;

 public:
  bin_finder(std::span<const float> edges, bool magnitude)
      : edges_(edges),
        bins_(static_cast<float>(edges.size() - 1)),
        magnitude_(std::bit_cast<float>(magnitude ? 0x7fffffffu : 0xffffffffu)) {
    const double per_unit =
        static_cast<double>(bins_) / (static_cast<double>(edges.back()) - static_cast<double>(edges.front()));
    per_unit_ = static_cast<float>(per_unit);
    offset_ = static_cast<float>(1 - static_cast<double>(edges.front()) * per_unit);
    if (!std::isfinite(per_unit_) || !std::isfinite(offset_)) return;
    // Positions are monotonic: an element whose position is farther from i than that of edge i is on the side of the
    // edge that its position indicates.
    float first[simd::lanes<Arch>];
    std::iota(first, std::end(first), 1.0f);
    batch off(0.0f);
    simd::strips<Arch>(static_cast<std::int64_t>(edges.size()), [&](std::int64_t i, auto count) {
      const auto distance = xsimd::abs(position(simd::load_or<Arch>(edges.data() + i, count, edges.front())) -
                                       (simd::load<Arch>(first) + batch(static_cast<float>(i))));
      if constexpr (std::is_same_v<decltype(count), simd::whole>)
        off = xsimd::max(off, distance);
      else {
        float lane[simd::lanes<Arch>];
        distance.store_unaligned(lane);
        off = xsimd::max(off, batch(*std::max_element(lane, lane + count)));
      }
    });
    uncertain_ = simd::reduce_max<Arch>(off);
  }

  /// Finds the bins of x[0, n).
  void find(std::int32_t* index, const float* x, std::int64_t n) const {
    if (!(uncertain_ < 0.5f)) {
      for (std::int64_t i = 0; i < n; ++i) {
        const float v = std::signbit(magnitude_) ? x[i] : std::abs(x[i]);
        index[i] = v == edges_.back()
                       ? static_cast<std::int32_t>(bins_)
                       : static_cast<std::int32_t>(
                             std::isnan(v) ? 0 : std::upper_bound(edges_.begin(), edges_.end(), v) - edges_.begin());
      }
      return;
    }
    simd::transform<Arch>(index, x, n,
                          [self = *this](batch v, std::int64_t) { return self.find(v & batch(self.magnitude_)); });
  }

 private:
  batch position(batch v) const { return simd::fma<Arch>(v, batch(per_unit_), batch(offset_)); }

  batch find(batch v) const {
    const batch p = simd::at_most<Arch>(simd::at_least<Arch>(position(v), batch(0.5f)), batch(bins_ + 1.5f));
    const batch shift(0x1.8p23f), nearest = (p + shift) - shift;
    if (xsimd::all(xsimd::abs(p - nearest) > batch(uncertain_))) return p;
    const batch edge = xsimd::min(xsimd::max(nearest, batch(1.0f)), batch(bins_ + 1));
    const batch bin = xsimd::select(v >= simd::gather<Arch>(edges_.data() - 1, edge), edge, edge - batch(1.0f));
    return xsimd::select(v == batch(edges_.back()), batch(bins_), bin);
  }

  std::span<const float> edges_;
  float bins_, magnitude_, per_unit_ = 0, offset_ = 0, uncertain_ = std::numeric_limits<float>::infinity();
};

}  // namespace detail

/// Adds the elements of x to the bins between `edges` (counts.size() + 1 edges, nearly equidistant, ascending), as
/// numpy.histogram does: bin i is [edges[i], edges[i + 1]), the last one closed. Elements outside, and NaN, are not
/// counted. With `magnitude`, counts |x|.
template <class Arch = xsimd::default_arch>
void histogram(std::span<std::int64_t> counts, std::span<const float> edges, std::span<const float> x,
               bool magnitude = false) {
  const detail::bin_finder<Arch> finder(edges, magnitude);
  const auto count = [&](std::span<const float> part, auto&& add) {
    constexpr std::size_t block = 512;
    alignas(64) std::int32_t index[block];
    for (std::size_t i = 0; i < part.size(); i += block) {
      const auto n = static_cast<std::int64_t>(std::min(block, part.size() - i));
      finder.find(index, part.data() + i, n);
      add(index, n);
    }
  };
  // Too many bins, or too few elements to make several histograms and their sum worthwhile.
  if (counts.size() > detail::side_by_side::most_bins || x.size() < counts.size())
    return count(x, [&](const std::int32_t* index, std::int64_t n) {
      for (std::int64_t i = 0; i < n; ++i)
        if (const auto bin = static_cast<std::size_t>(index[i]) - 1; bin < counts.size()) ++counts[bin];
    });
  for (constexpr std::size_t most = std::size_t{1} << 31; !x.empty(); x = x.subspan(std::min(most, x.size()))) {
    detail::side_by_side seen(counts.size());
    count(x.first(std::min(most, x.size())), [&](const std::int32_t* index, std::int64_t n) { seen.add(index, n); });
    seen.add_to(counts);
  }
}

}  // namespace qwq::kernel
