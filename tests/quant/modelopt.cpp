// SPDX-License-Identifier: Apache-2.0
// Integer weights of ModelOpt and of compressed-tensors, byte for byte.
#include <doctest/doctest.h>

#include <qwq/io/safetensors.hpp>
#include <qwq/kernel/quantize.hpp>
#include <qwq/quant/modelopt.hpp>
#include <qwq/quant/weights.hpp>

#include "golden.hpp"

using namespace qwq;

namespace {

/// Quantizes `x` in blocks and compares scales and codes, one code to a byte, with those of a reference.
template <class Format>
void check_blocks(const std::vector<float>& x, std::size_t block, const std::vector<float>& scales,
                  const std::vector<std::int8_t>& codes) {
  REQUIRE(scales.size() * block == x.size());
  REQUIRE(codes.size() == x.size());
  std::vector<std::int8_t> made(block);
  for (std::size_t b = 0; b < scales.size(); ++b) {
    CAPTURE(b);
    const auto values = std::span(x).subspan(b * block, block);
    const auto seen = kernel::min_max(values);
    const qparams p = compute_qparams<Format>({seen.min, seen.max});
    CHECK(golden::bits(p.scale) == golden::bits(scales[b]));
    CHECK(p.zero_point == 0);
    kernel::quantize(std::span(made), values, to_affine<Format>(p));
    CHECK(std::equal(made.begin(), made.end(), codes.begin() + static_cast<std::ptrdiff_t>(b * block)));
  }
}

/// A code of 4 bits, two's complement.
std::int8_t int4(unsigned bits) {
  return static_cast<std::int8_t>(bits > 7 ? static_cast<int>(bits) - 16 : static_cast<int>(bits));
}

}  // namespace

TEST_CASE("ModelOpt's int8 weights with a scale for each row") {
  const safetensors_file file(QWQ_TEST_DATA "/modelopt/int_weights.safetensors");
  check_blocks<int_format<dtype::i8, true, conventions::modelopt>>(
      golden::read<float>(file, "int8_channel_f32.x"), 64, golden::read<float>(file, "int8_channel_f32.weight_scale"),
      golden::read<std::int8_t>(file, "int8_channel_f32.weight_q"));
}

TEST_CASE("ModelOpt's int4 weights in blocks, two output rows to a byte") {
  const safetensors_file file(QWQ_TEST_DATA "/modelopt/int_weights.safetensors");
  for (const std::string& name : {std::string("int4_block32_f32"), std::string("int4_block64_f32")}) {
    CAPTURE(name);
    const auto x = golden::read<float>(file, name + ".x"), scales = golden::read<float>(file, name + ".weight_scale");
    const auto packed = golden::read<std::uint8_t>(file, name + ".weight_packed_outdim");
    constexpr std::size_t cols = 64;
    std::vector<std::int8_t> codes(x.size());
    for (std::size_t i = 0; i < packed.size(); ++i) {
      const std::size_t row = i / cols * 2, col = i % cols;
      codes[row * cols + col] = int4(packed[i] & 15u);
      codes[(row + 1) * cols + col] = int4(packed[i] >> 4);
    }
    check_blocks<int_format<dtype::i4, true, conventions::modelopt>>(x, x.size() / scales.size(), scales, codes);
  }
}

TEST_CASE("compressed-tensors' integer weights") {
  const safetensors_file file(QWQ_TEST_DATA "/modelopt/compressed_tensors_int.safetensors");
  check_blocks<int_format<dtype::i8, true, conventions::compressed_tensors>>(
      golden::read<float>(file, "W8A8_f32.in.weight"), 256, golden::read<float>(file, "W8A8_f32.out.weight_scale"),
      golden::read<std::int8_t>(file, "W8A8_f32.out.weight"));

  const auto x = golden::read<float>(file, "W4A16_f32.in.weight");
  const auto packed = golden::read<std::int32_t>(file, "W4A16_f32.out.weight_packed");
  std::vector<std::int8_t> codes;
  for (const std::int32_t word : packed)  // eight codes, the first in the low bits, each plus 8
    for (unsigned i = 0; i < 8; ++i)
      codes.push_back(static_cast<std::int8_t>(static_cast<int>(static_cast<std::uint32_t>(word) >> 4 * i & 15u) - 8));
  check_blocks<int_format<dtype::i4, true, conventions::compressed_tensors>>(
      x, 128, golden::read<float>(file, "W4A16_f32.out.weight_scale"), codes);
}

TEST_CASE("both have symmetric codes of signed types alone") {
  CHECK_THROWS_AS(conventions::modelopt::scale_range({dtype::u8, false}), error);
  CHECK_THROWS_AS(conventions::compressed_tensors::compute_qparams({dtype::i8, false}, {-1, 1}), error);
}
