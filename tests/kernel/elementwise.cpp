// SPDX-License-Identifier: Apache-2.0
// Activations, conversions and softmax.
#include "qwq/kernel/elementwise.hpp"

#include <array>

#include "qwq/kernel/reference.hpp"
#include "qwq/kernel/softmax.hpp"
#include "support.hpp"
#include "xtensor.hpp"

using namespace qwq;
using namespace test;

namespace {

auto tensor(const buffer<float>& x) { return xt::adapt(x.data(), x.size(), xt::no_ownership(), std::vector{x.size()}); }

std::vector<float> mixed(std::int64_t n, unsigned seed) {
  auto values = normal(n, seed, 20);
  for (std::size_t i = 0; i < values.size(); i += 3) values[i] = special[(i / 3 + seed) % special.size()];
  return values;
}

bool exactly(const buffer<float>& y, const xt::xtensor<float, 1>& expected) {
  return y.intact() && first_difference(y, expected.storage(), same) < 0;
}

}  // namespace

TEST_CASE("rsqrt and scale are exact") {
  for (const std::int64_t n : lengths) {
    CAPTURE(n);
    const buffer<float> x(n, mixed(n, 1));
    buffer<float> y(n), expected(n);
    kernel::rsqrt(y.span(), x.span());
    CHECK(exactly(y, 1.0f / xt::sqrt(tensor(x))));
    kernel::reference::rsqrt(expected.span(), x.span());
    CHECK(first_difference(y, expected, [](float a, float b) { return close(a, b, 4 * half_ulp); }) == -1);
    kernel::scale(y.span(), x.span(), -0.3f);
    CHECK(exactly(y, tensor(x) * -0.3f));
    y = x;
    kernel::scale(y.span(), y.span(), -1);
    for (std::size_t i = 0; i < y.size(); ++i) expected[i] = -x[i];
    CHECK(first_difference(y, expected, same) == -1);
  }
}

TEST_CASE("sigmoid, silu and swiglu stay within 4 ulp") {
  for (const std::int64_t n : lengths) {
    CAPTURE(n);
    const buffer<float> x(n, mixed(n, 1)), up(n, mixed(n, 2));
    buffer<float> y(n), expected(n);
    // exp(-x) overflows in f32 where the result is below 2^-127: those are 0, as x / inf is, times x or up.
    const auto agree = [&](auto&& scale_of) {
      for (std::size_t i = 0; i < y.size(); ++i) {
        if (!close(y[i], expected[i], 8 * half_ulp, 0x1p-120f * scale_of(i))) return false;
      }
      return y.intact();
    };
    kernel::sigmoid(y.span(), x.span());
    kernel::reference::sigmoid(expected.span(), x.span());
    CHECK(agree([](std::size_t) { return 1.0f; }));
    kernel::silu(y.span(), x.span());
    kernel::reference::silu(expected.span(), x.span());
    for (std::size_t i = 0; i < y.size(); ++i)
      if (x[i] == -infinity) CHECK((std::isnan(y[i]) && std::isnan(expected[i])));
    CHECK(agree([](std::size_t) { return 1.0f; }));
    kernel::swiglu(y.span(), x.span(), up.span());
    for (std::size_t i = 0; i < y.size(); ++i) expected[i] = expected[i] * up[i];
    CHECK(agree([&](std::size_t i) { return std::max(1.0f, std::abs(up[i])); }));
  }
}

TEST_CASE("every f16 and bf16 value converts to f32 as its type does, and back") {
  constexpr std::int64_t all = 65536;
  const auto check = [&]<class T>(T) {
    buffer<T> in(all), back(all);
    buffer<float> wide(all);
    for (std::size_t i = 0; i < in.size(); ++i) in[i].bits = static_cast<std::uint16_t>(i);
    kernel::convert(wide.span(), in.span());
    kernel::convert(back.span(), wide.span());
    std::int64_t wrong = 0;
    for (std::size_t i = 0; i < in.size(); ++i) {
      wrong += !same(wide[i], static_cast<float>(in[i]));
      wrong += std::isnan(wide[i]) ? !std::isnan(static_cast<float>(back[i])) : in[i].bits != back[i].bits;
    }
    CHECK(wrong == 0);
    CHECK(wide.intact());
    CHECK(back.intact());
  };
  check(float16{});
  check(bfloat16{});
}

