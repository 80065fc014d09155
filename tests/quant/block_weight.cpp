// SPDX-License-Identifier: Apache-2.0
// Weights in blocks: the two conventions, the packing, and what is refused.
#include "qwq/quant/block_weight.hpp"

#include <doctest/doctest.h>

#include <limits>
#include <random>
#include <vector>

namespace {

std::vector<float> sample(std::size_t count) {
  std::mt19937 random(7);
  std::normal_distribution<float> next;
  std::vector<float> x(count);
  for (float& v : x) v = next(random);
  return x;
}

template <class Format>
struct packed_row {
  std::vector<std::uint8_t> bytes;
  std::vector<float> scales;
  explicit packed_row(const std::vector<float>& row) {
    const qwq::block_quantizer<Format> q("w", row.size());
    bytes.resize(q.packed_bytes());
    scales.resize(q.blocks());
    q.quantize_row(row, bytes, scales);
  }
};

}  // namespace

TEST_CASE("int4 blocks hold what QuantizeLinear makes of each block, two codes to a byte") {
  const std::vector<float> row = sample(150);  // the last block has 22 elements
  const packed_row<qwq::block_format<qwq::dtype::i4, 32, qwq::conventions::ort>> made(row);
  REQUIRE(made.scales.size() == 5);
  REQUIRE(made.bytes.size() == 80);
  for (std::size_t b = 0; b < 5; ++b) {
    const auto part = std::span(row).subspan(b * 32, std::min<std::size_t>(32, row.size() - b * 32));
    float largest = 0;
    for (const float v : part) largest = std::max(largest, std::abs(v));
    CHECK(made.scales[b] == static_cast<float>(static_cast<double>(2 * largest) / 15));
    for (std::size_t i = 0; i < 32; ++i) {
      const int half = made.bytes[(b * 32 + i) / 2] >> (i % 2 * 4) & 15;
      const float expected = i < part.size() ? std::nearbyint(part[i] / made.scales[b]) : 0.0f;
      CHECK((half > 7 ? half - 16 : half) == std::clamp(static_cast<int>(expected), -8, 7));
    }
  }
}

TEST_CASE("u4 and u8 blocks are those of MatMulNBits") {
  const std::vector<float> row = sample(100);
  const auto check = [&]<qwq::dtype T>(std::integral_constant<qwq::dtype, T>) {
    const packed_row<qwq::block_format<T, 32, qwq::conventions::nbits>> made(row);
    const qwq::matmul_nbits<qwq::bits(T), true> expected("w", row.size(), 32);
    std::vector<std::uint8_t> bytes(expected.packed_bytes());
    std::vector<float> scales(expected.blocks());
    expected.quantize_row(row, bytes, scales, {});
    CHECK(made.bytes == bytes);
    CHECK(made.scales == scales);
  };
  check(std::integral_constant<qwq::dtype, qwq::dtype::u4>{});
  check(std::integral_constant<qwq::dtype, qwq::dtype::u8>{});
}

TEST_CASE("NaN in a weight is refused by name") {
  std::vector<float> row = sample(32);
  row[5] = std::numeric_limits<float>::quiet_NaN();
  using format = qwq::block_format<qwq::dtype::i4, 32, qwq::conventions::ort>;
  CHECK_THROWS_WITH_AS(packed_row<format>{row}, "w: expected finite values, found NaN or infinity", qwq::error);
}
