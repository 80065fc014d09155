// SPDX-License-Identifier: Apache-2.0
// Quantization: every bit equals the scalar arithmetic.
#include "qwq/kernel/quantize.hpp"

#include "qwq/kernel/reference.hpp"
#include "support.hpp"
#include "xtensor.hpp"

using namespace qwq;
using namespace test;
using kernel::affine;
using kernel::channel_affine;
using kernel::channel_axis;
using kernel::scaling;

namespace {

constexpr dtype types[] = {dtype::i4, dtype::u4, dtype::i8, dtype::u8, dtype::i16, dtype::u16};

/// Ties and their neighbours for the scale, special values, and any bits.
std::vector<float> samples(std::int64_t n, float scale, unsigned seed) {
  auto values = any_bits(n, seed);
  const auto spread = normal(n, seed + 1, 100 * scale);
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i % 4 == 1) values[i] = spread[i];
    if (i % 4 == 2) values[i] = (static_cast<float>(i % 301) - 150.5f) * scale;
    if (i % 4 == 3) values[i] = special[i / 4 % special.size()];
  }
  return values;
}

/// Calls f(Code{}) with a C++ type that holds the codes of t.
template <class F>
void with_code(dtype t, F&& f) {
  if (t == dtype::i16) return f(std::int16_t{});
  if (t == dtype::u16) return f(std::uint16_t{});
  if (is_signed(t)) return f(std::int8_t{});
  f(std::uint8_t{});
}

}  // namespace

static_assert(kernel::full_range(dtype::i4).min == -8 && kernel::full_range(dtype::i4).max == 7);
static_assert(kernel::full_range(dtype::u16).min == 0 && kernel::full_range(dtype::u16).max == 65535);

TEST_CASE("one scale: codes, values and fake-quantized values have the bits of the scalar arithmetic") {
  for (const dtype t : types) {
    const auto range = kernel::full_range(t);
    for (const float scale : {1.0f, 0.1f, 0x1p-7f, 3.7e-5f, 1e30f, 0x1p-140f, 0.0f})
      for (const std::int32_t zero_point : {0, range.min, range.max, (range.min + range.max) / 2 + 1})
        for (const scaling by : {scaling::divide, scaling::multiply})
          with_code(t, [&]<class Code>(Code) {
            CAPTURE(name(t));
            CAPTURE(scale);
            CAPTURE(zero_point);
            const affine p{scale, zero_point, range, by};
            constexpr std::int64_t n = 1003;
            const buffer<float> x(n, samples(n, scale, 1));
            buffer<Code> codes(n);
            buffer<float> y(n), fake(n);
            kernel::quantize(codes.span(), x.span(), p);
            kernel::dequantize(y.span(), codes.span(), p);
            kernel::fake_quantize(fake.span(), x.span(), p);
            std::int64_t wrong = 0;
            for (std::size_t i = 0; i < codes.size(); ++i) {
              wrong += codes[i] != kernel::reference::quantize(x[i], p);
              wrong += !same(y[i], kernel::reference::dequantize(codes[i], p));
              wrong += !same(fake[i], kernel::reference::fake_quantize(x[i], p));
            }
            CHECK(wrong == 0);
            CHECK((codes.intact() && y.intact() && fake.intact()));
            buffer<float> in_place = x;
            kernel::fake_quantize(in_place.span(), in_place.span(), p);
            CHECK(first_difference(in_place, fake, same) == -1);
          });
  }
}

TEST_CASE("quantize is clip(round_half_even(x / scale) + zero_point) as xtensor computes it") {
  const affine p{0.03f, 7, kernel::full_range(dtype::i8)};
  const buffer<float> x(501, normal(501, 8, 3));
  buffer<std::int8_t> codes(501);
  kernel::quantize(codes.span(), x.span(), p);
  const auto v = xt::adapt(x.data(), x.size(), xt::no_ownership(), std::vector{x.size()});
  const xt::xtensor<float, 1> expected = xt::clip(xt::nearbyint(v / p.scale) + 7.0f, -128.0f, 127.0f);
  CHECK(first_difference(codes, expected.storage(), [](int a, float b) { return static_cast<float>(a) == b; }) == -1);
}

