// SPDX-License-Identifier: Apache-2.0
// Includes xsimd and defines what differs between its versions 8 to 14.
#pragma once

#if defined(__SSE2__)
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
// GCC warns about its own AVX-512 headers (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#include <immintrin.h>
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic pop
#endif
#endif
#include <xsimd/xsimd.hpp>

namespace qwq::kernel::simd::detail {

/// The same bits as lanes of another type.
template <class Arch, class To, class From>
xsimd::batch<To, Arch> reinterpret(const xsimd::batch<From, Arch>& x) {
#if XSIMD_VERSION_MAJOR < 11
  return xsimd::bitwise_cast<xsimd::batch<To, Arch>>(x);
#else
  return xsimd::bitwise_cast<To>(x);
#endif
}

/// Sum of all lanes.
template <class Arch, class T>
T sum_of_lanes(const xsimd::batch<T, Arch>& x) {
#if XSIMD_VERSION_MAJOR < 9
  return xsimd::hadd(x);
#else
  return xsimd::reduce_add(x);
#endif
}

}  // namespace qwq::kernel::simd::detail
