// SPDX-License-Identifier: Apache-2.0
// Scales and zero points against onnxruntime's, bit for bit.
#include "qwq/quant/params.hpp"

#include <doctest/doctest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <map>
#include <sstream>
#include <string>

#include "golden.hpp"

namespace {

using qwq::dtype;

constexpr float inf = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();

const std::map<std::string, dtype> types = {{"int8", dtype::i8},    {"uint8", dtype::u8}, {"int16", dtype::i16},
                                            {"uint16", dtype::u16}, {"int4", dtype::i4},  {"uint4", dtype::u4}};

/// The format types, so that a row of the table reaches the compile-time path too.
template <class F>
void with_format(qwq::int_spec f, F&& call) {
  const auto pick = [&]<dtype T>() {
    if (f.type != T) return;
    f.symmetric ? call(qwq::int_format<T, true>{}) : call(qwq::int_format<T, false>{});
  };
  pick.template operator()<dtype::i4>();
  pick.template operator()<dtype::u4>();
  pick.template operator()<dtype::i8>();
  pick.template operator()<dtype::u8>();
  pick.template operator()<dtype::i16>();
  pick.template operator()<dtype::u16>();
}

/// scale = absmax / 127.5
struct full_width {
  static constexpr auto by = qwq::kernel::scaling::multiply;
  static constexpr qwq::kernel::code_range scale_range(qwq::int_spec f) { return qwq::kernel::full_range(f.type); }
  static constexpr qwq::qparams compute_qparams(qwq::int_spec, qwq::range r, float) { return {r.high / 127.5f, 0}; }
};

}  // namespace

TEST_CASE("every row of onnxruntime's scale and zero point table") {
  std::ifstream table(golden::path("scale_zp_cases.csv"));
  std::string line;
  REQUIRE(std::getline(table, line));
  int rows = 0;
  int f32_zero_points_off = 0;
  while (std::getline(table, line)) {
    CAPTURE(line);
    std::istringstream fields(line);
    std::string type, symmetric, reduce, min_range, low, high, qmin, qmax, scale, zero_point;
    for (auto* field : {&type, &symmetric, &reduce, &min_range, &low, &high, &qmin, &qmax, &scale, &zero_point})
      std::getline(fields, *field, ',');
    const qwq::int_spec spec{types.at(type), symmetric == "1", reduce == "1"};
    const qwq::range range{golden::from_hex(low), golden::from_hex(high)};
    const float min_real_range = min_range.empty() ? 0.0f : std::stof(min_range);

    const auto codes = qwq::conventions::ort::scale_range(spec);
    CHECK(codes.min == std::stoi(qmin));
    CHECK(codes.max == std::stoi(qmax));
    const auto p = qwq::conventions::ort::compute_qparams(spec, range, min_real_range);
    CHECK(golden::bits(p.scale) == std::stoul(scale, nullptr, 16));
    CHECK(p.zero_point == std::stoi(zero_point));
    int formats = 0;
    with_format(spec, [&]<class Format>(Format) {
      ++formats;
      CHECK(qwq::compute_qparams<Format>(range, min_real_range, spec.reduce_range) == p);
    });
    CHECK(formats == 1);

    const float rounded = std::min(range.low, 0.0f) / p.scale;
    if (!spec.symmetric && static_cast<int>(static_cast<float>(codes.min) - std::nearbyint(rounded)) != p.zero_point)
      ++f32_zero_points_off;
    ++rows;
  }
  CHECK(rows == 576);
  CHECK(f32_zero_points_off >= 20);  // the table does hold rows that tell f64 from f32 arithmetic
}

TEST_CASE("formats are constants") {
  using i8 = qwq::int_format<dtype::i8, true>;
  static_assert(i8::qmin == -127 && i8::qmax == 127 && i8::type_min == -128 && i8::type_max == 127);
  using i4 = qwq::int_format<dtype::i4, true>;
  static_assert(i4::qmin == -8 && i4::qmax == 7 && i4::type_min == -8 && i4::type_max == 7);
  using u8 = qwq::int_format<dtype::u8, true>;
  static_assert(u8::qmin == 0 && u8::qmax == 254 && u8::type_max == 255);
  static_assert(qwq::compute_qparams<u8>({-1, 1}).zero_point == 127);
  static_assert(qwq::compute_qparams<qwq::int_format<dtype::u16, false>>({0, 65535}) == qwq::qparams{1, 0});

  constexpr auto p = qwq::to_affine<qwq::int_format<dtype::u4, false>>({0.5f, 3});
  static_assert(p.scale == 0.5f && p.zero_point == 3 && p.range.min == 0 && p.range.max == 15);
  CHECK(std::is_empty_v<i8>);
}

TEST_CASE("reduced ranges") {
  const auto codes = [](dtype t, bool symmetric) {
    const auto r = qwq::conventions::ort::scale_range({t, symmetric, true});
    return std::pair(r.min, r.max);
  };
  for (const bool symmetric : {false, true}) {
    CHECK(codes(dtype::i8, symmetric) == std::pair(-64, 64));
    CHECK(codes(dtype::u8, symmetric) == std::pair(0, 127));
    CHECK(codes(dtype::i16, symmetric) == std::pair(-16384, 16384));
    CHECK(codes(dtype::u16, symmetric) == std::pair(0, 32767));
    CHECK(codes(dtype::i4, symmetric) == std::pair(-4, 3));
    CHECK(codes(dtype::u4, symmetric) == std::pair(0, 7));
  }
}

TEST_CASE("another convention is another type") {
  using other = qwq::int_format<dtype::i8, true, full_width>;
  CHECK(other::qmin == -128);
  CHECK(qwq::to_affine<other>({1, 0}).by == qwq::kernel::scaling::multiply);
  CHECK(qwq::compute_qparams<other>({-255, 255}).scale == 2.0f);
  CHECK(qwq::compute_qparams<qwq::int_format<dtype::i8, true>>({-254, 254}).scale == 2.0f);
}

TEST_CASE("ranges that are none are refused") {
  using u8 = qwq::int_format<dtype::u8, false>;
  CHECK_THROWS_WITH_AS(qwq::compute_qparams<u8>({not_a_number, 1}),
                       "range: expected finite low <= high, found [nan, 1.000000]", qwq::error);
  CHECK_THROWS_AS(qwq::compute_qparams<u8>({0, not_a_number}), qwq::error);
  CHECK_THROWS_WITH_AS(qwq::compute_qparams<u8>({2, 1}),
                       "range: expected finite low <= high, found [2.000000, 1.000000]", qwq::error);
  CHECK_THROWS_WITH_AS(qwq::conventions::ort::compute_qparams({dtype::f16}, {0, 1}),
                       "integer format: expected i4, u4, i8, u8, i16 or u16, found f16", qwq::error);
  CHECK_THROWS_AS(qwq::compute_qparams<u8>({0, inf}), qwq::error);
  CHECK_THROWS_AS(qwq::compute_qparams<u8>({-inf, 0}), qwq::error);
}