TEST_CASE("x / scale and x * (1 / scale) round apart near ties, each as the plain loop does") {
  int differences = 0;
  for (const float scale : {0.1f, 0.3f, 0.0123f, 7.7f, 0x1p-9f}) {
    std::vector<float> x;
    for (int k = -3000; k < 3000; ++k) {
      const float tie = (static_cast<float>(k) + 0.5f) * scale;
      x.insert(x.end(), {std::nextafter(tie, -infinity), tie, std::nextafter(tie, infinity)});
    }
    std::vector<std::int16_t> divided(x.size()), multiplied(x.size());
    const auto range = kernel::full_range(dtype::i16);
    kernel::quantize(std::span(divided), x, affine{scale, 5, range, scaling::divide});
    kernel::quantize(std::span(multiplied), x, affine{scale, 5, range, scaling::multiply});
    const float inverse = 1.0f / scale;
    int wrong = 0, apart = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const volatile float quotient = x[i] / scale, product = x[i] * inverse;  // each rounded to f32
      wrong += divided[i] != static_cast<int>(std::nearbyint(quotient)) + 5;
      wrong += multiplied[i] != static_cast<int>(std::nearbyint(product)) + 5;
      apart += divided[i] != multiplied[i];
    }
    CHECK(wrong == 0);
    if (scale == 0x1p-9f) CHECK(apart == 0);  // the inverse of a power of two is exact
    differences += apart;
  }
  CHECK(differences > 100);
}

TEST_CASE("quotients that are nearly a point where a code ends are rounded as the division rounds them") {
  // x / s is |X * 2^j - m * S| / S units from m, for the integers that the mantissas are; m has 25 bits, as it lies
  // between two floats, and is never reached. Other quotients are further from m than the corrected one is from them.
  const auto range = kernel::full_range(dtype::u16);
  constexpr std::uint64_t first = std::uint64_t{1} << 23, end = first << 1;
  std::int64_t tried = 0, wrong = 0;
  for (std::int32_t k = 0; k < range.max; k += k < 512 ? 1 : 61)
    for (const float beside : {std::nextafter(static_cast<float>(k) + 0.5f, -1.0f),
                               std::nextafter(static_cast<float>(k) + 0.5f, infinity)}) {
      const double m = (static_cast<double>(k) + 0.5 + static_cast<double>(beside)) / 2;
      int exponent = 0;
      const auto odd = static_cast<std::uint64_t>(std::ldexp(std::frexp(m, &exponent), 25));
      std::uint64_t inverse = odd;  // modulo 2^64, by Newton
      for (int i = 0; i < 6; ++i) inverse *= 2 - odd * inverse;
      for (std::int64_t distance = -12; distance <= 12; ++distance)
        for (const int j : {24, 25}) {
          const std::uint64_t period = std::uint64_t{1} << j;
          const std::uint64_t s = inverse * static_cast<std::uint64_t>(distance) & (period - 1);
          if (distance == 0 || s < first || s >= end) continue;
          for (const int power : {-123, -100, -23, 77}) {
            const auto scale = std::ldexp(static_cast<float>(s), power);
            const auto near = static_cast<float>(m * static_cast<double>(scale));
            const float values[] = {near, std::nextafter(near, 0.0f), std::nextafter(near, infinity), -near};
            std::uint16_t got[4];
            for (const std::int32_t zero_point : {0, range.max}) {
              const affine p{scale, zero_point, range};
              kernel::quantize<xsimd::default_arch, std::uint16_t>(got, values, p);
              for (int i = 0; i < 4; ++i) wrong += got[i] != kernel::reference::quantize(values[i], p);
              tried += 4;
            }
          }
        }
    }
  CHECK(wrong == 0);
  CHECK(tried > 100000);
}

TEST_CASE("scales at the ends of what is corrected, and past them") {
  for (const float scale :
       {0x1p-100f, std::nextafter(0x1p-100f, 0.0f), 0x1p100f, std::nextafter(0x1p100f, infinity), 0x1.fffffep-100f,
        0x1.fffffep99f, 0x1.fffffep0f, 0x1.000002p0f, 0x1p-126f, 0x1p127f, infinity, quiet_nan, -1.0f})
    for (const dtype t : {dtype::u8, dtype::i16}) {
      CAPTURE(scale);
      const affine p{scale, t == dtype::u8 ? 128 : 0, kernel::full_range(t)};
      const buffer<float> x(4001, samples(4001, scale, 9));
      buffer<float> y(4001);
      kernel::fake_quantize(y.span(), x.span(), p);
      std::int64_t wrong = 0;
      for (std::size_t i = 0; i < x.size(); ++i) wrong += !same(y[i], kernel::reference::fake_quantize(x[i], p));
      CHECK(wrong == 0);
    }
}

