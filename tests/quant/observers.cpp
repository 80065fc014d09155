// SPDX-License-Identifier: Apache-2.0
// The streaming observers: what they find, and that neither pieces, order nor merging change it.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "golden.hpp"
#include "qwq/quant/any_observer.hpp"

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

static_assert(qwq::observer<qwq::minmax>);
static_assert(qwq::observer<qwq::moving_average<>>);
static_assert(qwq::observer<qwq::moving_average<0.5>>);
static_assert(qwq::observer<qwq::percentile_observer>);
static_assert(qwq::observer<qwq::percentile<99999>>);
static_assert(qwq::observer<qwq::entropy<>>);
static_assert(qwq::observer<qwq::mse_observer>);
static_assert(qwq::observer<qwq::mse<16>>);
static_assert(!qwq::observer<int>);

using sample = std::vector<float>;

sample gauss(std::size_t n, unsigned seed, float scale = 1) {
  std::mt19937 engine(seed);  // the standard fixes its numbers; those of distributions it does not
  sample x(n);
  for (float& v : x) {
    double sum = -6;
    for (int i = 0; i < 12; ++i) sum += static_cast<double>(engine()) / 4294967296.0;
    v = scale * static_cast<float>(sum);
  }
  return x;
}

/// Named data sets as activations have them.
std::map<std::string, sample> data() {
  std::map<std::string, sample> sets;
  sets["gauss"] = gauss(60000, 1);
  sets["tiny"] = gauss(20000, 2, 1e-30f);
  sets["huge"] = gauss(20000, 3, 1e37f);
  auto& outliers = sets["outliers"] = gauss(60000, 4);
  for (std::size_t i = 0; i < outliers.size(); i += 5000) outliers[i] *= i % 10000 == 0 ? 4000.0f : -300.0f;
  auto& silu = sets["silu"] = gauss(60000, 5, 3);
  for (float& x : silu) x = x / (1 + std::exp(-x));
  auto& positive = sets["positive"] = gauss(60000, 6);
  for (float& x : positive) x = std::abs(x) + 0.25f;
  auto& negative = sets["negative"] = gauss(60000, 7);
  for (float& x : negative) x = -x * x;
  sets["zeros"] = sample(100, 0.0f);
  sets["constant"] = sample(100, 0.25f);
  sets["one"] = sample{-3.5f};
  auto& growing = sets["growing"] = gauss(30000, 8);
  for (std::size_t i = 0; i < growing.size(); ++i) growing[i] *= std::ldexp(1.0f, static_cast<int>(i / 1000) - 15);
  return sets;
}

/// Calls f(name, make) for every observer.
template <class F>
void each_observer(F&& f) {
  for (const std::string name : {"minmax", "moving_average", "percentile:99.99", "percentile:99", "entropy", "mse"})
    f(name, [name] { return qwq::any_observer::parse(name); });
  f(std::string("mse, 16 bits"), [] { return qwq::any_observer::parse("mse", 16); });
}

bool same_bits(qwq::range a, qwq::range b) {
  return golden::bits(a.low) == golden::bits(b.low) && golden::bits(a.high) == golden::bits(b.high);
}

float order_statistic(sample x, std::size_t rank) {
  std::nth_element(x.begin(), x.begin() + static_cast<std::ptrdiff_t>(rank), x.end());
  return x[rank];
}

/// Mean squared error of what the range makes of x, in an asymmetric format.
double quantization_error(const sample& x, qwq::range r, int bits) {
  const double steps = (1 << bits) - 1;
  const double low = std::min(r.low, 0.0f), step = (std::max(r.high, 0.0f) - low) / steps;
  double sum = 0;
  for (const double v : x) {
    const double zero = std::nearbyint(-low / step);
    const double code = std::clamp(std::nearbyint(v / step) + zero, 0.0, steps);
    sum += (v - (code - zero) * step) * (v - (code - zero) * step);
  }
  return sum / static_cast<double>(x.size());
}

}  // namespace

