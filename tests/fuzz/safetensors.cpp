// SPDX-License-Identifier: Apache-2.0
// Fuzz entry: any bytes as a safetensors file.
#include <qwq/io/safetensors.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "check.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span bytes = std::as_bytes(std::span{data, size});
  fuzz::parse([&] {
    const auto content = qwq::parse_safetensors(bytes, "fuzz");
    std::size_t covered = 0;
    for (const auto& tensor : content.tensors) {
      fuzz::expect(tensor.data >= bytes.data() && tensor.data + tensor.bytes <= bytes.data() + bytes.size());
      std::size_t count = 1;
      for (const auto dim : tensor.shape) count *= static_cast<std::size_t>(dim);
      fuzz::expect(count == tensor.size());
      covered += tensor.bytes;
      if (!qwq::is_plain_float(tensor.type)) continue;
      std::vector<float> values(tensor.size());
      qwq::to_f32(tensor, values);
    }
    fuzz::expect(covered <= bytes.size());
  });
  return 0;
}
