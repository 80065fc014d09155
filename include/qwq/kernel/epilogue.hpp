// SPDX-License-Identifier: Apache-2.0
// What a kernel does to its result before it stores it.
#pragma once

#include "qwq/kernel/quantize.hpp"

namespace qwq::kernel {

/// The epilogue of kernels that have none.
struct identity_epilogue {
  template <class Batch>
  Batch operator()(Batch x) const {
    return x;
  }
};

/// Calls f with the epilogue that puts results on the grid of `p`: dequantize(quantize(x)), with the bits of
/// `fake_quantize`.
template <class Arch = xsimd::default_arch, class F>
void with_fake_quant(const affine& p, F&& f) {
  detail::with_lanes<Arch>(p, [&](const auto& a) { f([a](simd::batch<Arch> x) { return a.fake(x); }); });
}

}  // namespace qwq::kernel
