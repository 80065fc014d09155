// SPDX-License-Identifier: Apache-2.0
// Defines SIMD primitives that xsimd lacks. The headers simd*.hpp are the only ones with intrinsics.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "qwq/core/dtype.hpp"
#include "qwq/kernel/xsimd.hpp"

/// Unrolls a loop over the extent of a tile (at most 8). An array of batches is kept in registers only if every loop
/// over it is unrolled, which GCC does not do by itself at -O2.
#define QWQ_UNROLL _Pragma("GCC unroll 8")
/// Forces inlining of a function or lambda that uses such an array of its caller: a call would force the array into
/// memory.
#define QWQ_INLINE __attribute__((always_inline))

namespace qwq::kernel::simd {

/// A batch of f32 lanes of an architecture. Everything in this namespace is a template on the architecture, so that
/// translation units compiled for different machines never share a function.
template <class Arch>
using batch = xsimd::batch<float, Arch>;
/// Number of f32 lanes.
template <class Arch>
inline constexpr std::int64_t lanes = static_cast<std::int64_t>(batch<Arch>::size);

/// As many i32 lanes.
template <class Arch>
using integers = xsimd::batch<std::int32_t, Arch>;

/// Passed instead of a number of lanes: all lanes.
struct whole {};

namespace detail {

template <class Arch>
inline constexpr bool lanes_512 = sizeof(batch<Arch>) == 64;
template <class Arch>
inline constexpr bool lanes_256 = sizeof(batch<Arch>) == 32;
template <class Arch>
inline constexpr bool lanes_128 = sizeof(batch<Arch>) == 16;

#if defined(__AVX512F__)
/// The mask of the first `count` lanes, fewer than 16.
inline __mmask16 first_lanes(std::int64_t count) { return static_cast<__mmask16>((1u << count) - 1); }
#endif

/// Converts any integer type of at most 32 bits to 32-bit lanes; compilers turn the copy into widening moves.
template <class Arch, class To, class T>
xsimd::batch<To, Arch> widen(const T* p) {
  alignas(64) To wide[lanes<Arch>];
  for (std::int64_t i = 0; i < lanes<Arch>; ++i) wide[i] = static_cast<To>(p[i]);
  return xsimd::batch<To, Arch>::load_aligned(wide);
}

template <class Arch>
xsimd::batch<std::uint32_t, Arch> widen_bits(const std::uint16_t* p) {
#if defined(__AVX512F__)
  if constexpr (lanes_512<Arch>) return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
#endif
#if defined(__AVX2__)
  if constexpr (lanes_256<Arch>) return _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
#endif
  return widen<Arch, std::uint32_t>(p);
}

}  // namespace detail

// Loads of one batch from unaligned memory, converted to f32.

/// Loads a vector of floats.
template <class Arch>
batch<Arch> load(const float* p) {
  return batch<Arch>::load_unaligned(p);
}

/// Loads a vector of f16 elements as floats.
template <class Arch>
batch<Arch> load(const float16* p) {
#if defined(__AVX512F__)
  if constexpr (detail::lanes_512<Arch>)
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
#endif
#if defined(__F16C__)
  if constexpr (detail::lanes_256<Arch>) return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  if constexpr (detail::lanes_128<Arch>) return _mm_cvtph_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
#endif
  // Exponent and mantissa, shifted into place, are the value times 2^-112, also for subnormals; infinity and NaN get
  // their exponent restored.
  using word = xsimd::batch<std::uint32_t, Arch>;
  const word bits = detail::widen_bits<Arch>(&p->bits);
  const auto sign = detail::reinterpret<Arch, float>((bits & word(0x8000u)) << 16);
  const auto value = detail::reinterpret<Arch, float>((bits & word(0x7fffu)) << 13) * batch<Arch>(0x1p112f);
  const batch<Arch> infinity(std::numeric_limits<float>::infinity());
  return xsimd::select(value >= batch<Arch>(65536.0f), value | infinity, value) | sign;
}

/// Loads a vector of bf16 elements as floats.
template <class Arch>
batch<Arch> load(const bfloat16* p) {
  return detail::reinterpret<Arch, float>(detail::widen_bits<Arch>(&p->bits) << 16);
}

/// Loads a vector of int8 elements as floats.
template <class Arch>
batch<Arch> load(const std::int8_t* p) {
#if defined(__AVX512F__)
  if constexpr (detail::lanes_512<Arch>)
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
#endif
#if defined(__AVX2__)
  if constexpr (detail::lanes_256<Arch>)
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
#endif
  return xsimd::to_float(detail::widen<Arch, std::int32_t>(p));
}

/// Loads a vector of uint8 elements as floats.
template <class Arch>
batch<Arch> load(const std::uint8_t* p) {
#if defined(__AVX512F__)
  if constexpr (detail::lanes_512<Arch>)
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
#endif
#if defined(__AVX2__)
  if constexpr (detail::lanes_256<Arch>)
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
#endif
  return xsimd::to_float(detail::widen<Arch, std::int32_t>(p));
}

/// Loads a vector of integers as floats.
template <class Arch, class T>
requires std::is_integral_v<T> batch<Arch> load(const T* p) {
  return xsimd::to_float(detail::widen<Arch, std::int32_t>(p));
}

/// Loads one batch of unsigned 4-bit codes, two per byte, the first in the low half.
template <class Arch>
batch<Arch> load_int4(const std::uint8_t* p) {
#if defined(__AVX512F__)
  if constexpr (detail::lanes_512<Arch>) {
    const __m128i bytes = _mm_cvtepu8_epi16(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
    const __m128i codes = _mm_or_si128(bytes, _mm_slli_epi16(bytes, 4));
    return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_and_si128(codes, _mm_set1_epi8(15))));
  }
#endif
  std::uint8_t codes[lanes<Arch>];
  for (std::int64_t i = 0; i < lanes<Arch>; ++i) codes[i] = p[i / 2] >> (i % 2 * 4) & 15;
  return load<Arch>(codes);
}