TEST_CASE("f32 rounds to f16 and bf16 half to even") {
  auto values = any_bits(100'003, 5);
  for (std::uint32_t bits = 0; bits < 0x7c00; ++bits) {  // halfway between neighbours, and a step to either side
    const float a = static_cast<float>(std::bit_cast<float16>(static_cast<std::uint16_t>(bits)));
    const float b = static_cast<float>(std::bit_cast<float16>(static_cast<std::uint16_t>(bits + 1)));
    const float half = std::isinf(b) ? 65520.0f : (a + b) / 2;
    for (float v : {half, std::nextafter(half, 0.0f), std::nextafter(half, infinity)}) values.push_back(-v);
  }
  const auto n = static_cast<std::int64_t>(values.size());
  const buffer<float> x(n, values);
  const auto check = [&]<class T>(T) {
    buffer<T> y(n);
    kernel::convert(y.span(), x.span());
    CHECK(first_difference(y, values, [](T got, float v) {
            return std::isnan(v) ? std::isnan(static_cast<float>(got)) : got.bits == T(v).bits;
          }) == -1);
    CHECK(y.intact());
  };
  check(float16{});
  check(bfloat16{});
}

TEST_CASE("softmax rows sum to 1 and follow the formula") {
  for (const std::int64_t n : lengths) {
    if (n == 0) continue;
    CAPTURE(n);
    const std::array shape{std::size_t{2}, static_cast<std::size_t>(n)};
    const buffer<float> x(2 * n, normal(2 * n, 7, 10));
    buffer<float> y(2 * n);
    kernel::softmax(y.matrix(2, n), x.matrix(2, n));
    const xt::xtensor<double, 2> v = xt::adapt(x.data(), x.size(), xt::no_ownership(), shape);
    const xt::xtensor<double, 2> e = xt::exp(v - xt::amax(v, {1}, xt::keep_dims | xt::evaluation_strategy::immediate));
    const xt::xtensor<double, 2> expected = e / xt::sum(e, {1}, xt::keep_dims | xt::evaluation_strategy::immediate);
    // The difference x - max is rounded: half an ulp of at most 128.
    CHECK(first_difference(y, expected.storage(), [&](float a, double b) {
            return close(a, static_cast<float>(b), static_cast<float>(n + 160) * half_ulp);
          }) == -1);
    CHECK(y.intact());
    buffer<float> in_place = x;
    kernel::softmax(in_place.matrix(2, n), in_place.matrix(2, n));
    CHECK(first_difference(in_place, y, same) == -1);
  }
}

TEST_CASE("softmax of infinities and NaN") {
  for (std::size_t at : {0u, 8u, 18u}) {
    buffer<float> x(19, {1.0f}), y(19), expected(19);
    x[at] = -infinity;
    kernel::softmax(y.matrix(1, 19), x.matrix(1, 19));
    for (std::size_t i = 0; i < 19; ++i) CHECK(close(y[i], i == at ? 0.0f : 1.0f / 18, 2 * half_ulp));
    for (float bad : {quiet_nan, infinity}) {
      x[at] = bad;
      kernel::softmax(y.matrix(1, 19), x.matrix(1, 19));
      kernel::reference::softmax(expected.matrix(1, 19), x.matrix(1, 19));
      CHECK(std::isnan(y[at]));
      CHECK(first_difference(y, expected, same) == -1);
    }
  }
  buffer<float> x(19, {-infinity}), y(19);
  kernel::softmax(y.matrix(1, 19), x.matrix(1, 19));
  for (std::size_t i = 0; i < 19; ++i) CHECK(std::isnan(y[i]));
}