TEST_CASE("pieces of any size give the same bits") {
  for (const auto& [set, x] : data())
    each_observer([&, &set = set, &x = x](const std::string& name, auto make) {
      CAPTURE(set);
      CAPTURE(name);
      auto whole = make();
      whole.observe(x);
      for (const std::size_t size : {std::size_t{1}, std::size_t{7}, std::size_t{255}, std::size_t{4097}}) {
        CAPTURE(size);
        auto pieces = make();
        for (std::size_t i = 0; i < x.size(); i += size)
          pieces.observe(std::span(x).subspan(i, std::min(size, x.size() - i)));
        CHECK(same_bits(pieces.result(), whole.result()));
        CHECK(pieces.count() == x.size());
      }
    });
}

TEST_CASE("merging is exact, in any order and grouping") {
  const auto sets = data();
  each_observer([&](const std::string& name, auto make) {
    if (name == "moving_average") return;  // its samples have an order
    CAPTURE(name);
    for (const auto& [set, x] : sets) {
      if (x.size() < 4) continue;
      CAPTURE(set);
      auto whole = make(), a = make(), b = make(), c = make();
      whole.observe(x);
      const std::span all(x);
      a.observe(all.first(x.size() / 4));
      b.observe(all.subspan(x.size() / 4, x.size() / 2 - x.size() / 4));
      c.observe(all.subspan(x.size() / 2));
      auto left = a, right = b, back = c;
      left.merge(b);
      left.merge(c);
      right.merge(c);
      auto grouped = a;
      grouped.merge(right);
      back.merge(b);
      back.merge(a);
      back.merge(make());
      auto onto_nothing = make();
      onto_nothing.merge(back);
      for (const auto* merged : {&left, &grouped, &back, &onto_nothing}) {
        CHECK(same_bits(merged->result(), whole.result()));
        CHECK(merged->count() == whole.count());
      }
    }
  });
}

TEST_CASE("a moving average merges as if the other's samples followed") {
  const auto run = [](qwq::moving_average<0.25>& o, int from, int to) {
    for (int i = from; i < to; ++i) {
      const sample x{-1.0f - static_cast<float>(i % 5), 2.0f + static_cast<float>(i % 7)};
      o.observe(x);
      o.end_batch();
    }
  };
  qwq::moving_average<0.25> whole, a, b, c;
  run(whole, 0, 30);
  run(a, 0, 11);
  run(b, 11, 12);
  run(c, 12, 30);
  auto left = a;
  left.merge(b);
  left.merge(c);
  auto right = b;
  right.merge(c);
  auto grouped = a;
  grouped.merge(right);
  for (const auto& merged : {left, grouped}) {
    CHECK(merged.result().low == doctest::Approx(static_cast<double>(whole.result().low)).epsilon(1e-6));
    CHECK(merged.result().high == doctest::Approx(static_cast<double>(whole.result().high)).epsilon(1e-6));
    CHECK(merged.count() == whole.count());
  }
  qwq::moving_average<0.25> empty;
  empty.merge(whole);
  CHECK(same_bits(empty.result(), whole.result()));
  empty.merge({});
  CHECK(same_bits(empty.result(), whole.result()));
}

TEST_CASE("a moving average moves by its constant, sample by sample") {
  qwq::moving_average<0.5> o;
  o.observe(sample{-8, 0});
  o.observe(sample{4});
  CHECK(o.result() == qwq::range{-8, 4});  // a sample that has not ended
  o.end_batch();
  o.end_batch();  // nothing in between
  CHECK(o.result() == qwq::range{-8, 4});
  o.observe(sample{-4, 8});
  CHECK(o.result() == qwq::range{-6, 6});
  o.end_batch();
  o.observe(sample{not_a_number});
  o.end_batch();
  CHECK(o.result() == qwq::range{-6, 6});
}

TEST_CASE("reset forgets the data and keeps the options") {
  const auto x = gauss(50000, 11), other = gauss(1000, 12, 1e6f);
  each_observer([&](const std::string& name, auto make) {
    CAPTURE(name);
    auto fresh = make(), used = make();
    fresh.observe(x);
    used.observe(other);
    used.observe(sample{not_a_number});
    used.end_batch();
    used.reset();
    CHECK(used.count() == 0);
    CHECK(used.nonfinite() == 0);
    CHECK_THROWS_AS(used.result(), qwq::error);
    used.observe(x);
    CHECK(same_bits(used.result(), fresh.result()));
  });
}