/// Loads a whole vector as floats.
template <class Arch, class T>
batch<Arch> load(const T* p, whole) {
  return load<Arch>(p);
}

/// Loads the first `count` elements, fewer than a batch; the other lanes are 0.
template <class Arch, class T>
batch<Arch> load(const T* p, std::int64_t count) {
#if defined(__AVX512F__)
  if constexpr (detail::lanes_512<Arch> && std::is_same_v<T, float>)
    return _mm512_maskz_loadu_ps(detail::first_lanes(count), p);
#endif
  T part[lanes<Arch>] = {};
  std::copy_n(p, count, part);
  return load<Arch>(part);
}

/// As `load`, with `fill` in the other lanes.
template <class Arch>
batch<Arch> load_or(const float* p, whole, float) {
  return load<Arch>(p);
}
/// Loads `count` floats; the other lanes are `fill`.
template <class Arch>
batch<Arch> load_or(const float* p, std::int64_t count, float fill) {
#if defined(__AVX512F__)
  if constexpr (detail::lanes_512<Arch>)
    return _mm512_mask_loadu_ps(_mm512_set1_ps(fill), detail::first_lanes(count), p);
#endif
  float part[lanes<Arch>];
  std::fill_n(std::copy_n(p, count, part), lanes<Arch> - count, fill);
  return load<Arch>(part);
}

// Stores of one batch to unaligned memory. Conversions to 16-bit floats round half to even (a NaN stays a NaN, with
// unspecified payload); integer types require lanes that are integral and in range.

/// Stores a vector of floats.
template <class Arch>
void store(float* p, batch<Arch> x) {
  x.store_unaligned(p);
}

/// Stores a vector as f16, rounded to nearest, ties to even.
template <class Arch>
void store(float16* p, batch<Arch> x) {
#if defined(__AVX512F__)
  if constexpr (detail::lanes_512<Arch>)
    return _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
#endif
#if defined(__F16C__)
  if constexpr (detail::lanes_256<Arch>)
    return _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
  if constexpr (detail::lanes_128<Arch>)
    return _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
#endif
  float value[lanes<Arch>];
  x.store_unaligned(value);
  for (std::int64_t i = 0; i < lanes<Arch>; ++i) p[i] = float16(value[i]);
}

/// Stores a vector as bf16, rounded to nearest, ties to even.
template <class Arch>
void store(bfloat16* p, batch<Arch> x) {
  float value[lanes<Arch>];
  x.store_unaligned(value);
  for (std::int64_t i = 0; i < lanes<Arch>; ++i) p[i] = bfloat16(value[i]);
}

