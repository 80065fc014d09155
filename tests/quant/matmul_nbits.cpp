// SPDX-License-Identifier: Apache-2.0
// MatMulNBits packings against onnxruntime's, byte for byte.
#include "qwq/quant/matmul_nbits.hpp"

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <fstream>
#include <limits>
#include <string>
#include <vector>

#include "golden.hpp"

namespace {

struct packing {
  std::vector<std::uint8_t> packed, zero_points;
  std::vector<float> scales;
};

/// Row by row of the [N, K] weight, which the golden holds as [K, N].
template <int Bits, bool Symmetric>
packing pack(const std::vector<float>& w, std::size_t k, std::size_t n, std::size_t block_size) {
  const qwq::matmul_nbits<Bits, Symmetric> format("w", k, block_size);
  packing out;
  for (std::size_t j = 0; j < n; ++j) {
    std::vector<float> row(k), scales(format.blocks());
    for (std::size_t i = 0; i < k; ++i) row[i] = w[i * n + j];
    std::vector<std::uint8_t> packed(format.packed_bytes(), 0xff), zero_points(format.zero_point_bytes(), 0xff);
    format.quantize_row(row, packed, scales, zero_points);
    out.packed.insert(out.packed.end(), packed.begin(), packed.end());
    out.scales.insert(out.scales.end(), scales.begin(), scales.end());
    out.zero_points.insert(out.zero_points.end(), zero_points.begin(), zero_points.end());
  }
  return out;
}

template <int Bits, bool Symmetric>
packing pack_row(const std::vector<float>& row, std::size_t block_size = 16) {
  return pack<Bits, Symmetric>(row, row.size(), 1, block_size);
}

}  // namespace

TEST_CASE("every packing of onnxruntime's, 4 and 8 bits") {
  const qwq::safetensors_file file(golden::path("matmulnbits.safetensors"));
  std::ifstream list_file(golden::path("matmulnbits.json"));
  const auto list = nlohmann::json::parse(list_file);
  int checked = 0;
  for (const auto& [key, entry] : list.items()) {
    CAPTURE(key);
    const auto w = golden::read<float>(file, "w." + key);
    const auto k = entry["K"].get<std::size_t>(), n = entry["N"].get<std::size_t>(),
               block_size = entry["block_size"].get<std::size_t>();
    const bool symmetric = entry["symmetric"];
    const auto make = entry["bits"] == 4 ? (symmetric ? pack<4, true> : pack<4, false>)
                                         : (symmetric ? pack<8, true> : pack<8, false>);
    const auto found = make(w, k, n, block_size);
    CHECK(found.scales == golden::read<float>(file, "scales." + key));
    CHECK(found.packed == golden::read<std::uint8_t>(file, "packed." + key));
    if (!symmetric) CHECK(found.zero_points == golden::read<std::uint8_t>(file, "zp." + key));
    ++checked;
  }
  CHECK(checked == 16);
}

TEST_CASE("halves round up on the biased value") {
  std::vector<float> row(16, 0.0f);
  row[0] = -8;  // the extreme: scale 1, zero point 8
  row[1] = 0.5f;
  row[2] = -0.5f;
  row[3] = 7.5f;        // 15.5 is clipped
  row[4] = -7.5f;       // 0.5
  row[5] = 1.4999999f;  // 9.5 in f32, once 8 is added
  const auto made = pack_row<4, true>(row);
  CHECK(made.scales == std::vector<float>{1});
  CHECK(made.packed == std::vector<std::uint8_t>{0x90, 0xf8, 0xa1, 0x88, 0x88, 0x88, 0x88, 0x88});
}

TEST_CASE("the product is rounded before the zero point is added, also where a machine can fuse the two") {
  const float extreme = -0.8123f;
  const float reciprocal = 1.0f / (extreme / -8.0f);
  std::vector<float> row{extreme};
  for (float half = -6.5f; half < 7; ++half) {
    float v = half / reciprocal;
    for (int i = 0; i < 8; ++i) v = std::nextafter(v, -1.0f);
    for (int i = 0; i < 16; ++i) row.push_back(v = std::nextafter(v, 1.0f));
  }
  row.resize(256);
  const auto made = pack_row<4, true>(row, 256);
  int tells = 0;
  for (std::size_t i = 0; i < row.size(); ++i) {
    CAPTURE(row[i]);
    const volatile float product = row[i] * reciprocal;
    const volatile float biased = product + 8.0f;
    const int code = made.packed[i / 2] >> (i % 2 * 4) & 15;
    CHECK(code == static_cast<int>(std::floor(biased + 0.5)));
    tells += std::floor(std::fma(row[i], reciprocal, 8.0f) + 0.5) != std::floor(biased + 0.5);
  }
  CHECK(tells > 0);
}

TEST_CASE("blocks of zeros") {
  const std::vector<float> zeros(20, 0.0f);
  const auto symmetric = pack_row<4, true>(zeros);
  CHECK(symmetric.scales.at(0) == 0.0f);
  CHECK(symmetric.packed ==
        std::vector<std::uint8_t>{0x88, 0x88, 0x88, 0x88, 0x88, 0x88, 0x88, 0x88, 0x88, 0x88, 0, 0, 0, 0, 0, 0});
  const auto asymmetric = pack_row<4, false>(zeros);
  CHECK(asymmetric.packed == std::vector<std::uint8_t>(16, 0));
  CHECK(asymmetric.zero_points == std::vector<std::uint8_t>{0});
}

TEST_CASE("what is wrong is said in one line") {
  using format = qwq::matmul_nbits<4, false>;
  CHECK_THROWS_WITH_AS(format("up_proj", 64, 24), "up_proj: block size: expected a power of two >= 16, found 24",
                       qwq::error);
  CHECK_THROWS_AS(format("up_proj", 64, 8), qwq::error);
  CHECK_THROWS_AS(format("up_proj", 0, 16), qwq::error);
  const format f("up_proj", 32, 16);
  std::vector<float> row(32), scales(2);
  std::vector<std::uint8_t> packed(16), zero_points(1);
  CHECK_THROWS_WITH_AS(f.quantize_row(row, packed, std::span(scales).first(1), zero_points),
                       "up_proj: scales: expected 2 elements, found 1", qwq::error);
  row[7] = std::numeric_limits<float>::quiet_NaN();
  CHECK_THROWS_WITH_AS(f.quantize_row(row, packed, scales, zero_points),
                       "up_proj: expected finite values, found NaN or infinity", qwq::error);
}