TEST_CASE("NaN and infinity are counted and change nothing") {
  const auto x = gauss(9000, 13);
  auto mixed = x;
  for (const std::ptrdiff_t at : {0, 100, 4096, 8000})
    mixed.insert(mixed.begin() + at, {not_a_number, infinity, -infinity, -not_a_number});
  each_observer([&](const std::string& name, auto make) {
    CAPTURE(name);
    auto clean = make(), dirty = make();
    clean.observe(x);
    dirty.observe(mixed);
    CHECK(same_bits(dirty.result(), clean.result()));
    CHECK(dirty.count() == x.size());
    CHECK(dirty.nonfinite() == 16);
    CHECK(clean.nonfinite() == 0);
    auto merged = clean;
    merged.merge(dirty);
    CHECK(merged.nonfinite() == 16);
  });
}

TEST_CASE("without a finite value there is no range") {
  each_observer([&](const std::string& name, auto make) {
    CAPTURE(name);
    auto o = make();
    CHECK_THROWS_AS(o.result(), qwq::error);
    o.observe({});
    CHECK_THROWS_AS(o.result(), qwq::error);
    o.observe(sample(5000, not_a_number));
    CHECK_THROWS_AS(o.result(), qwq::error);
    CHECK(o.nonfinite() == 5000);
  });
  qwq::percentile<> o;
  o.observe(sample{infinity, infinity});
  CHECK_THROWS_WITH_AS(o.result(), "percentile: expected at least one finite value, found none among 2", qwq::error);
}

TEST_CASE("data with one value has that range") {
  for (const float value : {0.0f, 0.25f, -3.5f, 1e-40f, 3e38f})
    each_observer([&](const std::string& name, auto make) {
      CAPTURE(name);
      CAPTURE(value);
      auto o = make();
      o.observe(sample(1000, value));
      CHECK(o.result() == qwq::range{value, value});
    });
}

TEST_CASE("every range lies within the data") {
  for (const auto& [set, x] : data())
    each_observer([&, &set = set, &x = x](const std::string& name, auto make) {
      CAPTURE(set);
      CAPTURE(name);
      auto o = make();
      o.observe(x);
      const auto [low, high] = o.result();
      const auto [least, largest] = std::minmax_element(x.begin(), x.end());
      CHECK(low >= *least);
      CHECK(high <= *largest);
      CHECK(low <= high);
    });
}

TEST_CASE("percentile: each side loses its share, to 1/64 of the end") {
  for (const auto& [set, x] : data())
    for (const std::uint32_t kept : {999900u, 990000u, 800000u}) {
      CAPTURE(set);
      CAPTURE(kept);
      qwq::percentile_observer o(kept);
      o.observe(x);
      const auto cut = x.size() * (1000000 - kept) / 2000000;
      const float low = order_statistic(x, cut), high = order_statistic(x, x.size() - 1 - cut);
      const float largest =
          std::max(std::abs(*std::min_element(x.begin(), x.end())), std::abs(*std::max_element(x.begin(), x.end())));
      const auto r = o.result();
      CHECK(std::abs(r.low - low) <= std::max(std::abs(low) / 64, largest / 32768));
      CHECK(std::abs(r.high - high) <= std::max(std::abs(high) / 64, largest / 32768));
    }
}

TEST_CASE("percentile: nothing is cut from few values, or at 100 %") {
  const auto x = gauss(19999, 14);
  const auto [least, largest] = std::minmax_element(x.begin(), x.end());
  qwq::percentile<9999> few;
  few.observe(x);
  CHECK(few.result() == qwq::range{*least, *largest});
  qwq::percentile_observer all(1000000);
  for (int i = 0; i < 10; ++i) all.observe(x);
  CHECK(all.result() == qwq::range{*least, *largest});
}

