// SPDX-License-Identifier: Apache-2.0
// Ranges, magnitudes and histograms.
#include "qwq/kernel/observe.hpp"

#include "qwq/kernel/reference.hpp"
#include "support.hpp"
#include "xtensor.hpp"

using namespace qwq;
using namespace test;

TEST_CASE("min_max and abs_max of every length") {
  for (const std::int64_t n : lengths) {
    CAPTURE(n);
    if (n == 0) {
      const auto none = kernel::min_max({});
      CHECK((none.min == infinity && none.max == -infinity));
      CHECK(kernel::abs_max({}) == 0.0f);
      continue;
    }
    for (const float shift : {-100.0f, 0.0f, 100.0f}) {  // 0 must not come in from a tail
      buffer<float> x(n, normal(n, 1));
      for (std::size_t i = 0; i < x.size(); ++i) x[i] += shift;
      const auto v = xt::adapt(x.data(), x.size(), xt::no_ownership(), std::vector{x.size()});
      const auto range = kernel::min_max(x.span());
      CHECK(range.min == xt::amin(v)());
      CHECK(range.max == xt::amax(v)());
      CHECK(kernel::abs_max(x.span()) == xt::amax(xt::abs(v))());
      const auto wider = kernel::min_max(x.span(), {-1000.0f, 2000.0f});
      CHECK((wider.min == -1000.0f && wider.max == 2000.0f));
    }
  }
}

TEST_CASE("NaN does not count, infinities and denormals do") {
  for (const std::int64_t n : {1, 17, 100, 257})
    for (unsigned seed = 0; seed < 20; ++seed) {
      auto values = any_bits(n, seed);
      values[seed % values.size()] = quiet_nan;
      if (seed % 2 == 0)
        for (float& v : values)
          if (std::isinf(v) || std::abs(v) > 0x1p-126f) v = quiet_nan;
      const buffer<float> x(n, values);
      const auto got = kernel::min_max(x.span()), expected = kernel::reference::min_max(x.span());
      CHECK(same(got.min, expected.min));
      CHECK(same(got.max, expected.max));
      CHECK(same(kernel::abs_max(x.span()), kernel::reference::abs_max(x.span())));
    }
  const buffer<float> x(40, {-infinity, 2.0f, quiet_nan, 0x1p-149f});
  const auto range = kernel::min_max(x.span());
  CHECK((range.min == -infinity && range.max == 2.0f));
  CHECK(kernel::abs_max(x.span()) == infinity);
  const buffer<float> none(40, {quiet_nan});
  CHECK(kernel::min_max(none.span()).min == infinity);
  CHECK(kernel::abs_max(none.span()) == 0.0f);
}

TEST_CASE("abs_max of rows and of columns keeps what was seen") {
  for (const std::int64_t n : lengths) {
    CAPTURE(n);
    const buffer<float> x(3 * n, any_bits(3 * n + 1, 7));
    buffer<float> rows(3, {0.5f}), columns(n, {0.5f});
    kernel::abs_max_rows(rows.span(), x.matrix(3, n));
    kernel::abs_max_columns(columns.span(), x.matrix(3, n));
    for (std::int64_t i = 0; i < 3; ++i)
      CHECK(rows[static_cast<std::size_t>(i)] == std::max(0.5f, kernel::reference::abs_max(x.matrix(3, n).span(i))));
    for (std::int64_t j = 0; j < n; ++j) {
      const float column[] = {x.matrix(3, n)(0, j), x.matrix(3, n)(1, j), x.matrix(3, n)(2, j)};
      CHECK(columns[static_cast<std::size_t>(j)] == std::max(0.5f, kernel::reference::abs_max(column)));
    }
    CHECK((rows.intact() && columns.intact()));
  }
}

TEST_CASE("histogram edges are f32 steps from the lower end, the last is the upper end") {
  std::vector<float> edges(4);
  kernel::histogram_edges(edges, -1.0f, 0.7f);
  const float step = 1.7f / 3;
  CHECK(edges[0] == -1.0f);
  CHECK(edges[1] == step + -1.0f);
  CHECK(edges[2] == static_cast<float>(2.0 * static_cast<double>(step)) + -1.0f);
  CHECK(edges[3] == 0.7f);
}

