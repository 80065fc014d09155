// SPDX-License-Identifier: Apache-2.0
// Groups: every bit equals the scalar arithmetic with the group's scale.
#include "qwq/kernel/group.hpp"

#include "qwq/kernel/reference.hpp"
#include "support.hpp"
#include "xtensor.hpp"

using namespace qwq;
using namespace test;
using kernel::channel_axis;
using kernel::group_affine;

namespace {

struct shape {
  std::int64_t rows, cols, size;
};
/// Whole groups and shorter last ones, of the usual sizes and of others.
constexpr shape shapes[] = {{1, 32, 32},  {3, 64, 32}, {37, 96, 32},   {5, 256, 128}, {4, 100, 32},
                            {70, 34, 32}, {2, 6, 4},   {129, 18, 128}, {1, 2, 32},    {0, 64, 32}};

std::size_t scale_count(const shape& s, channel_axis along) {
  return static_cast<std::size_t>(along == channel_axis::row ? s.rows * kernel::group_count(s.cols, s.size)
                                                             : kernel::group_count(s.rows, s.size) * s.cols);
}
std::size_t scale_of(const shape& s, channel_axis along, std::int64_t i, std::int64_t j) {
  return static_cast<std::size_t>(along == channel_axis::row ? i * kernel::group_count(s.cols, s.size) + j / s.size
                                                             : i / s.size * s.cols + j);
}

template <class F>
void with_shapes(F&& f) {
  for (const shape& s : shapes)
    for (const channel_axis along : {channel_axis::row, channel_axis::column}) {
      CAPTURE(s.rows);
      CAPTURE(s.cols);
      CAPTURE(s.size);
      f(s, along);
    }
}

}  // namespace

TEST_CASE("groups along either axis have the bits of their scale's scalar arithmetic") {
  with_shapes([](const shape& s, channel_axis along) {
    for (const dtype t : {dtype::i4, dtype::u4, dtype::i8})
      for (const bool symmetric : {true, false}) {
        const auto range = kernel::full_range(t);
        const std::int64_t n = s.rows * s.cols, count = static_cast<std::int64_t>(scale_count(s, along));
        auto values = normal(n, 1, 3);
        for (std::size_t i = 0; i < values.size(); i += 5) values[i] = special[i / 5 % special.size()];
        const buffer<float> x(n, values), scales(count, {0.1f, 0.37f, 0x1p-130f, 2.0f});
        buffer<std::int32_t> zero_points(symmetric ? 0 : count);
        for (std::size_t i = 0; i < zero_points.size(); ++i) zero_points[i] = static_cast<std::int32_t>(i % 5);
        const group_affine p{scales.span(), zero_points.span(), s.size, range, along};
        buffer<float> fake(n), back(n), unpacked(n);
        buffer<std::int8_t> codes(n);
        buffer<std::uint8_t> bytes(n / 2);
        kernel::fake_quantize(fake.matrix(s.rows, s.cols), x.matrix(s.rows, s.cols), p);
        kernel::quantize(codes.matrix(s.rows, s.cols), x.matrix(s.rows, s.cols), p);
        kernel::dequantize(back.matrix(s.rows, s.cols), codes.matrix(s.rows, s.cols), p);
        if (t != dtype::i8) {
          kernel::quantize_int4(bytes.span(), x.matrix(s.rows, s.cols), p);
          kernel::dequantize_int4(unpacked.matrix(s.rows, s.cols), bytes.span(), p);
        }
        std::int64_t wrong = 0;
        for (std::int64_t i = 0; i < s.rows; ++i)
          for (std::int64_t j = 0; j < s.cols; ++j) {
            const std::size_t g = scale_of(s, along, i, j), at = static_cast<std::size_t>(i * s.cols + j);
            const kernel::affine one{scales[g], symmetric ? 0 : zero_points[g], range};
            const std::int32_t code = kernel::reference::quantize(x[at], one);
            wrong += codes[at] != code;
            wrong += !same(fake[at], kernel::reference::dequantize(code, one));
            wrong += !same(back[at], fake[at]);
            if (t == dtype::i8) continue;
            wrong += (bytes[at / 2] >> (at % 2 * 4) & 15) != (code & 15);
            wrong += !same(unpacked[at], fake[at]);
          }
        CHECK(wrong == 0);
        CHECK((fake.intact() && codes.intact() && bytes.intact() && back.intact() && unpacked.intact()));
      }
  });
}

