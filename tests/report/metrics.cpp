// SPDX-License-Identifier: Apache-2.0
// Metrics against hand-computed values and closed forms; merging; what happens at the edges.
#include <qwq/report/metrics.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

using doctest::Approx;

namespace {

constexpr float inf = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();
using row = std::vector<float>;

Approx near(double value, double relative = 1e-14) { return Approx(value).epsilon(relative).scale(0); }

qwq::tensor_error tensor(const row& reference, const row& value) {
  qwq::tensor_error e;
  e.add(reference, value);
  return e;
}

qwq::distribution_error token(const row& reference, const row& value, std::int64_t target = -1) {
  qwq::distribution_error e;
  e.add(reference, value, target);
  return e;
}

/// KL of two coins whose logits are (0, a) and (0, b).
double coin_kl(float a, float b) {
  const double p = 1 / (1 + std::exp(-double{a})), q = 1 / (1 + std::exp(-double{b}));
  return p * std::log(p / q) + (1 - p) * std::log((1 - p) / (1 - q));
}

/// Rows of multiples of 1/8, so that sums are exact in any order.
row dyadic(int seed, std::size_t n) {
  row r;
  auto state = static_cast<unsigned>(seed);
  for (std::size_t i = 0; i < n; ++i) {
    state = state * 1664525u + 1013904223u;
    r.push_back(static_cast<float>(static_cast<int>(state >> 24) - 128) / 8);
  }
  return r;
}

}  // namespace

TEST_CASE("tensor_error: four elements by hand") {
  const auto e = tensor({1, -2, 3, 0}, {1.5, -2, 2, 0.25});
  CHECK(e.count() == 4);
  CHECK(e.mean_abs_diff() == 1.75 / 4);
  CHECK(e.max_abs_diff() == 1);
  CHECK(e.mse() == 1.3125 / 4);
  CHECK(e.peir() == 1.0 / 5);
  CHECK(e.cosine() == near(11.5 / std::sqrt(14 * 10.3125)));
  CHECK(e.sqnr_db() == near(10 * std::log10(14 / 1.3125)));
}

TEST_CASE("tensor_error: the PEIR interval is the reference's alone, and a constant reference has interval 1") {
  CHECK(tensor({0, 1}, {0, 101}).peir() == 100);
  CHECK(tensor({7, 7, 7}, {7, 7.5, 6.75}).peir() == 0.5);
}

TEST_CASE("tensor_error: equal, zero and empty tensors") {
  const auto equal = tensor({0.1f, -3.3f, 7.7f}, {0.1f, -3.3f, 7.7f});
  CHECK(equal.mean_abs_diff() == 0);
  CHECK(equal.peir() == 0);
  CHECK(equal.cosine() == 1);
  CHECK(equal.sqnr_db() == inf);

  const auto zeros = tensor({0, 0}, {0, 0});
  CHECK(zeros.cosine() == 1);
  CHECK(zeros.sqnr_db() == inf);
  CHECK(zeros.peir() == 0);

  CHECK(tensor({0, 0}, {1, 0}).cosine() == 0);
  CHECK(tensor({0, 0}, {1, 0}).sqnr_db() == -inf);
  CHECK(tensor({1, 0}, {0, 0}).cosine() == 0);
  CHECK(tensor({1, 0}, {0, 0}).sqnr_db() == 0);
  CHECK(tensor({1, 2}, {-1, -2}).cosine() == -1);

  const auto empty = tensor({}, {});
  for (const double v :
       {empty.mean_abs_diff(), empty.max_abs_diff(), empty.mse(), empty.peir(), empty.cosine(), empty.sqnr_db()})
    CHECK(std::isnan(v));
}

TEST_CASE("tensor_error: one NaN or infinity, on either side, is an infinite error for good") {
  for (const float bad : {not_a_number, inf, -inf})
    for (const bool in_reference : {true, false}) {
      auto e = in_reference ? tensor({1, bad, 2}, {1, 1, 2}) : tensor({1, 1, 2}, {1, bad, 2});
      e.add(row{1, 2}, row{1, 2});
      CHECK(e.mean_abs_diff() == inf);
      CHECK(e.max_abs_diff() == inf);
      CHECK(e.mse() == inf);
      CHECK(e.peir() == inf);
      CHECK(e.cosine() == 0);
      CHECK(e.sqnr_db() == -inf);
    }
}

