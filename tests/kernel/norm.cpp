// SPDX-License-Identifier: Apache-2.0
// RMSNorm, L2 normalization and means.
#include "qwq/kernel/norm.hpp"

#include "qwq/kernel/reference.hpp"
#include "support.hpp"
#include "xtensor.hpp"

using namespace qwq;
using namespace test;

namespace {

constexpr std::int64_t rows = 3;

// An f32 sum of n squares is off by (n + 1) / 2 ulp at most, its root by half of that.
bool agrees(const buffer<float>& y, const xt::xtensor<double, 2>& expected, std::int64_t n) {
  const float bound = static_cast<float>(n + 8) * half_ulp;
  return y.intact() && first_difference(y, expected.storage(),
                                        [&](float a, double b) { return close(a, static_cast<float>(b), bound); }) < 0;
}

xt::xtensor<double, 2> as_double(const buffer<float>& x, std::int64_t n) {
  xt::xtensor<double, 2> result({static_cast<std::size_t>(rows), static_cast<std::size_t>(n)});
  std::copy_n(x.data(), x.size(), result.begin());
  return result;
}

}  // namespace

TEST_CASE("rms_norm is x / sqrt(mean(x^2) + eps) * weight") {
  for (const std::int64_t n : lengths) {
    if (n == 0) continue;
    CAPTURE(n);
    const buffer<float> x(rows * n, normal(rows * n, 1)), w(n, normal(n, 2));
    buffer<float> y(rows * n);
    kernel::rms_norm(y.matrix(rows, n), x.matrix(rows, n), w.span(), 1e-6f);

    const auto v = as_double(x, n);
    const auto weight = xt::adapt(w.data(), w.size(), xt::no_ownership(), std::vector{w.size()});
    const xt::xtensor<double, 2> mean = xt::mean(v * v, {1}, xt::keep_dims | xt::evaluation_strategy::immediate);
    CHECK(agrees(y, v / xt::sqrt(mean + static_cast<double>(1e-6f)) * weight, n));

    buffer<float> in_place = x;
    kernel::rms_norm(in_place.matrix(rows, n), in_place.matrix(rows, n), w.span(), 1e-6f);
    CHECK(first_difference(in_place, y, same) == -1);
  }
}

TEST_CASE("add_norm is a sum and its rms_norm") {
  for (const std::int64_t n : lengths) {
    if (n == 0) continue;
    CAPTURE(n);
    const buffer<float> a(rows * n, normal(rows * n, 1)), b(rows * n, normal(rows * n, 4)), w(n, normal(n, 2));
    buffer<float> sum(rows * n), y(rows * n), alone(rows * n);
    kernel::add_norm(sum.matrix(rows, n), y.matrix(rows, n), a.matrix(rows, n), b.matrix(rows, n), w.span(), 1e-6f);

    const auto v = as_double(a, n) + as_double(b, n);
    CHECK(sum.intact());
    CHECK(first_difference(sum, xt::xtensor<float, 2>(xt::cast<float>(v)).storage(), same) == -1);
    const auto weight = xt::adapt(w.data(), w.size(), xt::no_ownership(), std::vector{w.size()});
    const xt::xtensor<double, 2> s = as_double(sum, n);
    const xt::xtensor<double, 2> mean = xt::mean(s * s, {1}, xt::keep_dims | xt::evaluation_strategy::immediate);
    CHECK(agrees(y, s / xt::sqrt(mean + static_cast<double>(1e-6f)) * weight, n));

    kernel::rms_norm(alone.matrix(rows, n), sum.matrix(rows, n), w.span(), 1e-6f);
    CHECK(first_difference(y, alone, same) == -1);
    buffer<float> in_place = b;
    kernel::add_norm(in_place.matrix(rows, n), y.matrix(rows, n), a.matrix(rows, n), in_place.matrix(rows, n), w.span(),
                     1e-6f);
    CHECK(first_difference(in_place, sum, same) == -1);
    CHECK(first_difference(y, alone, same) == -1);
  }
}

