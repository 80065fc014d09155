// SPDX-License-Identifier: Apache-2.0
// Observers beside the bandwidth of memory and the same loops written by hand: bytes read.
#include <array>
#include <string>

#include "limits.hpp"
#include "qwq/kernel/observe.hpp"
#include "qwq/quant/any_observer.hpp"

namespace qwq::bench {

namespace {

constexpr std::size_t columns = 1024, bins = 2048;
constexpr float range = 4.7f;

struct tensor_size {
  const char* name;
  std::size_t bytes;
};
constexpr tensor_size sizes[] = {
    {"64 KB", std::size_t{64} << 10}, {"4 MB", std::size_t{4} << 20}, {"256 MB", std::size_t{256} << 20}};

#if defined(__AVX512F__)

void min_max_by_hand(std::span<const float> x) {
  __m512 low[4], high[4];
  QWQ_UNROLL for (int k = 0; k < 4; ++k) low[k] = high[k] = _mm512_set1_ps(x[0]);
  for (std::size_t i = 0; i < x.size(); i += 64) {
    QWQ_UNROLL for (std::size_t k = 0; k < 4; ++k) {
      const __m512 v = _mm512_loadu_ps(x.data() + i + 16 * k);
      low[k] = _mm512_min_ps(v, low[k]);
      high[k] = _mm512_max_ps(v, high[k]);
    }
  }
  for (std::size_t k = 1; k < 4; ++k) {
    low[0] = _mm512_min_ps(low[0], low[k]);
    high[0] = _mm512_max_ps(high[0], high[k]);
  }
  keep(_mm512_reduce_min_ps(low[0]));
  keep(_mm512_reduce_max_ps(high[0]));
}

/// Four tables, without a look at edges: elements next to one may count in the other bin.
void histogram_by_hand(std::span<std::int64_t> counts, std::span<const float> x) {
  alignas(64) static std::array<std::array<std::uint32_t, bins>, 4> tables;
  for (auto& t : tables) t.fill(0);
  const __m512 first = _mm512_set1_ps(-range), per_unit = _mm512_set1_ps(bins / (2 * range));
  const __m512i last = _mm512_set1_epi32(bins - 1), zero = _mm512_setzero_si512();
  alignas(64) std::array<std::uint32_t, 16> index;
  for (std::size_t i = 0; i < x.size(); i += 16) {
    const __m512i bin =
        _mm512_cvttps_epi32(_mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(x.data() + i), first), per_unit));
    _mm512_store_si512(index.data(), _mm512_min_epi32(_mm512_max_epi32(bin, zero), last));
    _Pragma("GCC unroll 16") for (std::size_t k = 0; k < 16; ++k)++ tables[k % 4][index[k]];
  }
  for (std::size_t b = 0; b < bins; ++b) counts[b] += tables[0][b] + tables[1][b] + tables[2][b] + tables[3][b];
}

#endif

}  // namespace

void add_cases() {
  for (const tensor_size& size : sizes) {
    const std::size_t n = size.bytes / sizeof(float);
    const auto add_pass = [&](const char* name, auto f, std::vector<contender> limits) {
      add({.kernel = name,
           .shape = std::to_string(n / columns) + "x" + std::to_string(columns) + ", " + size.name,
           .amount = static_cast<double>(size.bytes),
           .ours = [=](executor&) -> call {
             const auto x = floats(n);
             return [=] { f(std::span<const float>(x)); };
           },
           .limits = std::move(limits)});
    };
    std::vector<contender> min_max = read_bandwidth(size.bytes, static_cast<double>(size.bytes)), histogram;
#if defined(__AVX512F__)
    min_max.push_back({"by hand", [=](executor&) -> call {
                         const auto x = floats(n);
                         return [=] { min_max_by_hand(x); };
                       }});
    histogram.push_back({"by hand", [=](executor&) -> call {
                           const auto x = floats(n);
                           const auto counts = make_buffer<std::int64_t>(bins);
                           return [=] { histogram_by_hand(counts, x); };
                         }});
#else
    histogram = min_max;
#endif
    add_pass(
        "observer_minmax", [](std::span<const float> x) { keep(kernel::min_max(x)); }, min_max);
    add_pass(
        "observer_abs_max", [](std::span<const float> x) { keep(kernel::abs_max(x)); },
        read_bandwidth(size.bytes, static_cast<double>(size.bytes)));
    add_pass(
        "observer_moments", [](std::span<const float> x) { keep(kernel::sums(x)); },
        read_bandwidth(size.bytes, static_cast<double>(size.bytes)));
    std::vector<float> edges(bins + 1);
    kernel::histogram_edges(edges, -range, range);
    add_pass(
        "observer_histogram",
        [edges, counts = make_buffer<std::int64_t>(bins)](std::span<const float> x) {
          kernel::histogram(counts, edges, x);
        },
        histogram);
    for (const char* name : {"percentile:99.99", "entropy"})
      add_pass(
          (std::string("observer_") + std::string(name).substr(0, std::string(name).find(':'))).c_str(),
          [o = std::make_shared<any_observer>(any_observer::parse(name))](std::span<const float> x) { o->observe(x); },
          histogram);
  }
}

}  // namespace qwq::bench