TEST_CASE("rows with a gap after them") {
  const buffer<float> x(5 * 70, normal(350, 3)), scales(10, {0.2f, 0.3f});
  buffer<float> y(5 * 66);
  kernel::fake_quantize({y.data(), 5, 64, 66}, {x.data(), 5, 64, 70}, group_affine{scales.span(), {}, 32, {-8, 7}});
  for (std::size_t i = 0; i < 5; ++i)
    for (std::size_t j = 0; j < 66; ++j)
      CHECK(
          same(y[i * 66 + j],
               j >= 64 ? 0.0f : kernel::reference::fake_quantize(x[i * 70 + j], {scales[i * 2 + j / 32], 0, {-8, 7}})));
}

TEST_CASE("scales from the greatest magnitude of each group") {
  with_shapes([](const shape& s, channel_axis along) {
    const std::int64_t n = s.rows * s.cols;
    auto values = normal(n, 7, 5);
    for (std::size_t i = 0; i < values.size(); ++i)
      if (i / 40 % 3 == 1) values[i] = 0;  // some groups have nothing else
    const buffer<float> x(n, values);
    const auto count = scale_count(s, along);
    std::vector<float> expected(count, 0.0f);
    for (std::int64_t i = 0; i < s.rows; ++i)
      for (std::int64_t j = 0; j < s.cols; ++j) {
        float& most = expected[scale_of(s, along, i, j)];
        most = std::max(most, std::abs(x.matrix(s.rows, s.cols)(i, j)));
      }
    for (float& v : expected) v = v == 0 ? 1 : v / 7;
    buffer<float> scales(static_cast<std::int64_t>(count)), again(static_cast<std::int64_t>(count));
    kernel::group_scales(scales.span(), x.matrix(s.rows, s.cols), s.size, 7, along);
    CHECK(first_difference(scales, expected, same) == -1);

    buffer<float> one_pass(n), two_passes(n);
    buffer<std::uint8_t> bytes(n / 2), bytes_of_two(n / 2);
    const kernel::group_of_abs_max p{again.span(), s.size, {-8, 7}, along};
    const group_affine given{scales.span(), {}, s.size, {-8, 7}, along};
    kernel::fake_quantize(one_pass.matrix(s.rows, s.cols), x.matrix(s.rows, s.cols), p);
    kernel::fake_quantize(two_passes.matrix(s.rows, s.cols), x.matrix(s.rows, s.cols), given);
    kernel::quantize_int4(bytes.span(), x.matrix(s.rows, s.cols), p);
    kernel::quantize_int4(bytes_of_two.span(), x.matrix(s.rows, s.cols), given);
    CHECK(first_difference(again, expected, same) == -1);
    CHECK(first_difference(one_pass, two_passes, same) == -1);
    CHECK(first_difference(bytes, bytes_of_two, [](int a, int b) { return a == b; }) == -1);
    CHECK((scales.intact() && again.intact() && one_pass.intact() && bytes.intact()));
  });
}

TEST_CASE("groups of 32 along rows, as xtensor computes them") {
  xt::xtensor<float, 3> x({4, 3, 32});
  const auto values = normal(static_cast<std::int64_t>(x.size()), 2);
  std::copy(values.begin(), values.end(), x.begin());
  const xt::xtensor<float, 3> scale = xt::amax(xt::abs(x), {2}, xt::keep_dims) / 7.0f;
  const xt::xtensor<float, 3> expected = xt::clip(xt::nearbyint(x / scale), -8.0f, 7.0f) * scale;
  std::vector<float> y(x.size()), scales(12);
  kernel::fake_quantize({y.data(), 4, 96}, {x.data(), 4, 96}, kernel::group_of_abs_max{scales, 32, {-8, 7}});
  CHECK(first_difference(scales, scale.storage(), same) == -1);
  CHECK(first_difference(y, expected.storage(), [](float a, float b) { return a == b; }) == -1);  // there, -0 may be 0
}