TEST_CASE("tensor_error: extreme floats neither overflow nor underflow") {
  const float big = std::numeric_limits<float>::max(), small = std::numeric_limits<float>::denorm_min();
  CHECK(tensor({big, -big}, {-big, big}).cosine() == -1);
  CHECK(tensor({big, -big}, {-big, big}).peir() == 1);
  CHECK(tensor({small, 0}, {small, small}).cosine() == near(std::sqrt(0.5)));
}

TEST_CASE("tensor_error: merged parts are the whole") {
  const row a = dyadic(1, 1000), b = dyadic(2, 1000);
  const auto whole = tensor(a, b);
  qwq::tensor_error merged;
  for (const auto& [from, count] : {std::pair<std::size_t, std::size_t>{0, 1}, {1, 0}, {1, 700}, {701, 299}}) {
    qwq::tensor_error part;
    part.add(std::span(a).subspan(from, count), std::span(b).subspan(from, count));
    merged.merge(part);
  }
  CHECK(merged.count() == whole.count());
  CHECK(merged.mean_abs_diff() == whole.mean_abs_diff());
  CHECK(merged.max_abs_diff() == whole.max_abs_diff());
  CHECK(merged.mse() == whole.mse());
  CHECK(merged.peir() == whole.peir());
  CHECK(merged.cosine() == whole.cosine());
  CHECK(merged.sqnr_db() == whole.sqnr_db());
}

TEST_CASE("sizes that differ are named") {
  qwq::tensor_error t;
  CHECK_THROWS_WITH_AS(t.add(row{1, 2}, row{1}),
                       "tensor_error: expected two spans of one size, found 2 reference and 1 quantized values",
                       qwq::error);
  qwq::distribution_error d;
  CHECK_THROWS_WITH_AS(d.add(row{1}, row{1, 2}),
                       "distribution_error: expected two spans of one size, found 1 reference and 2 quantized values",
                       qwq::error);
  CHECK_THROWS_WITH_AS(d.add(row{}, row{}), "distribution_error: expected a row of logits, found none", qwq::error);
  CHECK_THROWS_WITH_AS(d.add(row{1, 2}, row{1, 2}, 2), "distribution_error: expected a target below 2, found 2",
                       qwq::error);
  CHECK(d.tokens() == 0);
}

TEST_CASE("distribution_error: KL of two coins") {
  for (const auto [a, b] : {std::array{1.0986123f, 0.0f}, {0.0f, 1.0986123f}, {2.5f, 2.25f}, {-3.0f, 4.0f}}) {
    CHECK(token({0, a}, {0, b}).kl() == near(coin_kl(a, b), 1e-13));
    CHECK(token({0, a}, {0, b}).kl_max() == near(coin_kl(a, b), 1e-13));
  }
  CHECK(token({0, std::log(3.0f)}, {0, 0}).kl() == near(0.75 * std::log(1.5) + 0.25 * std::log(0.5), 1e-7));
}

TEST_CASE("distribution_error: logits are defined up to a constant") {
  const row a{1, 2, 4, 0.5}, b{2, 1, 4, 0.25};
  row shifted = b;
  for (float& v : shifted) v += 4096;
  double mass_a = 0, mass_b = 0, kl = 0;  // the definition, without care for overflow
  for (std::size_t i = 0; i < 4; ++i) {
    mass_a += std::exp(double{a[i]});
    mass_b += std::exp(double{b[i]});
  }
  for (std::size_t i = 0; i < 4; ++i) {
    const double p = std::exp(double{a[i]}) / mass_a, q = std::exp(double{b[i]}) / mass_b;
    kl += p * std::log(p / q);
  }
  CHECK(token(a, b).kl() == near(kl, 1e-13));
  CHECK(token(a, shifted).kl() == near(kl, 1e-12));
  CHECK(token(a, a).kl() == 0);
}

TEST_CASE("distribution_error: large logits do not overflow, a masked token has probability 0") {
  CHECK(token({1e30f, 0}, {0, 1e30f}).kl() == double{1e30f});
  CHECK(token({-inf, 0, 0}, {-inf, 0, 0}).kl() == 0);
  CHECK(token({-inf, 0, 0}, {0, 0, 0}).kl() == near(std::log(1.5)));
  CHECK(token({0, 0, 0}, {-inf, 0, 0}).kl() == inf);
}

