// SPDX-License-Identifier: Apache-2.0
// The growing histograms: bins, growth, and counts beyond 32 bits.
#include "qwq/quant/histogram.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

namespace {

using octaves = qwq::detail::signed_histogram<qwq::detail::octave_axis>;
using linear = qwq::detail::signed_histogram<qwq::detail::linear_axis<1024>>;

template <class Histogram>
void observe(Histogram& h, const std::vector<float>& values) {
  float largest = 0;
  for (const float x : values) largest = std::max(largest, std::abs(x));
  h.observe(values, largest);
}

/// Where every value went, and that it went between the edges of its bin.
template <class Histogram>
void check_bins(float scale) {
  const std::vector<float> values{0.0f,         -0.0f,         1.0f * scale,  -1.0f * scale, 0.75f * scale,
                                  0.3f * scale, 1e-3f * scale, -1.9f * scale, 1.999f * scale};
  for (const float x : values) {
    CAPTURE(x);
    Histogram h;
    observe(h, {1.999f * scale, x});
    const int bin = h.bin(std::abs(x));
    REQUIRE(bin < Histogram::bins);
    CHECK((std::signbit(x) ? h.negative(bin) : h.positive(bin)) >= 1);
    CHECK(h.edge(bin) <= std::abs(static_cast<double>(x)));
    CHECK(std::abs(static_cast<double>(x)) < h.edge(bin + 1));
  }
  Histogram h;
  observe(h, {1.999f * scale});
  CHECK(h.bin(2.0f * scale) == Histogram::bins);
  CHECK(h.edge(0) == 0);
  CHECK(h.edge(Histogram::bins) == 2.0 * static_cast<double>(scale));
  for (int i = 0; i < Histogram::bins; ++i) CHECK(h.edge(i) < h.edge(i + 1));
}

template <class Histogram>
std::vector<std::uint64_t> counts(const Histogram& h) {
  std::vector<std::uint64_t> all;
  for (int i = 0; i < Histogram::bins; ++i) all.insert(all.end(), {h.positive(i), h.negative(i)});
  return all;
}

template <class Histogram>
void check_growth() {
  std::vector<float> values;
  for (int exponent = -149; exponent < 128; ++exponent)
    for (const float mantissa : {1.0f, -1.1f, 1.5f, -1.99f}) values.push_back(std::ldexp(mantissa, exponent));
  values.push_back(std::numeric_limits<float>::max());
  Histogram whole, rising, falling, merged;
  observe(whole, values);
  for (std::size_t i = 0; i < values.size(); ++i) {
    observe(rising, {values[i]});
    observe(falling, {values[values.size() - 1 - i]});
    Histogram one;
    observe(one, {values[i]});
    if (i % 2 == 0) std::swap(one, merged);
    merged.merge(one);
  }
  const auto expected = counts(whole);
  CHECK(std::accumulate(expected.begin(), expected.end(), std::uint64_t{0}) == values.size());
  CHECK(counts(rising) == expected);
  CHECK(counts(falling) == expected);
  CHECK(counts(merged) == expected);
}

}  // namespace

TEST_CASE("bins hold what lies between their edges") {
  for (const float scale : {1.0f, 0x1p-90f, 0x1p126f}) {
    CAPTURE(scale);
    check_bins<linear>(scale);
    check_bins<octaves>(scale);
  }
}

TEST_CASE("a bin of an octave axis is at most 1/64 of its value wide") {
  octaves h;
  observe(h, {1.5f});
  for (int i = 1; i < octaves::bins; ++i) CHECK((h.edge(i + 1) - h.edge(i)) * 64 <= h.edge(i));
  CHECK(h.edge(1) < 0x1p-14);
}

TEST_CASE("growing gives what observing in any order gives, over all of f32") {
  check_growth<linear>();
  check_growth<octaves>();
}

TEST_CASE("counts do not overflow") {
  qwq::detail::bin_counts a;
  CHECK(a.empty());
  const std::uint32_t many = std::numeric_limits<std::uint32_t>::max() - 5;
  a.increment(2, many)[0] += many;
  a.increment(2, 10)[1] += 10;
  a.increment(2, many)[0] += many;
  CHECK(a[0] == 2 * std::uint64_t{many});
  CHECK(a[1] == 10);
  qwq::detail::bin_counts b = a;
  b.merge(a);
  b.merge(a);
  CHECK(b[0] == 6 * std::uint64_t{many});
  CHECK(b[1] == 30);
  qwq::detail::bin_counts c;
  c.increment(2, 1)[1] += 1;
  c.merge(b);
  b.merge({});
  CHECK(c[0] == b[0]);
  CHECK(c[1] == 31);
  c.move([](std::size_t) { return std::size_t{0}; });
  CHECK(c[0] == 6 * std::uint64_t{many} + 31);
  CHECK(c[1] == 0);
}
