// SPDX-License-Identifier: Apache-2.0
// The table of the README: which target takes which scheme.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "qwq/quant/scheme.hpp"
#include "qwq/quant/tico_scheme.hpp"
#include "qwq/targets/all_targets.hpp"

namespace {

using namespace qwq;

/// Names of the targets that take `Scheme`.
template <quantization_scheme Scheme>
std::vector<std::string> takers() {
  std::vector<std::string> names;
  const auto add = [&]<target Target>(Target) {
    if (Target::accepts(Scheme::spec)) names.emplace_back(Target::name);
  };
  add(onnx_winml{});
  add(onnx_standard{});
  add(onnx_standard_21{});
  add(onnx_genai{});
  add(circle<>{});
  add(circle_qdq<>{});
  add(tflite<>{});
  return names;
}

using names = std::vector<std::string>;

}  // namespace

TEST_CASE("every target takes floats") { CHECK(takers<f32>().size() == 7); }

TEST_CASE("integers around the products") {
  const names expected{"onnx_winml", "onnx_standard", "onnx_standard_21"};
  CHECK(takers<w8a16>() == expected);
  CHECK(takers<w8a8>() == expected);
  CHECK(takers<w4a16_g32>() == expected);
}

TEST_CASE("integers on every edge") {
  CHECK(takers<w8a16_full>() == names{"onnx_winml"});
  const names expected{"circle", "circle_qdq", "tflite"};
  CHECK(takers<tico_w8a16>() == expected);
  CHECK(takers<tico_w4a16>() == expected);
  CHECK(takers<tico_w8a8>() == expected);
  CHECK(takers<qdq_w8a16>() == expected);
}

TEST_CASE("weights in blocks beside float activations") {
  const names expected{"onnx_standard", "onnx_standard_21", "onnx_genai"};
  CHECK(takers<w4_g32>() == expected);
  CHECK(takers<w4_g128>() == expected);
  CHECK(takers<w8_g32>() == expected);
  CHECK(takers<w8_g128>() == expected);
}

TEST_CASE("int4 has blocks and int8 has none on onnx_winml") {
  const number_format u16{.element = dtype::u16, .symmetric = false};
  CHECK(onnx_winml::accepts({u16, {.element = dtype::i4, .block = 32}}));
  CHECK_FALSE(onnx_winml::accepts({u16, {.element = dtype::i4}}));
  CHECK_FALSE(onnx_winml::accepts({u16, {.element = dtype::i8, .block = 32}}));
}
