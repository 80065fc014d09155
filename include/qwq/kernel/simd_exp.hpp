// SPDX-License-Identifier: Apache-2.0
// Defines powers of two and of e for softmax and activation functions.
#pragma once

#include "qwq/kernel/simd.hpp"

namespace qwq::kernel::simd {

namespace detail {

/// Adding this constant makes the low bits of a float round(x) + 127, the exponent of 2^round(x); `power` shifts it
/// into place.
inline constexpr float exponent_magic = 0x1.8p23f + 127.0f;

/// 2^round(x) from x + exponent_magic, for round(x) from -127 (which gives 0) to 128 (infinity).
template <class Arch>
batch<Arch> power(batch<Arch> shifted) {
  return reinterpret<Arch, float>(reinterpret<Arch, std::int32_t>(shifted) << 23);
}

}  // namespace detail

/// 2^x for x <= 0, within 1 ulp; exactly 1 for 0, and 0 if 2^x is below 2^-126.5. NaN stays NaN.
template <class Arch>
batch<Arch> exp2_not_positive(batch<Arch> x) {
  const batch<Arch> magic(detail::exponent_magic);
  const auto clamped = at_least<Arch>(batch<Arch>(-127.0f), x);  // with this order of arguments a NaN of x is kept
  const auto shifted = clamped + magic;
  const auto r = clamped - (shifted - magic);  // in [-0.5, 0.5], exact
  // (2^r - 1) / r, interpolated at Chebyshev nodes: the error is at most 1e-8 of 2^r.
  auto p = fma<Arch>(batch<Arch>(0x1.44138ap-13f), r, batch<Arch>(0x1.5f0890p-10f));
  p = fma<Arch>(p, r, batch<Arch>(0x1.3b2a54p-7f));
  p = fma<Arch>(p, r, batch<Arch>(0x1.c6af6cp-5f));
  p = fma<Arch>(p, r, batch<Arch>(0x1.ebfbe0p-3f));
  p = fma<Arch>(p, r, batch<Arch>(0x1.62e430p-1f));
  p = fma<Arch>(p, r, batch<Arch>(1.0f));
  return p * detail::power<Arch>(shifted);
}

/// e^x within 1 ulp: exactly 1 for 0, 0 below 2^-126.5, infinity from 2^127.5 on. NaN stays NaN.
template <class Arch>
batch<Arch> exp(batch<Arch> x) {
  const batch<Arch> magic(detail::exponent_magic);
  const auto clamped = at_most<Arch>(batch<Arch>(89.0f), at_least<Arch>(batch<Arch>(-88.0f), x));  // a NaN of x is kept
  const auto shifted = fma<Arch>(clamped, batch<Arch>(0x1.715476p+0f), magic);
  const auto n = shifted - magic;
  // x - n ln(2), in two parts; n times the first part is exact.
  auto r = fnma<Arch>(n, batch<Arch>(0x1.63p-1f), clamped);
  r = fnma<Arch>(n, batch<Arch>(-0x1.bd0106p-13f), r);
  // (e^r - 1 - r) / r^2, interpolated at Chebyshev nodes: the error is at most 1e-8 of e^r.
  auto p = fma<Arch>(batch<Arch>(0x1.6d110ap-10f), r, batch<Arch>(0x1.120b6ep-7f));
  p = fma<Arch>(p, r, batch<Arch>(0x1.55551ap-5f));
  p = fma<Arch>(p, r, batch<Arch>(0x1.5554dcp-3f));
  p = fma<Arch>(p, r, batch<Arch>(0.5f));
  p = fma<Arch>(p, r, batch<Arch>(1.0f));
  p = fma<Arch>(p, r, batch<Arch>(1.0f));
  return p * detail::power<Arch>(shifted);
}

}  // namespace qwq::kernel::simd
