// SPDX-License-Identifier: Apache-2.0
// What observers read from activations: range, magnitude per channel, histogram.
#pragma once

#include <cmath>

#include "qwq/kernel/operands.hpp"
#include "qwq/kernel/simd.hpp"

namespace qwq::kernel {

/// Smallest and largest element of x and of what was seen before; NaN elements do not count.
template <class Arch = xsimd::default_arch>
extrema min_max(std::span<const float> x, extrema seen = {}) {
  using batch = simd::batch<Arch>;
  struct pair {
    batch min, max;
  };
  constexpr std::int64_t width = simd::lanes<Arch>;
  const auto n = static_cast<std::int64_t>(x.size());
  const pair start{batch(seen.min), batch(seen.max)};
  pair a[4] = {start, start, start, start};
  const auto take = [](pair& p, batch v) {
    p.min = simd::at_most<Arch>(v, p.min);
    p.max = simd::at_least<Arch>(v, p.max);
  };
  std::int64_t i = 0;
  for (; i + 4 * width <= n; i += 4 * width)
    for (int u = 0; u < 4; ++u) take(a[u], simd::load<Arch>(x.data() + i + u * width));
  for (; i + width <= n; i += width) take(a[0], simd::load<Arch>(x.data() + i));
  if (i < n) take(a[1], simd::load_or<Arch>(x.data() + i, n - i, std::numeric_limits<float>::quiet_NaN()));
  for (int u = 1; u < 4; ++u) {
    a[0].min = xsimd::min(a[0].min, a[u].min);
    a[0].max = xsimd::max(a[0].max, a[u].max);
  }
  return {simd::reduce_min<Arch>(a[0].min), simd::reduce_max<Arch>(a[0].max)};
}

/// Largest |x|; NaN elements do not count, 0 when there is none.
template <class Arch = xsimd::default_arch>
float abs_max(std::span<const float> x) {
  return simd::reduce_max<Arch>(simd::fold<Arch>(
      static_cast<std::int64_t>(x.size()), simd::batch<Arch>(0.0f),
      [&](simd::batch<Arch> a, std::int64_t i, auto count) {
        return simd::at_least<Arch>(xsimd::abs(simd::load<Arch>(x.data() + i, count)), a);
      },
      [](simd::batch<Arch> a, simd::batch<Arch> b) { return xsimd::max(a, b); }));
}

/// out[i] = max(out[i], largest |x| of row i): start from 0. NaN elements do not count.
template <class Arch = xsimd::default_arch>
void abs_max_rows(std::span<float> out, matrix_view<const float> x) {
  for (std::int64_t i = 0; i < x.rows; ++i) {
    float& seen = out[static_cast<std::size_t>(i)];
    seen = std::max(seen, abs_max<Arch>(x.span(i)));
  }
}

/// out[j] = max(out[j], largest |x| of column j): start from 0. NaN elements do not count.
template <class Arch = xsimd::default_arch>
void abs_max_columns(std::span<float> out, matrix_view<const float> x) {
  for (std::int64_t i = 0; i < x.rows; ++i)
    simd::strips<Arch>(x.cols, [&](std::int64_t j, auto count) {
      const auto seen = simd::load<Arch>(out.data() + j, count);
      simd::store<Arch>(out.data() + j, simd::at_least<Arch>(xsimd::abs(simd::load<Arch>(x.row(i) + j, count)), seen),
                        count);
    });
}

/// Edges of edges.size() - 1 equal bins, the bits of numpy 2's f32 linspace(lo, hi): i * step + lo, each operation
/// rounded to f32, the last edge hi itself.
inline void histogram_edges(std::span<float> edges, float lo, float hi) {
  const std::size_t bins = edges.size() - 1;
  const float step = (hi - lo) / static_cast<float>(bins);
  for (std::size_t i = 0; i < bins; ++i) {
    // The f64 product is exact and its conversion rounds, so that no compiler contracts it with the sum.
    const auto offset = static_cast<float>(static_cast<double>(i) * static_cast<double>(step));
    edges[i] = offset + lo;
  }
  edges[bins] = hi;
}

/// Adds the elements of x to the bins between `edges` (counts.size() + 1 of them, nearly equidistant, ascending), as
/// numpy.histogram counts: bin i is [edges[i], edges[i + 1]), the last one closed. Elements outside, and NaN, do not
/// count. With `magnitude`, it is |x| that is counted.
template <class Arch = xsimd::default_arch>
void histogram(std::span<std::int64_t> counts, std::span<const float> edges, std::span<const float> x,
               bool magnitude = false) {
  using batch = simd::batch<Arch>;
  const auto bins = static_cast<std::int32_t>(counts.size());
  const float lo = edges.front(), hi = edges.back();
  const batch first(lo), per_unit(static_cast<float>(bins) / (hi - lo)), last_bin(static_cast<float>(bins - 1));
  float value[simd::lanes<Arch>];
  std::int32_t index[simd::lanes<Arch>];
  simd::strips<Arch>(static_cast<std::int64_t>(x.size()), [&](std::int64_t i, auto count) {
    auto v = simd::load_or<Arch>(x.data() + i, count, std::numeric_limits<float>::quiet_NaN());
    if (magnitude) v = xsimd::abs(v);
    // A guess that is off by one bin at most, corrected against the edges; clipped, so NaN has a guess too.
    const auto guess = simd::at_most<Arch>(simd::at_least<Arch>((v - first) * per_unit, batch(0.0f)), last_bin);
    simd::store<Arch>(value, v);
    simd::store<Arch>(index, batch(xsimd::trunc(guess)));
    for (std::int64_t lane = 0; lane < simd::lanes<Arch>; ++lane) {
      const float element = value[lane];
      if (!(element >= lo && element <= hi)) continue;
      auto bin = static_cast<std::size_t>(index[lane]);
      if (element < edges[bin])
        --bin;
      else if (bin + 1 < counts.size() && element >= edges[bin + 1])
        ++bin;
      ++counts[bin];
    }
  });
}

}  // namespace qwq::kernel