TEST_CASE("streaming writes the same, from any element on") {
  constexpr std::int64_t n = 1500;
  const affine p{0.02f, 3, kernel::full_range(dtype::u8)};
  const buffer<float> x(n, samples(n, p.scale, 5));
  for (std::int64_t first = 0; first < 17; ++first)
    for (const std::int64_t count : {std::int64_t{0}, std::int64_t{1}, std::int64_t{16}, std::int64_t{40}, n - first}) {
      buffer<float> plain(n), streamed(n);
      const auto part = [&](auto& b) {
        return b.span().subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(count));
      };
      kernel::fake_quantize(part(plain), part(x), p, kernel::writes::cached);
      kernel::fake_quantize(part(streamed), part(x), p, kernel::writes::streaming);
      CHECK(first_difference(plain, streamed, same) == -1);
      CHECK(streamed.intact());
    }
  alignas(64) float aligned[6][64], unaligned[6 * 64 + 1];
  const buffer<float> scales(64, {0.01f, 0.02f, 0.03f});
  for (const channel_axis axis : {channel_axis::row, channel_axis::column}) {
    const channel_affine c{scales.span(), {}, kernel::full_range(dtype::i8), axis};
    kernel::fake_quantize({&aligned[0][0], 6, 64}, x.matrix(6, 64), c, kernel::writes::streaming);
    kernel::fake_quantize({unaligned + 1, 6, 64}, x.matrix(6, 64), c, kernel::writes::streaming);
    buffer<float> plain(6 * 64);
    kernel::reference::fake_quantize(plain.matrix(6, 64), x.matrix(6, 64), c);
    for (std::size_t i = 0; i < plain.size(); ++i) {
      CHECK(same((&aligned[0][0])[i], plain[i]));
      CHECK(same(unaligned[i + 1], plain[i]));
    }
  }
}

TEST_CASE("a result of more than the caches hold is streamed by itself, pages in turn") {
  constexpr auto n = static_cast<std::int64_t>(kernel::streaming_bytes / sizeof(float)) + 4099;
  const affine p{0.02f, 3, kernel::full_range(dtype::u8)};
  buffer<float> x(n, normal(4093, 5)), y(n);
  kernel::fake_quantize(y.span(), std::as_const(x).span(), p);
  std::int64_t wrong = 0;
  for (std::size_t i = 0; i < x.size(); ++i) wrong += !same(y[i], kernel::reference::fake_quantize(x[i], p));
  CHECK(wrong == 0);
  kernel::fake_quantize(x.span(), x.span(), p);
  CHECK(first_difference(x, y, same) == -1);
  CHECK((x.intact() && y.intact()));
}

TEST_CASE("many channels of either axis, some of whose scales are not corrected") {
  constexpr std::int64_t rows = 131, cols = 700;
  const buffer<float> x(rows * cols, samples(rows * cols, 0.25f, 3));
  for (const channel_axis axis : {channel_axis::row, channel_axis::column}) {
    buffer<float> scales(std::max(rows, cols), {0.25f, 0.3f, 0.01f}), y(rows * cols), expected(rows * cols);
    scales[100] = 0x1p-130f;
    scales[3] = 0;
    const channel_affine p{scales.span(), {}, kernel::full_range(dtype::u8), axis};
    kernel::fake_quantize(y.matrix(rows, cols), x.matrix(rows, cols), p);
    kernel::reference::fake_quantize(expected.matrix(rows, cols), x.matrix(rows, cols), p);
    CHECK(first_difference(y, expected, same) == -1);
  }
}

