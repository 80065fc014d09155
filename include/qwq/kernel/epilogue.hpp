// SPDX-License-Identifier: Apache-2.0
// Defines epilogues: functions that a kernel applies to its result before storing it.
#pragma once

#include "qwq/kernel/quantize.hpp"

namespace qwq::kernel {

/// The epilogue that returns its argument.
struct identity_epilogue {
  /// Returns x.
  template <class Batch>
  Batch operator()(Batch x) const {
    return x;
  }
};

/// Calls f with the epilogue that fake-quantizes results: dequantize(quantize(x)) with the parameters `p`; bitwise
/// equal to `fake_quantize`.
template <class Arch = xsimd::default_arch, class F>
void with_fake_quant(const affine& p, F&& f) {
  detail::with_lanes<Arch>(p, [&](const auto& a) { f([a](simd::batch<Arch> x) { return a.fake(x); }); });
}

}  // namespace qwq::kernel
