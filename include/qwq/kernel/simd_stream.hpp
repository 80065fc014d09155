// SPDX-License-Identifier: Apache-2.0
// Defines loops over memory in the fastest order, and streaming stores, which bypass the cache.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "qwq/kernel/simd.hpp"

namespace qwq::kernel {

/// How a kernel writes its result. Streaming stores do not read the lines that they fill and do not displace other data
/// in the cache: use them for results that are much larger than it. `automatic` streams a result of `streaming_bytes`
/// or more that is not one of the inputs.
enum class writes : std::uint8_t { automatic, cached, streaming };
/// Size in bytes from which `automatic` streams.
inline constexpr std::size_t streaming_bytes = std::size_t{16} << 20;

namespace simd {

/// True if Arch has streaming stores.
#if defined(__SSE2__)
template <class Arch>
inline constexpr bool streams = true;
#else
template <class Arch>
inline constexpr bool streams = false;
#endif

/// Stores one batch to aligned memory, bypassing the cache if the hardware can.
template <class Arch>
void stream(float* p, batch<Arch> x) {
#if defined(__AVX512F__)
  if constexpr (detail::lanes_512<Arch>) return _mm512_stream_ps(p, x);
#endif
#if defined(__AVX__)
  if constexpr (detail::lanes_256<Arch>) return _mm256_stream_ps(p, x);
#endif
#if defined(__SSE2__)
  if constexpr (detail::lanes_128<Arch>) return _mm_stream_ps(p, x);
#endif
  x.store_aligned(p);
}

/// Makes streamed data visible to other threads before any later store.
inline void end_of_stream() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

/// Number of elements from p to the first that is aligned to a batch.
template <class Arch, class T>
std::int64_t to_aligned(const T* p) {
  const auto past = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(p) % sizeof(batch<Arch>) / sizeof(T));
  return past == 0 ? 0 : static_cast<std::int64_t>(sizeof(batch<Arch>) / sizeof(T)) - past;
}

/// Stores a batch, or its first `count` lanes, streaming it if `Streaming` is set; whole batches must then be aligned.
template <class Arch, bool Streaming, class To, class Lanes, class Count>
void put(To y, Lanes x, Count count) {
  if constexpr (Streaming && std::is_same_v<Count, whole>)
    stream<Arch>(y, x);
  else
    store<Arch>(y, x, count);
}

/// True if `n` floats exceed the caches.
constexpr bool is_far(std::size_t n) { return n * sizeof(float) >= streaming_bytes; }

/// Calls f(k, i) for every whole batch of [0, n), with k < Lines in rotation, so that each can have its own accumulator
/// (a loop without accumulators has one line). Returns the start of the remainder. Prefetchers follow each page
/// separately: for memory that is `far`, in no cache, reading four pages in rotation is up to 1.5 times as fast as
/// sequentially.
template <class Arch, int Lines, class F>
[[gnu::always_inline]] inline std::int64_t walk(std::int64_t n, bool far, F&& f) {
  constexpr std::int64_t width = lanes<Arch>, page = 4096 / sizeof(float), pages = 4;
  constexpr std::int64_t paged = Lines < pages ? pages : Lines, per_page = paged / pages;
  static_assert(Lines == 1 || (Lines % pages == 0 && Lines <= 8));
  std::int64_t i = 0;
  if (far) [[unlikely]]  // so that compilers optimize the layout of the other loop, which has less time per line
    for (; i + pages * page <= n; i += pages * page)
      for (std::int64_t first = i; first < i + page; first += per_page * width) {
        QWQ_UNROLL for (int k = 0; k < paged; ++k) f(k % Lines, first + k / per_page * page + k % per_page * width);
      }
  for (const std::int64_t end = n - (n - i) % (Lines * width); i < end; i += Lines * width) {
    QWQ_UNROLL for (int k = 0; k < Lines; ++k) f(k, i + k * width);
  }
  if constexpr (Lines > 1)
    for (const std::int64_t end = n - (n - i) % width; i < end; i += width) f(0, i);
  return i;
}

/// y[i] = f(x[i], i) for i in [0, n), a batch at a time. With `Streaming`, y must be aligned to a batch. f should hold
/// its data by value: a compiler keeps that in registers, but must reload data behind a reference after every store.
template <class Arch, bool Streaming = false, class To, class From, class F>
[[gnu::always_inline]] inline void transform(To y, From x, std::int64_t n, F f) {
  const auto i = walk<Arch, 1>(n, is_far(static_cast<std::size_t>(n)), [&](int, std::int64_t k) {
    put<Arch, Streaming>(y + k, f(load<Arch>(x + k), k), whole{});
  });
  if (i < n) put<Arch, Streaming>(y + i, f(load<Arch>(x + i, n - i), i), n - i);
}
/// `transform` for a constant number of elements, unrolled.
template <class Arch, bool Streaming = false, class To, class From, std::int64_t N, class F>
void transform(To y, From x, std::integral_constant<std::int64_t, N>, F f) {
  constexpr std::int64_t width = lanes<Arch>;
  static_assert(N % width == 0);
  QWQ_UNROLL for (std::int64_t i = 0; i < N; i += width) put<Arch, Streaming>(y + i, f(load<Arch>(x + i), i), whole{});
}

}  // namespace simd

namespace detail {

/// Prefetches the cache line 1 KB after that of `p`, the d-th element of a row, once per line: hardware prefetchers
/// stop at the end of a page. (Inlined, because GCC otherwise assumes that a function that does nothing else has no
/// effect.)
template <class T>
QWQ_INLINE inline void fetch_ahead(const T* p, std::int64_t d) {
  if (d * static_cast<std::int64_t>(sizeof(T)) % 64 == 0)
    __builtin_prefetch(reinterpret_cast<const char*>(p) + 1024, 0, 3);
}

/// Calls f with whether to stream `count` elements to y, as a constant.
template <class Arch, class To, class F>
void with_writes(writes how, To y, const void* x, std::size_t count, F&& f) {
  if constexpr (simd::streams<Arch> && std::is_same_v<To, float*>)
    if (y != x && (how == writes::streaming || (how == writes::automatic && simd::is_far(count)))) {
      f(std::true_type{});
      return simd::end_of_stream();
    }
  f(std::false_type{});
}

}  // namespace detail
}  // namespace qwq::kernel