TEST_CASE("percentile: an end far inside of the range is as precise as others") {
  auto x = gauss(200000, 15);
  x[777] = 1e4f;
  qwq::percentile<999> o;
  o.observe(x);
  CHECK(o.result().high == doctest::Approx(static_cast<double>(order_statistic(x, 199899))).epsilon(1.0 / 64));
  CHECK(o.result().low == doctest::Approx(static_cast<double>(order_statistic(x, 100))).epsilon(1.0 / 64));
}

TEST_CASE("percentile: the digits behind the point") {
  CHECK(qwq::percentile<>().kept() == 999900);
  CHECK(qwq::percentile<9999>().kept() == 999900);
  CHECK(qwq::percentile<99999>().kept() == 999990);
  CHECK(qwq::percentile<999>().kept() == 999000);
  CHECK(qwq::percentile<95>().kept() == 950000);
  CHECK(qwq::percentile<999999>().kept() == 999999);
  CHECK_THROWS_AS(qwq::percentile_observer(0), qwq::error);
  CHECK_THROWS_WITH_AS(qwq::percentile_observer(1000001),
                       "percentile: expected 1 to 1000000 parts per million, found 1000001", qwq::error);
}

namespace {

/// Divergence of the data clipped to bins [a, b) of the fine bins from its quantized form, by the book.
double divergence(const std::vector<double>& fine, std::size_t a, std::size_t b, std::size_t levels) {
  std::vector<double> p(fine.begin() + static_cast<std::ptrdiff_t>(a), fine.begin() + static_cast<std::ptrdiff_t>(b));
  std::vector<double> q(p.size());
  for (std::size_t i = 0; i < a; ++i) p.front() += fine[i];
  for (std::size_t i = b; i < fine.size(); ++i) p.back() += fine[i];
  for (std::size_t level = 0; level < levels; ++level) {
    const std::size_t from = level * p.size() / levels, to = (level + 1) * p.size() / levels;
    double sum = 0, filled = 0;
    for (std::size_t i = from; i < to; ++i) {
      sum += fine[a + i];
      filled += p[i] > 0;
    }
    for (std::size_t i = from; i < to; ++i) q[i] = p[i] > 0 ? sum / filled : 0;
  }
  double sum_p = 0, sum_q = 0, result = 0;
  for (std::size_t i = 0; i < p.size(); ++i) {
    sum_p += p[i];
    sum_q += q[i];
  }
  for (std::size_t i = 0; i < p.size(); ++i)
    if (p[i] > 0) result += q[i] > 0 ? p[i] / sum_p * std::log(p[i] / sum_p / (q[i] / sum_q)) : infinity;
  return result;
}

}  // namespace

TEST_CASE("entropy: no candidate has less divergence, computed by the book") {
  for (const std::string set : {"gauss", "outliers", "silu", "positive", "negative"}) {
    CAPTURE(set);
    const auto x = data()[set];
    qwq::entropy<512, 32> o;
    o.observe(x);
    const auto found = o.result();

    // The fine bins between the extremes; the width is a power of two, 256 to the larger side at most.
    const auto [least, largest] = std::minmax_element(x.begin(), x.end());
    const double top = std::exp2(std::floor(std::log2(std::max(-*least, *largest))) + 1);
    const double width = top / 256;
    const auto bins_of = [&](double magnitude) { return static_cast<std::size_t>(std::floor(magnitude / width)); };
    const std::size_t below = *least < 0 ? bins_of(-*least) + 1 : 0, above = *largest > 0 ? bins_of(*largest) + 1 : 0;
    std::vector<double> fine(below + above);
    for (const double v : x) v < 0 ? ++fine[below - 1 - bins_of(-v)] : ++fine[below + bins_of(v)];

    double best = infinity;
    qwq::range expected;
    for (std::size_t t = 1; t <= std::max(below, above); ++t) {
      const std::size_t low = std::min(t, below), high = std::min(t, above);
      if (low + high < 32) continue;
      const double d = divergence(fine, below - low, below + high, 32);
      if (d > best) continue;
      best = d;
      expected = {low == below ? *least : static_cast<float>(-static_cast<double>(low) * width),
                  high == above ? *largest : static_cast<float>(static_cast<double>(high) * width)};
    }
    CHECK(found == expected);
    if (set == "gauss") CHECK(found.high < 0.9f * *largest);
  }
}