/// Stores the low bits of a vector of integers.
template <class Arch, class T>
requires std::is_integral_v<T>
void store(T* p, integers<Arch> x) {
#if defined(__AVX512F__)
  if constexpr (detail::lanes_512<Arch> && sizeof(T) == 1)
    return _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(x));
  if constexpr (detail::lanes_512<Arch> && sizeof(T) == 2)
    return _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(x));
#endif
  alignas(64) std::int32_t wide[lanes<Arch>];
  x.store_aligned(wide);
  for (std::int64_t i = 0; i < lanes<Arch>; ++i) p[i] = static_cast<T>(wide[i]);
}
/// Stores a vector of integral floats as integers.
template <class Arch, class T>
requires std::is_integral_v<T>
void store(T* p, batch<Arch> x) {
  simd::store<Arch>(p, xsimd::to_int(x));  // qualified: xsimd has a `store` too
}

/// Stores a whole vector.
template <class Arch, class T, class Lanes>
void store(T* p, Lanes x, whole) {
  simd::store<Arch>(p, x);
}

/// Stores only the first `count` lanes.
template <class Arch, class T, class Lanes>
void store(T* p, Lanes x, std::int64_t count) {
#if defined(__AVX512F__)
  if constexpr (detail::lanes_512<Arch> && std::is_same_v<T, float>)
    return _mm512_mask_storeu_ps(p, detail::first_lanes(count), x);
#endif
  T part[lanes<Arch>];
  simd::store<Arch>(part, x);
  std::copy_n(part, count, p);
}

/// True if `fma` and `fnma` round once.
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
template <class Arch>
inline constexpr bool fused = true;
#else
template <class Arch>
inline constexpr bool fused = detail::lanes_512<Arch>;
#endif

/// a * b + c and c - a * b, rounded once if the hardware can (xsimd 8 does not have them for AVX-512).
template <class Arch>
batch<Arch> fma(batch<Arch> a, batch<Arch> b, batch<Arch> c) {
#if defined(__AVX512F__)
  if constexpr (detail::lanes_512<Arch>) return _mm512_fmadd_ps(a, b, c);
#endif
#if defined(__FMA__)
  if constexpr (detail::lanes_256<Arch>) return _mm256_fmadd_ps(a, b, c);
  if constexpr (detail::lanes_128<Arch>) return _mm_fmadd_ps(a, b, c);
#endif
  return xsimd::fma(a, b, c);
}
/// c - a * b.
template <class Arch>
batch<Arch> fnma(batch<Arch> a, batch<Arch> b, batch<Arch> c) {
#if defined(__AVX512F__)
  if constexpr (detail::lanes_512<Arch>) return _mm512_fnmadd_ps(a, b, c);
#endif
#if defined(__FMA__)
  if constexpr (detail::lanes_256<Arch>) return _mm256_fnmadd_ps(a, b, c);
  if constexpr (detail::lanes_128<Arch>) return _mm_fnmadd_ps(a, b, c);
#endif
  return xsimd::fma(-a, b, c);
}

/// The greater (smaller) of x and `bound`, or `bound` if x is NaN. x86 has an instruction for it; the order of its
/// operands in xsimd depends on the version.
template <class Arch>
batch<Arch> at_least(batch<Arch> x, batch<Arch> bound) {
#if defined(__AVX512F__)
  if constexpr (detail::lanes_512<Arch>) return _mm512_max_ps(x, bound);
#endif
#if defined(__AVX__)
  if constexpr (detail::lanes_256<Arch>) return _mm256_max_ps(x, bound);
#endif
#if defined(__SSE2__)
  if constexpr (detail::lanes_128<Arch>) return _mm_max_ps(x, bound);
#endif
  return xsimd::select(x > bound, x, bound);
}
/// The smaller of x and `bound`, or `bound` if x is NaN.
template <class Arch>
batch<Arch> at_most(batch<Arch> x, batch<Arch> bound) {
#if defined(__AVX512F__)
  if constexpr (detail::lanes_512<Arch>) return _mm512_min_ps(x, bound);
#endif
#if defined(__AVX__)
  if constexpr (detail::lanes_256<Arch>) return _mm256_min_ps(x, bound);
#endif
#if defined(__SSE2__)
  if constexpr (detail::lanes_128<Arch>) return _mm_min_ps(x, bound);
#endif
  return xsimd::select(x < bound, x, bound);
}

