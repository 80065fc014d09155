// SPDX-License-Identifier: Apache-2.0
// Reads the outputs of onnxruntime's quantizer that the tests of this room compare with.
#pragma once

#include <doctest/doctest.h>

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "qwq/core/dtype.hpp"
#include "qwq/core/view.hpp"
#include "qwq/io/safetensors.hpp"

namespace golden {

inline std::string path(const std::string& file) { return QWQ_TEST_DATA "/ort_quant/" + file; }

/// The elements of a tensor, which has to be of the C++ type asked for.
template <class T>
std::vector<T> read(const qwq::safetensors_file& file, const std::string& name) {
  const auto& tensor = file.at(name);
  REQUIRE(tensor.type == qwq::dtype_of<T>);
  std::vector<T> out(tensor.size());
  std::memcpy(out.data(), tensor.data, tensor.bytes);
  return out;
}

inline std::uint32_t bits(float x) { return std::bit_cast<std::uint32_t>(x); }
inline float from_hex(const std::string& hex) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(std::stoul(hex, nullptr, 16)));
}

/// The first two dimensions of a tensor; the others have to be 1.
struct matrix_shape {
  std::int64_t rows, cols;
};
inline matrix_shape shape(const qwq::safetensors_file& file, const std::string& name) {
  const auto& s = file.at(name).shape;
  REQUIRE(s.size() >= 2);
  for (std::size_t i = 2; i < s.size(); ++i) REQUIRE(s[i] == 1);
  return {s[0], s[1]};
}

}  // namespace golden
