// SPDX-License-Identifier: Apache-2.0
// Rows of an embedding table.
#pragma once

#include "qwq/kernel/elementwise.hpp"

namespace qwq::kernel {

/// Row i of y is row ids[i] of the table (f32, f16 or bf16) as f32. Ids must be in [0, table.rows).
template <class Arch = xsimd::default_arch, class T>
void embedding(matrix_view<float> y, matrix_view<T> table, std::span<const std::int64_t> ids) {
  for (std::int64_t i = 0; i < y.rows; ++i) convert<Arch>(y.span(i), table.span(ids[static_cast<std::size_t>(i)]));
}

}  // namespace qwq::kernel
