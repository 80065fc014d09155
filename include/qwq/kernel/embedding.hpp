// SPDX-License-Identifier: Apache-2.0
// Defines `embedding`, which gathers rows of an embedding table.
#pragma once

#include "qwq/kernel/weight_row.hpp"

namespace qwq::kernel {

/// Row i of y is row ids[i] of the table, as f32. `W`: a weight type of `linear`. Ids must be in [0, table.rows).
template <class Arch = xsimd::default_arch, class W>
void embedding(matrix_view<float> y, const W& table, std::span<const std::int64_t> ids) {
  for (std::int64_t i = 0; i < y.rows; ++i) {
    const auto row = detail::weight_row(table, ids[static_cast<std::size_t>(i)]);
    simd::strips<Arch>(y.cols, [&](std::int64_t k, auto count) {
      simd::store<Arch>(y.row(i) + k, row.template at<Arch>(k, count), count);
    });
  }
}

}  // namespace qwq::kernel
