// SPDX-License-Identifier: Apache-2.0
// Powers of two, as a softmax needs them.
#pragma once

#include "qwq/kernel/simd.hpp"

namespace qwq::kernel::simd {

/// 2^x for x <= 0, to within 1 ulp; exactly 1 for 0, and 0 where 2^x is below 2^-126.5. NaN stays NaN.
template <class Arch>
batch<Arch> exp2_not_positive(batch<Arch> x) {
  // Added, the low bits are round(x) + 127, which is the exponent of the result: shifted into its place below.
  const batch<Arch> magic(0x1.8p23f + 127.0f);
  const auto clamped = at_least<Arch>(batch<Arch>(-127.0f), x);  // in this order a NaN of x stays
  const auto shifted = clamped + magic;
  const auto r = clamped - (shifted - magic);  // in [-0.5, 0.5], exact
  // (2^r - 1) / r, interpolated at Chebyshev nodes: off by 1e-8 of 2^r at most.
  auto p = fma<Arch>(batch<Arch>(0x1.44138ap-13f), r, batch<Arch>(0x1.5f0890p-10f));
  p = fma<Arch>(p, r, batch<Arch>(0x1.3b2a54p-7f));
  p = fma<Arch>(p, r, batch<Arch>(0x1.c6af6cp-5f));
  p = fma<Arch>(p, r, batch<Arch>(0x1.ebfbe0p-3f));
  p = fma<Arch>(p, r, batch<Arch>(0x1.62e430p-1f));
  p = fma<Arch>(p, r, batch<Arch>(1.0f));
  const auto power = detail::reinterpret<Arch, std::int32_t>(shifted) << 23;
  return p * detail::reinterpret<Arch, float>(power);
}

}  // namespace qwq::kernel::simd
