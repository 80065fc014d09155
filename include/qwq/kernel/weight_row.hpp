// SPDX-License-Identifier: Apache-2.0
// Defines rows of weights in any storage format, read as batches of f32.
#pragma once

#include "qwq/kernel/packed_weight.hpp"
#include "qwq/kernel/simd.hpp"

namespace qwq::kernel::detail {

/// Row of a float weight: `at` returns a batch of it as f32.
template <class T>
struct float_row {
  const T* data;
  template <class Arch, class Count>
  simd::batch<Arch> at(std::int64_t k, Count count) const {
    return simd::load<Arch>(data + k, count);
  }
};

/// Row of a packed weight. Access is far from contiguous: use it for single rows of a table.
template <int Bits>
struct packed_row {
  packed_weight<Bits> weight;
  std::int64_t row;
  template <class Arch, class Count>
  simd::batch<Arch> at(std::int64_t k, Count count) const {
    float x[simd::lanes<Arch>] = {};
    std::int64_t n = simd::lanes<Arch>;
    if constexpr (std::is_same_v<Count, std::int64_t>) n = count;
    for (std::int64_t i = 0; i < n; ++i) x[i] = weight.at(row, k + i);
    return simd::load<Arch>(x);
  }
};

template <class T>
float_row<T> weight_row(const matrix_view<T>& w, std::int64_t j) {
  return {w.row(j)};
}
template <int Bits>
packed_row<Bits> weight_row(const packed_weight<Bits>& w, std::int64_t j) {
  return {w, j};
}

}  // namespace qwq::kernel::detail