TEST_CASE("histogram counts what lies between the edges") {
  const std::pair<float, float> ranges[] = {{-3.1f, 2.7f}, {0.0f, 1e-3f}, {1e6f, 1.001e6f}, {-1e30f, 1e30f}};
  for (const auto& [lo, hi] : ranges)
    for (const std::size_t bins : {1u, 7u, 128u, 2048u, 2049u, 3000u}) {
      CAPTURE(lo);
      CAPTURE(bins);
      std::vector<float> edges(bins + 1);
      kernel::histogram_edges(edges, lo, hi);
      std::vector<float> values = special;
      for (std::size_t i = 0; i<edges.size(); i += bins> 200 ? 31 : 1)  // on the edges and next to them
        for (const float v : {edges[i], std::nextafter(edges[i], -infinity), std::nextafter(edges[i], infinity)})
          values.push_back(v);
      const auto spread = normal(2999, 3);
      for (const float v : spread) values.push_back(lo + (v + 1) * (hi / 2 - lo / 2));
      const buffer<float> x(static_cast<std::int64_t>(values.size()), values);
      std::vector<std::int64_t> counts(bins), expected(bins);
      for (const bool magnitude : {false, true, true}) {  // and counts add up
        kernel::histogram(counts, edges, x.span(), magnitude);
        kernel::reference::histogram(expected, edges, x.span(), magnitude);
        CHECK(counts == expected);
      }
    }
}

TEST_CASE("histogram of edges that are not quite, or not at all, equidistant") {
  for (const float bend : {0x1p-20f, 0.01f, 0.7f, 3.0f}) {
    CAPTURE(bend);
    std::vector<float> edges(101);
    for (std::size_t i = 0; i < edges.size(); ++i) {
      const float at = static_cast<float>(i) / 100;
      edges[i] = at + bend * at * at;
    }
    std::vector<float> values = normal(999, 3);
    for (const float edge : edges)
      values.insert(values.end(), {edge, std::nextafter(edge, -infinity), std::nextafter(edge, infinity)});
    std::vector<std::int64_t> counts(100), expected(100);
    kernel::histogram(counts, edges, values);
    kernel::reference::histogram(expected, edges, values);
    CHECK(counts == expected);
  }
}

TEST_CASE("extrema and finiteness in one pass, of every length and of more than the caches hold") {
  for (const std::int64_t n : lengths) {
    const buffer<float> x(n, normal(n, 4));
    const auto seen = kernel::finite_min_max(x.span());
    REQUIRE(seen.has_value());
    const auto expected = kernel::reference::min_max(x.span());
    CHECK((seen->min == expected.min && seen->max == expected.max));
    for (std::int64_t i = 0; i < n; i += 7)
      for (const float bad : {infinity, -infinity, quiet_nan}) {
        buffer<float> broken = x;
        broken[static_cast<std::size_t>(i)] = bad;
        CHECK(!kernel::finite_min_max(broken.span()).has_value());
      }
  }
  buffer<float> large(static_cast<std::int64_t>(kernel::streaming_bytes / sizeof(float)) + 5001, normal(1013, 2));
  large[large.size() - 1] = -100;
  large[4099] = 200;
  const auto seen = kernel::finite_min_max(large.span());
  REQUIRE(seen.has_value());
  CHECK((seen->min == -100 && seen->max == 200));
  CHECK(kernel::abs_max(large.span()) == 200);
}

TEST_CASE("sums of values and of squares, as xtensor has them in f64") {
  for (const std::int64_t n : {0, 1, 17, 1000, 4096, 100000}) {
    CAPTURE(n);
    std::vector<float> x = normal(n, 6, 3);
    x.resize(static_cast<std::size_t>(n));
    for (float& v : x) v += 2;
    const xt::xtensor<double, 1> wide = xt::cast<double>(xt::adapt(x, std::vector{x.size()}));
    const double sum = xt::sum(wide)(), squares = xt::sum(wide * wide)();
    const auto got = kernel::sums(x, {10, 20});
    // Blocks of 4096 are summed in f32 by 16 lanes or more: an error of (4096 / 16) half ulps of the sum of magnitudes.
    CHECK(std::abs(got.sum - 10 - sum) <= 256 * 0x1p-24 * xt::sum(xt::abs(wide))() + 1e-9);
    CHECK(std::abs(got.squares - 20 - squares) <= 256 * 0x1p-24 * squares + 1e-9);
  }
}

TEST_CASE("histogram of nothing, of one element and of elements outside") {
  const std::vector<float> edges{0, 1, 2};
  std::vector<std::int64_t> counts(2);
  kernel::histogram(counts, edges, {});
  CHECK(counts == std::vector<std::int64_t>{0, 0});
  const float two = 2.0f;
  kernel::histogram(counts, edges, {&two, 1});
  CHECK(counts == std::vector<std::int64_t>{0, 1});
  const std::vector<float> outside{-0x1p-149f, 2.0000002f, quiet_nan, infinity, -infinity};
  kernel::histogram(counts, edges, outside);
  CHECK(counts == std::vector<std::int64_t>{0, 1});
}
