// SPDX-License-Identifier: Apache-2.0
// TICO's convention, case by case, and scales that are powers of two.
#include "qwq/quant/tico.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <random>

#include "qwq/quant/tico_scheme.hpp"

using namespace qwq;

namespace {

using i16 = int_format<dtype::i16, true, conventions::tico>;
using i8 = int_format<dtype::i8, true, conventions::tico>;
using u8 = int_format<dtype::u8, false, conventions::tico>;
using u4 = int_format<dtype::u4, false, conventions::tico>;

constexpr auto of_channel = [](auto format, range r) { return compute_qparams<decltype(format)>(r, 0, false, true); };

// Symmetric: absmax / qmax, and the smallest code is one that no range asks for.
static_assert(compute_qparams<i16>({-32767, 5}) == qparams{1, 0});
static_assert(compute_qparams<i16>({3, 65534}) == qparams{2, 0});
static_assert(compute_qparams<i8>({0, 0}) == qparams{1e-12f / 127, 0});
static_assert(i16::qmin == -32767 && i16::type_min == -32768 && i16::qmax == 32767);
static_assert(to_affine<i16>({1, 0}).range.min == -32768);

// Asymmetric: the range holds 0.
static_assert(compute_qparams<u8>({-1, 254}) == qparams{1, 1});
static_assert(compute_qparams<u8>({10, 255}) == qparams{1, 0});
static_assert(compute_qparams<u8>({-255, -10}) == qparams{1, 255});
static_assert(compute_qparams<u8>({-1.5f, 253.5f}) == qparams{1, 2});  // 1.5 and 2.5 are both 2
static_assert(compute_qparams<u8>({-2.5f, 252.5f}) == qparams{1, 2});
static_assert(compute_qparams<u4>({-7.5f, 7.5f}) == qparams{1, 8});
static_assert(to_affine<u4>({1, 8}).range.max == 15);

// One value: itself, with a code that is exact; 0 has scale 1. Channels of a weight are ranges like others.
static_assert(compute_qparams<u8>({0, 0}) == qparams{1, 0} && compute_qparams<u8>({-1e-9f, 1e-9f}) == qparams{1, 0});
static_assert(compute_qparams<u8>({3, 3}) == qparams{3, 0} && compute_qparams<u8>({-3, -3}) == qparams{3, 255});
static_assert(of_channel(u8{}, {0, 0}) == qparams{1e-12f / 255, 0});
static_assert(of_channel(u8{}, {255, 255}) == qparams{1, 0} && of_channel(u8{}, {-255, -255}) == qparams{1, 255});

// Rounded by the reciprocal.
static_assert(to_affine<u8>({1, 0}).by == kernel::scaling::multiply);

// Weights have a scale for each row, whatever is chosen.
static_assert(shared_in<tico_w4a16::weight_format>(granularity::tensor) == granularity::row);
static_assert(shared_in<u8>(granularity::tensor) == granularity::tensor);
static_assert(tico_w8a16::activation_format::symmetric && !tico_w8a8::activation_format::symmetric);
static_assert(!tico_w4a16::weight_format::symmetric && qdq_w8a16::weight_format::symmetric);

}  // namespace

TEST_CASE("the scale and the zero point are computed in f32") {
  std::mt19937 random(3);
  std::uniform_real_distribution<float> end(-4, 4);
  for (int i = 0; i < 2000; ++i) {
    const float a = end(random), b = end(random), low = std::min(a, b), high = std::max(a, b);
    const volatile float width = std::max(high, 0.0f) - std::min(low, 0.0f);
    const volatile float scale = width / 255, quotient = low / scale, zero = 0 - quotient;
    const auto p = compute_qparams<u8>({low, high});
    CHECK(p.scale == scale);
    CHECK(p.zero_point == std::clamp(static_cast<int>(std::nearbyint(zero)), 0, 255));
  }
}

TEST_CASE("scales that are powers of two are the next larger ones") {
  using exact = int_format<dtype::i16, true, conventions::power_of_two<conventions::tico>>;
  CHECK(compute_qparams<exact>({-32767, 0}) == qparams{1, 0});
  CHECK(compute_qparams<exact>({-32768, 0}) == qparams{2, 0});
  CHECK(compute_qparams<exact>({0, 0.75f * 32767}) == qparams{1, 0});
  std::mt19937 random(4);
  std::lognormal_distribution<float> size(0, 8);
  for (int i = 0; i < 2000; ++i) {
    const range r{-size(random), size(random)};
    int exponent = 0;
    const auto p = compute_qparams<exact>(r), q = compute_qparams<i16>(r);
    CHECK(std::frexp(p.scale, &exponent) == 0.5f);
    CHECK(p.scale >= q.scale);
    CHECK(p.scale < 2 * q.scale);
  }
  using asymmetric = int_format<dtype::u8, false, conventions::power_of_two<conventions::tico>>;
  CHECK(compute_qparams<asymmetric>({-1.5f, 253.5f}) == qparams{1, 2});
  CHECK(compute_qparams<asymmetric>({-40, 260}) == qparams{2, 20});
}

TEST_CASE("what TICO's convention has no answer for") {
  CHECK_THROWS_WITH_AS(conventions::tico::scale_range({dtype::u8, true}),
                       "integer format: expected a signed type in a symmetric format, found u8", error);
  CHECK_THROWS_WITH_AS(compute_qparams<u8>({2, 1}), "range: expected finite low <= high, found [2.000000, 1.000000]",
                       error);
}
