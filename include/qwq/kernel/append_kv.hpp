// SPDX-License-Identifier: Apache-2.0
// Writing keys and values to a cache, in its element type.
#pragma once

#include <limits>

#include "qwq/kernel/operands.hpp"
#include "qwq/kernel/simd.hpp"

namespace qwq::kernel {

namespace detail {

inline constexpr float infinity = std::numeric_limits<float>::infinity();

/// Symmetric int8 codes of x[0, n), rounded half to even, and their scale: the greatest magnitude / 127. A vector with
/// NaN or infinity gets the scale NaN.
template <class Arch>
void store_codes(std::int8_t* codes, float* scale, const float* x, std::int64_t n) {
  using batch = simd::batch<Arch>;
  const batch largest(std::numeric_limits<float>::max());
  const batch magnitude = simd::fold<Arch>(
      n, batch(0.0f),
      [&](batch a, std::int64_t i, auto count) {
        const batch v = xsimd::abs(simd::load<Arch>(x + i, count));
        return xsimd::max(a, xsimd::select(v <= largest, v, batch(infinity)));
      },
      [](batch a, batch b) { return xsimd::max(a, b); });
  const float step = simd::reduce_max<Arch>(magnitude) / 127.0f;
  *scale = step < infinity ? step : std::numeric_limits<float>::quiet_NaN();
  if (!(step > 0 && step < infinity)) return static_cast<void>(std::fill_n(codes, n, std::int8_t{0}));
  simd::strips<Arch>(n, [&](std::int64_t i, auto count) {
    // A subnormal scale is so coarse that the quotient may be more than 127.
    const batch code = xsimd::nearbyint(simd::load<Arch>(x + i, count) / batch(step));
    simd::store<Arch>(codes + i, simd::at_most<Arch>(simd::at_least<Arch>(code, batch(-127.0f)), batch(127.0f)), count);
  });
}

/// Writes x[0, head_dim) to a head and position of the cache, in its type.
template <class Arch, class T>
void store_kv(kv_view<T> cache, std::int64_t head, std::int64_t position, const float* x) {
  T* out = cache.at(head, position);
  if constexpr (is_kv_code<T>)
    store_codes<Arch>(out, cache.scale_at(head, position), x, cache.head_dim);
  else
    simd::strips<Arch>(cache.head_dim, [&](std::int64_t d, auto count) {
      simd::store<Arch>(out + d, simd::load<Arch>(x + d, count), count);
    });
}

}  // namespace detail

/// Writes rows [m, kv_heads * head_dim] to positions past .. past + m - 1 of the cache, converted to its type; int8
/// codes are round(x / scale), half to even, with the scale max|x| / 127 of the head and position. past + m must not
/// exceed the capacity.
template <class Arch = xsimd::default_arch, class T>
void append_kv(kv_view<T> cache, matrix_view<const float> rows, std::int64_t past) {
  for (std::int64_t i = 0; i < rows.rows; ++i)
    for (std::int64_t h = 0; h < cache.kv_heads; ++h)
      detail::store_kv<Arch>(cache, h, past + i, rows.row(i) + h * cache.head_dim);
}

}  // namespace qwq::kernel