TEST_CASE("every length and both axes of scales per channel") {
  constexpr std::int64_t rows = 3;
  for (const dtype t : types)
    for (const std::int64_t n : lengths)
      for (const channel_axis axis : {channel_axis::row, channel_axis::column})
        for (const bool symmetric : {true, false})
          with_code(t, [&]<class Code>(Code) {
            CAPTURE(name(t));
            CAPTURE(n);
            const auto range = kernel::full_range(t);
            const std::int64_t channels = axis == channel_axis::row ? rows : n;
            buffer<float> scales(channels, normal(channels, 2)), x(rows * n, samples(rows * n, 0.25f, 3));
            buffer<std::int32_t> zero_points(symmetric ? 0 : channels);
            for (std::size_t i = 0; i < scales.size(); ++i) scales[i] = std::abs(scales[i]);
            for (std::size_t i = 0; i < zero_points.size(); ++i)
              zero_points[i] = range.min + static_cast<std::int32_t>(i * 7919) % (range.max - range.min + 1);
            const channel_affine p{scales.span(), zero_points.span(), range, axis,
                                   symmetric ? scaling::divide : scaling::multiply};
            buffer<Code> codes(rows * n), expected_codes(rows * n);
            buffer<float> y(rows * n), fake(rows * n), expected(rows * n);
            kernel::quantize(codes.matrix(rows, n), x.matrix(rows, n), p);
            kernel::reference::quantize(expected_codes.matrix(rows, n), x.matrix(rows, n), p);
            CHECK(first_difference(codes, expected_codes, [](auto a, auto b) { return a == b; }) == -1);
            kernel::dequantize(y.matrix(rows, n), codes.matrix(rows, n), p);
            kernel::reference::dequantize(expected.matrix(rows, n), codes.matrix(rows, n), p);
            CHECK(first_difference(y, expected, same) == -1);
            kernel::fake_quantize(fake.matrix(rows, n), x.matrix(rows, n), p);
            CHECK(first_difference(fake, expected, same) == -1);
            CHECK((codes.intact() && y.intact() && fake.intact()));
          });
}

TEST_CASE("what NaN, infinities and ties become") {
  const affine p{0.5f, 3, kernel::full_range(dtype::i8)};
  const std::vector<float> x{quiet_nan, -quiet_nan, infinity, -infinity, 0.25f, 0.75f, -0.25f, -0.75f, -0.0f, 1e38f};
  const std::vector<int> expected{-128, -128, 127, -128, 3, 5, 3, 1, 3, 127};
  for (std::size_t lead = 0; lead < 17; ++lead) {  // in full batches and in tails
    std::vector<float> in(lead, 0.0f);
    in.insert(in.end(), x.begin(), x.end());
    std::vector<std::int8_t> codes(in.size());
    kernel::quantize(std::span(codes), in, p);
    for (std::size_t i = 0; i < x.size(); ++i) {
      CHECK(codes[lead + i] == expected[i]);
      CHECK(kernel::reference::quantize(x[i], p) == expected[i]);
    }
  }
}

TEST_CASE("groups along a row are rows of the same memory") {
  const buffer<float> x(2 * 64, normal(128, 4)), scales(4, {0.1f, 0.2f, 0.3f, 0.4f});
  buffer<float> y(128);
  kernel::fake_quantize(y.matrix(4, 32), x.matrix(4, 32), {scales.span(), {}, kernel::full_range(dtype::i4)});
  for (std::size_t i = 0; i < 128; ++i)
    CHECK(same(y[i], kernel::reference::fake_quantize(x[i], {scales[i / 32], 0, kernel::full_range(dtype::i4)})));
}

TEST_CASE("4-bit codes pack two to a byte, low half first") {
  for (std::int64_t n = 0; n < 40; ++n) {
    buffer<std::int8_t> codes(n), back(n);
    buffer<std::uint8_t> bytes((n + 1) / 2), unsigned_codes(n);
    for (std::size_t i = 0; i < codes.size(); ++i)
      codes[i] = static_cast<std::int8_t>(static_cast<int>(i * 5 % 16) - 8);
    kernel::pack_int4(bytes.span(), codes.span());
    kernel::unpack_int4(back.span(), bytes.span());
    kernel::unpack_int4(unsigned_codes.span(), bytes.span());
    for (std::size_t i = 0; i < codes.size(); ++i) {
      CHECK(back[i] == codes[i]);
      CHECK(unsigned_codes[i] == (codes[i] & 15));
    }
    CHECK((bytes.intact() && back.intact() && unsigned_codes.intact()));
  }
  const std::int8_t codes[] = {1, -2, 7};
  std::uint8_t bytes[2];
  kernel::pack_int4(bytes, std::span<const std::int8_t>(codes));
  CHECK(bytes[0] == 0xe1);
  CHECK(bytes[1] == 0x07);
}