TEST_CASE("distribution_error: top-1 and top-5") {
  const row a{0, 1, 2, 3, 4, 5, 6, 7};
  CHECK(token(a, a).top1() == 1);
  CHECK(token(a, a).top5() == 1);
  CHECK(token(a, {0, 1, 2, 3, 4, 5, 7, 6}).top1() == 0);
  CHECK(token(a, {0, 1, 2, 3, 4, 5, 7, 6}).top5() == 1);
  CHECK(token(a, {7, 6, 5, 4, 3, 2, 1, 0}).top5() == near(2.0 / 5));  // {3,4,5,6,7} and {0,1,2,3,4}
  CHECK(token({1, 1, 0}, {1, 1, 0.5}).top1() == 1);                   // of equal logits, the lowest id
  CHECK(token({1, 0, 2}, {2, 1, 0}).top5() == 1);                     // fewer than five ids: all of them
  CHECK(token({0, 0, 0, 0, 0, 0}, {0, 0, 0, 0, 0, 1}).top5() == near(4.0 / 5));
}

TEST_CASE("distribution_error: perplexity") {
  qwq::distribution_error e;
  e.add(row(8, 0.5f), row(8, -2.0f), 3);
  CHECK(e.perplexity_float() == near(8));
  CHECK(e.perplexity_quantized() == near(8));

  qwq::distribution_error two;  // targets of probability 1/2 and 3/4: exp(-(ln 1/2 + ln 3/4) / 2) = sqrt(8/3)
  two.add(row{0, 0}, row{0, 0}, 0);
  two.add(row{0, std::log(3.0f)}, row{0, 0}, 1);
  two.add(row{5, 1}, row{1, 5}, -100);  // not scored
  CHECK(two.tokens() == 3);
  CHECK(two.targets() == 2);
  CHECK(two.perplexity_float() == near(std::sqrt(8.0 / 3), 1e-7));
  CHECK(two.perplexity_quantized() == near(2));
}

TEST_CASE("distribution_error: nothing measured is NaN; a NaN predicts nothing") {
  const qwq::distribution_error empty;
  for (const double v :
       {empty.kl(), empty.kl_max(), empty.top1(), empty.top5(), empty.perplexity_float(), empty.perplexity_quantized()})
    CHECK(std::isnan(v));
  CHECK(std::isnan(token({0, 1}, {0, 1}).perplexity_float()));

  for (const row& bad : {row{not_a_number, 1}, row{0, not_a_number}, row{0, inf}, row{-inf, -inf}}) {
    const auto e = token({0, 1}, bad, 1);
    CHECK(e.kl() == inf);
    CHECK(e.kl_max() == inf);
    CHECK(e.top1() == 0);
    CHECK(e.top5() == 0);
    CHECK(std::isfinite(e.perplexity_float()));
    CHECK(e.perplexity_quantized() == inf);
    CHECK(token(bad, {0, 1}).kl() == inf);
    CHECK(token(bad, bad).top1() == 0);
  }
}

TEST_CASE("distribution_error: merged parts are the whole") {
  qwq::distribution_error whole, merged, part;
  for (int i = 0; i < 20; ++i) {
    const row a = dyadic(i, 33), b = dyadic(i / 2, 33);
    const std::int64_t target = i % 3 == 0 ? -1 : i;
    whole.add(a, b, target);
    part.add(a, b, target);
    if (i % 7 == 6) {
      merged.merge(part);
      part = {};
    }
  }
  merged.merge(part);
  CHECK(merged.tokens() == 20);
  CHECK(merged.targets() == whole.targets());
  CHECK(merged.kl() == near(whole.kl()));
  CHECK(merged.kl_max() == whole.kl_max());
  CHECK(merged.top1() == whole.top1());
  CHECK(merged.top5() == near(whole.top5()));
  CHECK(merged.perplexity_float() == near(whole.perplexity_float(), 1e-13));
  CHECK(merged.perplexity_quantized() == near(whole.perplexity_quantized(), 1e-13));
}

TEST_CASE("greedy_divergence: ids before the first difference") {
  using ids = std::vector<int>;
  qwq::greedy_divergence d;
  CHECK(std::isnan(d.mean_tokens()));
  d.add(ids{1, 2, 3}, ids{1, 2, 3});                       // 3, equal
  d.add(ids{1, 2, 3}, ids{1, 9, 3});                       // 1
  d.add(ids{1, 2}, std::array<std::int64_t, 3>{1, 2, 3});  // 2: one goes on
  qwq::greedy_divergence other;
  other.add(ids{4}, ids{5});  // 0
  other.add(ids{}, ids{});    // 0, equal
  d.merge(other);
  CHECK(d.prompts() == 5);
  CHECK(d.equal() == 2);
  CHECK(d.mean_tokens() == 6.0 / 5);
}
