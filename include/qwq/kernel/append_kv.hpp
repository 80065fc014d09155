// SPDX-License-Identifier: Apache-2.0
// Defines `append_kv`, which writes keys or values to a KV cache in its element type.
#pragma once

#include <limits>

#include "qwq/kernel/simd.hpp"
#include "qwq/kernel/views.hpp"

namespace qwq::kernel {

namespace detail {

inline constexpr float infinity = std::numeric_limits<float>::infinity();

/// Stores x[0, n) as symmetric codes, rounded half to even; returns their scale: max|x| divided by the largest code.
/// The scale is NaN if x has a NaN or infinity.
template <class Arch, class Code>
float store_codes(Code* codes, const float* x, std::int64_t n) {
  using batch = simd::batch<Arch>;
  constexpr auto greatest = static_cast<float>(std::numeric_limits<Code>::max());
  const batch largest(std::numeric_limits<float>::max());
  const batch magnitude = simd::fold<Arch>(
      n, batch(0.0f),
      [&](batch a, std::int64_t i, auto count) {
        const batch v = xsimd::abs(simd::load<Arch>(x + i, count));
        return xsimd::max(a, xsimd::select(v <= largest, v, batch(infinity)));
      },
      [](batch a, batch b) { return xsimd::max(a, b); });
  const float step = simd::reduce_max<Arch>(magnitude) / greatest;
  if (!(step > 0 && step < infinity)) {
    std::fill_n(codes, n, Code{0});
    return step < infinity ? step : std::numeric_limits<float>::quiet_NaN();
  }
  simd::strips<Arch>(n, [&](std::int64_t i, auto count) {
    // A subnormal scale has so few bits that the quotient can exceed the largest code.
    const batch code = xsimd::nearbyint(simd::load<Arch>(x + i, count) / batch(step));
    simd::store<Arch>(codes + i, simd::at_most<Arch>(simd::at_least<Arch>(code, batch(-greatest)), batch(greatest)),
                      count);
  });
  return step;
}

/// Writes x[0, head_dim) to a head and position of the cache, in its element type.
template <class Arch, class T>
void store_kv(kv_view<T> cache, std::int64_t head, std::int64_t position, const float* x) {
  T* out = cache.at(head, position);
  if constexpr (is_kv_code<T>)
    *cache.scale_at(head, position) = store_codes<Arch>(out, x, cache.head_dim);
  else
    simd::strips<Arch>(cache.head_dim, [&](std::int64_t d, auto count) {
      simd::store<Arch>(out + d, simd::load<Arch>(x + d, count), count);
    });
}

}  // namespace detail

/// Writes rows [m, kv_heads * head_dim] to positions past .. past + m - 1 of the cache, converted to its element type.
/// int8 codes are round(x / scale), half to even, with scale max|x| / 127 for each head and position. past + m must not
/// exceed the capacity.
template <class Arch = xsimd::default_arch, class T>
void append_kv(kv_view<T> cache, matrix_view<const float> rows, std::int64_t past) {
  for (std::int64_t i = 0; i < rows.rows; ++i)
    for (std::int64_t h = 0; h < cache.kv_heads; ++h)
      detail::store_kv<Arch>(cache, h, past + i, rows.row(i) + h * cache.head_dim);
}

}  // namespace qwq::kernel
