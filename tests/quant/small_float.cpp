// SPDX-License-Identifier: Apache-2.0
// The floats of 8 and 4 bits against torch's and ModelOpt's tables.
#include <doctest/doctest.h>

#include <cmath>
#include <limits>

#include <qwq/core/small_float.hpp>
#include <qwq/io/safetensors.hpp>

#include "golden.hpp"

using namespace qwq;

namespace {

static_assert(static_cast<float>(float8_e4m3(448.0f)) == 448 && float8_e4m3(1e9f).bits == 0x7e);
static_assert(float8_e5m2(57344.0f).bits == 0x7b && static_cast<float>(float8_e5m2(-1.75f)) == -1.75f);
static_assert(float8_e5m2(0x1p-17f).bits == 0 && float8_e5m2(0x1.8p-17f).bits == 1 && float8_e5m2(0x1p-16f).bits == 1);
static_assert(float4_e2m1(2.5f).bits == 4 && float4_e2m1(5.0f).bits == 6 && float4_e2m1(-0.0f).bits == 8);
static_assert(float8_e8m0(1.0f).bits == 127 && float8_e8m0(1.5f).bits == 128 && float8_e8m0(0x1p-127f).bits == 0);
static_assert(static_cast<float>(float8_e8m0(0x1p-130f)) == 0x1p-127f && float8_e8m0(0x1.8p-127f).bits == 1);

const safetensors_file& tables() {
  static const safetensors_file file(QWQ_TEST_DATA "/modelopt/cast_tables.safetensors");
  return file;
}

template <class Float>
void check_own_values(int codes) {
  for (int code = 0; code < codes; ++code) {
    Float x;
    x.bits = static_cast<std::uint8_t>(code);
    const auto value = static_cast<float>(x);
    if (std::isfinite(value)) CHECK(Float(value).bits == x.bits);
  }
}

}  // namespace

TEST_CASE("a number of a format is its own nearest") {
  check_own_values<float8_e4m3>(256);
  check_own_values<float8_e5m2>(256);
  check_own_values<float4_e2m1>(16);
  check_own_values<float8_e8m0>(255);
}

TEST_CASE("E4M3 has torch's values and codes") {
  const auto values = golden::read<float>(tables(), "e4m3.values_by_code");
  REQUIRE(values.size() == 256);
  for (std::size_t code = 0; code < values.size(); ++code) {
    float8_e4m3 x;
    x.bits = static_cast<std::uint8_t>(code);
    if (std::isnan(values[code]))
      CHECK(std::isnan(static_cast<float>(x)));
    else
      CHECK(golden::bits(static_cast<float>(x)) == golden::bits(values[code]));
  }
  const auto in = golden::read<float>(tables(), "e4m3.in");
  const auto codes = golden::read<std::uint8_t>(tables(), "e4m3.code_sat448");
  REQUIRE(in.size() == 1032);
  for (std::size_t i = 0; i < in.size(); ++i) {
    CAPTURE(in[i]);
    if (std::isnan(in[i]))
      CHECK(float8_e4m3(in[i]).bits == 0x7f);  // the table clamps before it casts, which leaves no NaN
    else
      CHECK(float8_e4m3(in[i]).bits == codes[i]);
  }
}

TEST_CASE("E2M1 rounds as torch does") {
  const auto in = golden::read<float>(tables(), "e2m1.in"), values = golden::read<float>(tables(), "e2m1.value_rne");
  REQUIRE(in.size() == 64);
  for (std::size_t i = 0; i < in.size(); ++i) {
    CAPTURE(in[i]);
    CHECK(static_cast<float>(float4_e2m1(in[i])) == values[i]);
  }
}

TEST_CASE("values between two numbers go to the nearer one, ties to the even code") {
  const auto check = []<class Float>(Float, int last) {
    for (int code = 0; code < last; ++code) {
      Float low, high;
      low.bits = static_cast<std::uint8_t>(code);
      high.bits = static_cast<std::uint8_t>(code + 1);
      const float a = static_cast<float>(low), b = static_cast<float>(high), middle = (a + b) / 2;
      CHECK(Float(middle).bits == (code % 2 == 0 ? code : code + 1));
      CHECK(Float(std::nextafter(middle, 0.0f)).bits == code);
      CHECK(Float(std::nextafter(middle, b)).bits == code + 1);
    }
  };
  check(float8_e4m3{}, 0x7e);
  check(float8_e5m2{}, 0x7b);
  check(float4_e2m1{}, 0x7);
}