TEST_CASE("lp_norm is x / sqrt(sum(x^2))") {
  for (const std::int64_t n : lengths) {
    if (n == 0) continue;
    CAPTURE(n);
    const buffer<float> x(rows * n, normal(rows * n, 3));
    buffer<float> y(rows * n);
    kernel::lp_norm(y.matrix(rows, n), x.matrix(rows, n));
    const auto v = as_double(x, n);
    const xt::xtensor<double, 2> sum = xt::sum(v * v, {1}, xt::keep_dims | xt::evaluation_strategy::immediate);
    CHECK(agrees(y, v / xt::sqrt(sum), n));
  }
}

TEST_CASE("mean") {
  for (const std::int64_t n : lengths) {
    if (n == 0) continue;
    CAPTURE(n);
    const buffer<float> x(rows * n, normal(rows * n, 3));
    buffer<float> y(rows), expected(rows);
    kernel::mean(y.span(), x.matrix(rows, n));
    kernel::reference::mean(expected.span(), x.matrix(rows, n));
    const float bound = static_cast<float>(n + 2) * half_ulp;  // of the largest addend
    CHECK(first_difference(y, expected, [&](float a, float b) { return close(a, b, bound, 4 * bound); }) == -1);
    CHECK(y.intact());
  }
}

TEST_CASE("norms of rows that are not dense leave the rest alone") {
  constexpr std::int64_t n = 19, stride = 23;
  const buffer<float> x(rows * stride, normal(rows * stride, 4)), w(n, {2.0f});
  buffer<float> y(rows * stride, {7.0f}), dense(rows * n);
  const matrix_view<const float> in{x.data(), rows, n, stride};
  kernel::rms_norm({y.data(), rows, n, stride}, in, w.span(), 1e-6f);
  kernel::reference::rms_norm(dense.matrix(rows, n), in, w.span(), 1e-6f);
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t j = 0; j < stride; ++j) {
      const float got = y[static_cast<std::size_t>(i * stride + j)];
      CHECK((j < n ? close(got, dense.matrix(rows, n)(i, j), 30 * half_ulp) : got == 7.0f));
    }
}

TEST_CASE("norms of zeros, NaN, infinities, denormals and no rows") {
  const auto norm = [](std::vector<float> row) {
    buffer<float> x(20, {0.5f}), w(20, {1.0f}), rms(20), lp(20);
    std::copy(row.begin(), row.end(), x.data());
    kernel::rms_norm(rms.matrix(1, 20), x.matrix(1, 20), w.span(), 1e-6f);
    kernel::lp_norm(lp.matrix(1, 20), x.matrix(1, 20));
    return std::pair(rms, lp);
  };
  const auto all = [](const buffer<float>& y, auto&& f) { return std::all_of(y.data(), y.data() + y.size(), f); };

  const auto zero = norm(std::vector<float>(20, 0.0f));
  CHECK(all(zero.first, [](float v) { return v == 0; }));
  CHECK(all(zero.second, [](float v) { return v == 0; }));
  const auto denormal = norm(std::vector<float>(20, 0x1p-140f));  // the squares are 0 in f32
  CHECK(all(denormal.first, [](float v) { return close(v, 0x1p-140f * 1000, 1e-3f, 0x1p-149f); }));
  CHECK(all(denormal.second, [](float v) { return v == 0; }));
  for (std::size_t at : {0u, 15u, 19u}) {
    CAPTURE(at);
    std::vector<float> row(20, 0.5f);
    row[at] = quiet_nan;
    const auto bad = norm(row);
    CHECK(all(bad.first, [](float v) { return std::isnan(v); }));
    CHECK(all(bad.second, [](float v) { return std::isnan(v); }));
    row[at] = -infinity;
    const auto infinite = norm(row);
    for (std::size_t i = 0; i < 20; ++i) {
      CHECK(same(infinite.first[i], i == at ? quiet_nan : 0.0f));
      CHECK(same(infinite.second[i], i == at ? quiet_nan : 0.0f));
    }
  }
  buffer<float> none(0);
  kernel::rms_norm(none.matrix(0, 8), none.matrix(0, 8), none.span(), 1e-6f);
  kernel::lp_norm(none.matrix(0, 8), none.matrix(0, 8));
  CHECK(none.intact());
}
