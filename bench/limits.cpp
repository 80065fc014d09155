// SPDX-License-Identifier: Apache-2.0
// Loops that do nothing but move memory or multiply.
#include "limits.hpp"

#include <algorithm>

#include "qwq/kernel/simd_dot_int16.hpp"
#include "qwq/kernel/simd_int8.hpp"

namespace qwq::bench {

namespace {

using arch = xsimd::default_arch;
using lane = kernel::simd::batch<arch>;
constexpr std::int64_t width = kernel::simd::lanes<arch>;

void store_plain(float* p, lane x) { x.store_aligned(p); }

#if defined(__SSE2__)
constexpr bool has_streaming = true;
void store_streaming(float* p, lane x) {
#if defined(__AVX512F__)
  _mm512_stream_ps(p, x);
#elif defined(__AVX__)
  _mm256_stream_ps(p, x);
#else
  _mm_stream_ps(p, x);
#endif
}
void finish_streaming() { _mm_sfence(); }
#else
constexpr bool has_streaming = false;
void store_streaming(float* p, lane x) { store_plain(p, x); }
void finish_streaming() {}
#endif

// Bits and not numbers are combined: one operation for each load, and no NaN or subnormal number is slow.
lane combine(lane a, lane b) { return a ^ b; }

constexpr std::int64_t page = 4096 / sizeof(float);
constexpr int lines_at_once = 8;

/// Calls f(k, i), k < 8, for lanes at i of [0, n). Prefetchers follow each page on its own: past the caches several
/// pages in turn (Pages = 4) come faster than one after the other.
template <int Pages, class F>
void walk(std::int64_t n, F&& f) {
  if constexpr (Pages == 1) {
    for (std::int64_t i = 0; i + lines_at_once * width <= n; i += lines_at_once * width) {
      QWQ_UNROLL
      for (int k = 0; k < lines_at_once; ++k) f(k, i + k * width);
    }
  } else {
    constexpr int per_page = lines_at_once / Pages;
    for (std::int64_t block = 0; block + Pages * page <= n; block += Pages * page)
      for (std::int64_t i = block; i < block + page; i += per_page * width) {
        QWQ_UNROLL
        for (int k = 0; k < lines_at_once; ++k) f(k, i + k / per_page * page + k % per_page * width);
      }
  }
}

/// A loop over memory: `n` floats are written, or where nothing is, read.
using mover = void (*)(float* out, const float* in, std::int64_t n);

template <int Pages>
void read(float*, const float* in, std::int64_t n) {
  lane sum[lines_at_once];
  QWQ_UNROLL
  for (int k = 0; k < lines_at_once; ++k) sum[k] = lane(0.0f);
  walk<Pages>(n, [&](int k, std::int64_t i) { sum[k] = combine(sum[k], lane::load_aligned(in + i)); });
  QWQ_UNROLL
  for (int k = 1; k < lines_at_once; ++k) sum[0] = combine(sum[0], sum[k]);
  keep(sum[0]);
}

/// One line is written for `Reads` lines.
template <int Reads, int Pages, void Store(float*, lane)>
void move(float* out, const float* in, std::int64_t n) {
  walk<Pages>(n, [&](int, std::int64_t i) {
    lane x = lane(1.0f);
    QWQ_UNROLL
    for (int r = 0; r < Reads; ++r) x = combine(x, lane::load_aligned(in + i * Reads + r * width));
    Store(out + i, x);
  });
}

template <int Pages, void Store(float*, lane)>
mover mover_of(int reads) {
  switch (reads) {
    case 0:
      return move<0, Pages, Store>;
    case 1:
      return move<1, Pages, Store>;
    case 2:
      return move<2, Pages, Store>;
    case 3:
      return move<3, Pages, Store>;
    case 4:
      return move<4, Pages, Store>;
    default:
      return move<8, Pages, Store>;
  }
}

/// Memory of the loops, which take turns: hundreds of megabytes are made once.
buffer<float> loop_memory(std::size_t floats) {
  if (floats < (std::size_t{1} << 20)) return make_buffer<float>(floats);
  static buffer<float> all;
  if (all.size < floats) all = make_buffer<float>(floats);
  return all;
}

/// Each thread works for some 100 us before it meets the others.
constexpr std::int64_t bytes_between_meetings = 4 << 20;

void on_all_threads(executor& ex, const std::function<void(std::size_t)>& f) {
  if (ex.threads() == 1) return f(0);
  ex.run(
      ex.threads(), [](void* g, std::size_t i) { (*static_cast<const std::function<void(std::size_t)>*>(g))(i); },
      const_cast<void*>(static_cast<const void*>(&f)));
}

/// A pass over `floats_per_pass` floats of each thread, as often as is worth a meeting.
contender bandwidth(std::string name, std::size_t bytes, double amount, traffic mix, mover move) {
  const int parts = mix.in_place ? 1 : mix.reads + mix.writes;
  const double moved_per_byte = mix.in_place ? 2 : 1;
  const std::int64_t passes = std::max<std::int64_t>(1, bytes_between_meetings / static_cast<std::int64_t>(bytes));
  const auto make = [=](executor& ex) -> call {
    const std::size_t threads = ex.threads();
    // Floats of one part and thread: whole steps of the loops above.
    const auto n = static_cast<std::int64_t>(bytes / sizeof(float) / static_cast<std::size_t>(parts) / threads) /
                   (4 * page) * (4 * page);
    const auto memory = loop_memory(static_cast<std::size_t>(n) * threads * static_cast<std::size_t>(parts));
    return [=, &ex] {
      on_all_threads(ex, [&](std::size_t thread) {
        float* const in = memory.data() + static_cast<std::int64_t>(thread) * n * parts;
        float* const out = mix.in_place ? in : in + n * mix.reads;
        for (std::int64_t pass = 0; pass < passes; ++pass) {
          move(out, in, n);
          keep(memory.data());
        }
        if (mix.writes != 0) finish_streaming();
      });
    };
  };
  const double one_pass = amount == 0 ? static_cast<double>(bytes) * moved_per_byte : amount;
  return {std::move(name), make, one_pass * static_cast<double>(passes)};
}

// Accumulators: more than latency times throughput (8 to 10), and few enough for 16 registers.
constexpr int chains = 12;
constexpr std::int64_t peak_steps = 20000;

/// `step` is applied to each of the accumulators in turn. `operations`: of one step on one accumulator.
template <class Vector, class Step>
contender peak(std::string name, Vector start, double operations, double per_unit, Step step) {
  const auto make = [=](executor& ex) -> call {
    return [=, &ex] {
      on_all_threads(ex, [&, steps = peak_steps / static_cast<std::int64_t>(ex.threads())](std::size_t) {
        Vector sum[chains];
        for (Vector& s : sum) s = start;
        for (std::int64_t i = 0; i < steps; ++i) {
          _Pragma("GCC unroll 12") for (int k = 0; k < chains; ++k) sum[k] = step(sum[k], start);
        }
        for (const Vector& s : sum) keep(s);
      });
    };
  };
  return {std::move(name), make, operations * chains * static_cast<double>(peak_steps) / per_unit};
}

}  // namespace

std::vector<contender> memory_bandwidth(traffic mix, std::size_t bytes, double amount) {
  std::vector<contender> result;
  const auto add = [&](const std::string& how, const std::string& what, mover f) {
    result.push_back(bandwidth(how + what, bytes, amount, mix, f));
  };
  const bool past_l2 = bytes > 2 * working_sets().front().bytes;
  if (mix.writes == 0) {
    add("", "read", read<1>);
    if (past_l2) add("paged ", "read", read<4>);
    return result;
  }
  const std::string name = mix.in_place     ? "update"
                           : mix.reads == 0 ? "fill"
                           : mix.reads == 1 ? "copy"
                                            : std::to_string(mix.reads) + " to 1";
  add("", name, mover_of<1, store_plain>(mix.reads));
  if (past_l2) add("paged ", name, mover_of<4, store_plain>(mix.reads));
  if (past_l2 && has_streaming && !mix.in_place) {
    add("streaming ", name, mover_of<1, store_streaming>(mix.reads));
    add("paged streaming ", name, mover_of<4, store_streaming>(mix.reads));
  }
  return result;
}

std::vector<contender> fma_peak(double per_unit) {
  return {peak("f32 multiply-add", lane(1e-3f), 2.0 * width, per_unit,
               [](lane sum, lane x) { return kernel::simd::fma<arch>(x, x, sum); })};
}

namespace {

/// pass(numbers, size) on 8 KB, which the first-level cache holds.
template <class T, class Pass>
contender in_first_cache(std::string name, Pass pass) {
  const auto make = [=](executor& ex) -> call {
    const auto numbers = make_buffer<T>(8192 / sizeof(T));
    return [=, &ex] {
      on_all_threads(ex, [&, passes = bytes_between_meetings / 8192 / static_cast<std::int64_t>(ex.threads())](
                             std::size_t) { pass(numbers.data(), static_cast<std::int64_t>(numbers.size), passes); });
    };
  };
  return {std::move(name), make, static_cast<double>(bytes_between_meetings)};
}

template <class T>
void widen_and_multiply(const T* numbers, std::int64_t size, std::int64_t passes) {
  lane sum[2][lines_at_once];
  for (auto& row : sum)
    for (lane& s : row) s = lane(0.0f);
  const lane x[2] = {lane(1.0f), lane(2.0f)};
  for (std::int64_t pass = 0; pass < passes; ++pass) {
    walk<1>(size, [&](int k, std::int64_t i) {
      const lane number = kernel::simd::load<arch>(numbers + i);
      for (int row = 0; row < 2; ++row) sum[row][k] = kernel::simd::fma<arch>(number, x[row], sum[row][k]);
    });
    keep(numbers);
  }
  for (const auto& row : sum)
    for (const lane& s : row) keep(s);
}

/// Codes of keys times two queries of 16 bits, and of values times two weights of 16 bits: half of the codes are of
/// each.
template <class Arch>
void multiply_codes(const std::int8_t* codes, std::int64_t size, std::int64_t passes) {
  namespace simd = kernel::simd;
  constexpr std::int64_t line = 4 * simd::lanes<Arch>;
  simd::ints<Arch> key[2][4], value[2][2][4];
  for (auto& row : key)
    for (auto& s : row) s = simd::ints<Arch>(0);
  for (auto& half : value)
    for (auto& row : half)
      for (auto& s : row) s = simd::ints<Arch>(0);
  const simd::word_lanes<Arch> query[2] = {simd::word_lanes<Arch>(1), simd::word_lanes<Arch>(2)};
  const simd::words<Arch> weight[2][2] = {{simd::words<Arch>(1), simd::words<Arch>(2)},
                                          {simd::words<Arch>(3), simd::words<Arch>(4)}};
  for (std::int64_t pass = 0; pass < passes; ++pass) {
    for (std::int64_t i = 0; i < size / 2; i += 2 * line) {
      QWQ_UNROLL for (int k = 0; k < 4; ++k) {
        const auto k_words = simd::load_wide<Arch>(codes + i + k * line / 2);
        QWQ_UNROLL for (int r = 0; r < 2; ++r) key[r][k] = simd::add_products<Arch>(key[r][k], query[r], k_words);
      }
    }
    for (std::int64_t i = size / 2; i < size; i += 4 * line) {
      simd::words<Arch> row[4];
      QWQ_UNROLL for (int k = 0; k < 4; ++k) row[k] = simd::load_codes<Arch>(codes + i + k * line);
      simd::by_turns<Arch>(row);
      QWQ_UNROLL for (int r = 0; r < 2; ++r) QWQ_UNROLL for (int half = 0; half < 2; ++half)
          QWQ_UNROLL for (int k = 0; k < 4; ++k) value[r][half][k] =
              simd::add_dot<Arch>(value[r][half][k], weight[r][half], row[k]);
    }
    keep(codes);
  }
  for (const auto& row : key)
    for (const auto& s : row) keep(s);
  for (const auto& half : value)
    for (const auto& row : half)
      for (const auto& s : row) keep(s);
}

}  // namespace

template <class T>
std::vector<contender> widened_peak() {
  if constexpr (std::is_same_v<T, std::int8_t> && kernel::simd::has_word_products<arch>)
    return {in_first_cache<T>("products of codes", multiply_codes<arch>)};
  else
    return {in_first_cache<T>("widening and multiply-adds", widen_and_multiply<T>)};
}
template std::vector<contender> widened_peak<float>();
template std::vector<contender> widened_peak<float16>();
template std::vector<contender> widened_peak<bfloat16>();
template std::vector<contender> widened_peak<std::int8_t>();

std::vector<contender> vnni_peak(double per_unit) {
#if defined(__AVX512VNNI__)
  return {peak("u8 x s8 dot product", _mm512_set1_epi8(1), 2.0 * 64, per_unit,
               [](__m512i sum, __m512i x) { return _mm512_dpbusd_epi32(sum, x, x); })};
#elif defined(__AVXVNNI__)
  return {peak("u8 x s8 dot product", _mm256_set1_epi8(1), 2.0 * 32, per_unit,
               [](__m256i sum, __m256i x) { return _mm256_dpbusd_avx_epi32(sum, x, x); })};
#else
  return fma_peak(per_unit);
#endif
}

std::vector<contender> bf16_peak(double per_unit) {
#if defined(__AVX512BF16__)
  return {peak("bf16 dot product", _mm512_set1_ps(1e-3f), 2.0 * 32, per_unit, [](__m512 sum, __m512 x) {
    const auto pairs = reinterpret_cast<__m512bh>(x);
    return _mm512_dpbf16_ps(sum, pairs, pairs);
  })};
#else
  return fma_peak(per_unit);
#endif
}

}  // namespace qwq::bench