/// p[i] for the integer values in the lanes of `i`, which are floats.
template <class Arch>
batch<Arch> gather(const float* p, batch<Arch> i) {
#if defined(__AVX512F__)
  if constexpr (detail::lanes_512<Arch>) return _mm512_i32gather_ps(_mm512_cvttps_epi32(i), p, sizeof(float));
#endif
#if defined(__AVX2__)
  if constexpr (detail::lanes_256<Arch>) return _mm256_i32gather_ps(p, _mm256_cvttps_epi32(i), sizeof(float));
#endif
  float lane[lanes<Arch>];
  i.store_unaligned(lane);
  for (float& x : lane) x = p[static_cast<std::int64_t>(x)];
  return batch<Arch>::load_unaligned(lane);
}

/// Sum of all lanes.
template <class Arch>
float reduce_add(batch<Arch> x) {
  return detail::sum_of_lanes(x);
}

/// Maximum of all lanes.
template <class Arch>
float reduce_max(batch<Arch> x) {
#if defined(__AVX512F__)
  if constexpr (detail::lanes_512<Arch>) return _mm512_reduce_max_ps(x);
#endif
  float lane[lanes<Arch>];
  x.store_unaligned(lane);
  return *std::max_element(lane, lane + lanes<Arch>);
}

/// Minimum of all lanes.
template <class Arch>
float reduce_min(batch<Arch> x) {
#if defined(__AVX512F__)
  if constexpr (detail::lanes_512<Arch>) return _mm512_reduce_min_ps(x);
#endif
  float lane[lanes<Arch>];
  x.store_unaligned(lane);
  return *std::min_element(lane, lane + lanes<Arch>);
}

/// Lane i is the maximum of all lanes of x[i].
template <class Arch>
batch<Arch> reduce_max_each(const batch<Arch> (&x)[lanes<Arch>]) {
#if defined(__AVX512F__)
  if constexpr (detail::lanes_512<Arch>) {
    const auto pairs = [](__m512 a, __m512 b) {
      return _mm512_max_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    };
    const auto fours = [&](const batch<Arch>* v) {  // maximum of each 128-bit part of each batch
      const __m512d a = _mm512_castps_pd(pairs(v[0], v[1])), b = _mm512_castps_pd(pairs(v[2], v[3]));
      return _mm512_max_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)), _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
    };
    const auto halves = [](__m512 a, __m512 b) {
      return _mm512_max_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
    };
    return halves(halves(fours(x), fours(x + 4)), halves(fours(x + 8), fours(x + 12)));
  }
#endif
  float lane[lanes<Arch>];
  for (std::int64_t i = 0; i < lanes<Arch>; ++i) lane[i] = reduce_max<Arch>(x[i]);
  return batch<Arch>::load_unaligned(lane);
}

/// Calls f(i, whole{}) for every full batch of [0, n) and f(i, count) for the remainder. (Inlined, so that the
/// variables that f refers to stay in registers: behind a reference they would be reloaded after every store.)
template <class Arch, class F>
QWQ_INLINE inline void strips(std::int64_t n, F&& f) {
  std::int64_t i = 0;
  for (; i + lanes<Arch> <= n; i += lanes<Arch>) f(i, whole{});
  if (i < n) f(i, n - i);
}

/// Reduces [0, n) with f(accumulator, i, count), with four accumulators to overlap latencies, and combines them with
/// `join`. `start` must be neutral in `join`.
template <class Arch, class F, class Join>
batch<Arch> fold(std::int64_t n, batch<Arch> start, F&& f, Join&& join) {
  constexpr std::int64_t width = lanes<Arch>;
  batch<Arch> a = start, b = start, c = start, d = start;
  std::int64_t i = 0;
  for (; i + 4 * width <= n; i += 4 * width) {
    a = f(a, i, whole{});
    b = f(b, i + width, whole{});
    c = f(c, i + 2 * width, whole{});
    d = f(d, i + 3 * width, whole{});
  }
  for (; i + width <= n; i += width) a = f(a, i, whole{});
  if (i < n) b = f(b, i, n - i);
  return join(join(a, b), join(c, d));
}

/// Sum over [0, n) of the batches f(i, count); lanes after the end must be 0.
template <class Arch, class F>
float sum(std::int64_t n, F&& f) {
  return reduce_add<Arch>(fold<Arch>(
      n, batch<Arch>(0.0f), [&](batch<Arch> a, std::int64_t i, auto count) { return a + f(i, count); },
      [](batch<Arch> a, batch<Arch> b) { return a + b; }));
}

}  // namespace qwq::kernel::simd
