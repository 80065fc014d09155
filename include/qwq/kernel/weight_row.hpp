// SPDX-License-Identifier: Apache-2.0
// Rows of weights, whatever they are stored as, read as batches of f32.
#pragma once

#include "qwq/kernel/operands.hpp"
#include "qwq/kernel/simd.hpp"

namespace qwq::kernel::detail {

/// Row of a float weight: `at` gives a batch of it as f32.
template <class T>
struct float_row {
  const T* data;
  template <class Arch, class Count>
  simd::batch<Arch> at(std::int64_t k, Count count) const {
    return simd::load<Arch>(data + k, count);
  }
};

/// Row of an int8 weight, each element code * scale.
struct int8_row {
  const std::int8_t* codes;
  float scale;
  template <class Arch, class Count>
  simd::batch<Arch> at(std::int64_t k, Count count) const {
    return simd::load<Arch>(codes + k, count) * simd::batch<Arch>(scale);
  }
};

template <class T>
float_row<T> weight_row(const matrix_view<T>& w, std::int64_t j) {
  return {w.row(j)};
}
/// Row of a block_weight. A batch lies in one block: blocks are whole batches long, and padded.
template <int Bits>
struct block_row {
  const std::uint8_t* codes;
  const float* scales;
  std::int64_t block;
  template <class Arch, class Count>
  simd::batch<Arch> at(std::int64_t k, Count) const {
    constexpr float middle = 1 << (Bits - 1);
    return (batch<Arch>(k) - simd::batch<Arch>(middle)) * simd::batch<Arch>(scales[k / block]);
  }

 private:
  template <class Arch>
  simd::batch<Arch> batch(std::int64_t k) const {
    if constexpr (Bits == 4)
      return simd::load_int4<Arch>(codes + k / 2);
    else
      return simd::load<Arch>(codes + k);
  }
};

inline int8_row weight_row(const int8_weight& w, std::int64_t j) { return {w.codes + j * w.cols, w.scale(j)}; }
template <int Bits>
block_row<Bits> weight_row(const block_weight<Bits>& w, std::int64_t j) {
  const std::int64_t blocks = w.row_blocks();
  return {w.codes + j * blocks * w.block * Bits / 8, w.scales.data() + j * blocks, w.block};
}

}  // namespace qwq::kernel::detail
