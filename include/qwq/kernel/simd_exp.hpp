// SPDX-License-Identifier: Apache-2.0
// Powers of two and of e, as softmax and activations need them.
#pragma once

#include "qwq/kernel/simd.hpp"

namespace qwq::kernel::simd {

namespace detail {

/// Added, the low bits of a float are round(x) + 127, the exponent of 2^round(x): shifted into its place by `power`.
inline constexpr float exponent_magic = 0x1.8p23f + 127.0f;

/// 2^round(x) of x + exponent_magic, for round(x) from -127 (which gives 0) to 128 (infinity).
template <class Arch>
batch<Arch> power(batch<Arch> shifted) {
  return reinterpret<Arch, float>(reinterpret<Arch, std::int32_t>(shifted) << 23);
}

}  // namespace detail

/// 2^x for x <= 0, to within 1 ulp; exactly 1 for 0, and 0 where 2^x is below 2^-126.5. NaN stays NaN.
template <class Arch>
batch<Arch> exp2_not_positive(batch<Arch> x) {
  const batch<Arch> magic(detail::exponent_magic);
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
  return p * detail::power<Arch>(shifted);
}

/// e^x to within 1 ulp: exactly 1 for 0, 0 where it is below 2^-126.5, infinity from 2^127.5 on. NaN stays NaN.
template <class Arch>
batch<Arch> exp(batch<Arch> x) {
  const batch<Arch> magic(detail::exponent_magic);
  const auto clamped = at_most<Arch>(batch<Arch>(89.0f), at_least<Arch>(batch<Arch>(-88.0f), x));  // a NaN of x stays
  const auto shifted = fma<Arch>(clamped, batch<Arch>(0x1.715476p+0f), magic);
  const auto n = shifted - magic;
  // x - n ln(2), in two parts, of which n times the first is exact.
  auto r = fnma<Arch>(n, batch<Arch>(0x1.63p-1f), clamped);
  r = fnma<Arch>(n, batch<Arch>(-0x1.bd0106p-13f), r);
  // (e^r - 1 - r) / r^2, interpolated at Chebyshev nodes: off by 1e-8 of e^r at most.
  auto p = fma<Arch>(batch<Arch>(0x1.6d110ap-10f), r, batch<Arch>(0x1.120b6ep-7f));
  p = fma<Arch>(p, r, batch<Arch>(0x1.55551ap-5f));
  p = fma<Arch>(p, r, batch<Arch>(0x1.5554dcp-3f));
  p = fma<Arch>(p, r, batch<Arch>(0.5f));
  p = fma<Arch>(p, r, batch<Arch>(1.0f));
  p = fma<Arch>(p, r, batch<Arch>(1.0f));
  return p * detail::power<Arch>(shifted);
}

}  // namespace qwq::kernel::simd