TEST_CASE("mse: no range of a grid makes less error of the data itself, by 0.1 %") {
  for (const std::string set : {"gauss", "outliers", "silu", "positive", "negative", "growing"})
    for (const int bits : {4, 8}) {
      CAPTURE(set);
      CAPTURE(bits);
      const auto x = data()[set];
      qwq::mse_observer o(bits);
      o.observe(x);
      const double found = quantization_error(x, o.result(), bits);
      const auto [least, largest] = std::minmax_element(x.begin(), x.end());
      double best = quantization_error(x, {*least, *largest}, bits);
      CHECK(found <= best);
      for (int i = 0; i < 24; ++i)
        for (int j = 0; j < 24; ++j) {
          const float low = *least < 0 ? *least * std::exp2(-static_cast<float>(i) / 4) : *least;
          const float high = *largest > 0 ? *largest * std::exp2(-static_cast<float>(j) / 4) : *largest;
          best = std::min(best, quantization_error(x, {low, high}, bits));
          if (*largest <= 0) break;
        }
      CHECK(found <= 1.001 * best);
    }
}

TEST_CASE("mse: sixteen bits clip what eight have to, less") {
  const auto x = data()["outliers"];
  qwq::mse<8> coarse;
  qwq::mse<16> fine;
  coarse.observe(x);
  fine.observe(x);
  CHECK(coarse.result().high - coarse.result().low <= fine.result().high - fine.result().low);
  CHECK_THROWS_WITH_AS(qwq::mse_observer(17), "mse: expected 2 to 16 bits, found 17", qwq::error);
}

TEST_CASE("observers by name") {
  const auto kept = [](const std::string& percent) {
    auto o = qwq::any_observer::parse("percentile:" + percent);
    sample x(2000001, 1.0f);
    for (std::size_t i = 0; i < x.size() / 2; ++i) x[i] = 0.5f;
    o.observe(x);
    return o.result();
  };
  CHECK(kept("100") == qwq::range{0.5f, 1});
  CHECK(kept("99.9999") == qwq::range{0.5f, 1});
  CHECK(qwq::any_observer().count() == 0);
  for (const std::string bad :
       {"", "min", "minmax ", "percentile", "percentile:", "percentile:0", "percentile:100.0001", "percentile:99.",
        "percentile:.5", "percentile:99.99999", "percentile:-1", "percentile:1e2", "percentile:99,9",
        "percentile:9.9.9", "percentile:99999999999", "Entropy"}) {
    CAPTURE(bad);
    CHECK_THROWS_AS(qwq::any_observer::parse(bad), qwq::error);
  }
  CHECK_THROWS_WITH_AS(qwq::any_observer::parse("max\n"),
                       "observer: expected minmax, moving_average, percentile:P (a percentage like 99.99), entropy or "
                       "mse, found \"max?\"",
                       qwq::error);
  auto a = qwq::any_observer::parse("minmax"), b = qwq::any_observer::parse("mse");
  CHECK_THROWS_WITH_AS(a.merge(b), "observer: expected one of the same kind to merge with", qwq::error);
}

TEST_CASE("percentages are exact") {
  sample x(1000);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i + 1);
  for (const auto& [text, kept] : {std::pair{"99", 990000u},
                                   {"99.0", 990000u},
                                   {"99.99", 999900u},
                                   {"99.999", 999990u},
                                   {"99.9999", 999999u},
                                   {"0.5", 5000u},
                                   {"007.25", 72500u}}) {
    CAPTURE(text);
    auto by_name = qwq::any_observer::parse(std::string("percentile:") + text);
    qwq::percentile_observer expected(kept);
    by_name.observe(x);
    expected.observe(x);
    CHECK(same_bits(by_name.result(), expected.result()));
  }
}
