// SPDX-License-Identifier: Apache-2.0
// Attention of one token: keys and values are read once, for all query heads that share them.
#pragma once

#include <cmath>

#include "qwq/kernel/operands.hpp"
#include "qwq/kernel/simd_exp2.hpp"
#include "qwq/kernel/simd_rows.hpp"
#include "qwq/kernel/softmax.hpp"

namespace qwq::kernel::detail {

/// Keys that are scored before their values are added. A block is read as four runs side by side: prefetchers follow
/// each page of memory on its own.
inline constexpr std::int64_t stream_block = 128;
/// Query heads of one pass over the keys.
inline constexpr std::int64_t stream_queries = 16;

/// One query head: what it asks, the weighted sum of values so far, relative to the greatest score so far, and the sum
/// of weights. Scores are in units of log2.
struct stream_query {
  const float* q;
  float* y;
  float max = minus_infinity, total = 0;
};

using stream_scores = float[stream_block];

/// Asks for what lies some rows further, once for each row: prefetchers stop at the end of a page, and start again on
/// the next one in time.
template <class T>
void fetch_ahead(const T* row) {
  __builtin_prefetch(reinterpret_cast<const char*>(row) + 1024, 0, 2);
}

/// Scores of four keys: score[r][at[n]] = q[r] . key[n].
template <class Arch, int R, class T>
QWQ_INLINE inline void score_four(stream_scores* score, const stream_query* query, const T* const (&key)[4],
                                  std::int64_t head_dim, const std::int64_t (&at)[4]) {
  simd::batch<Arch> sum[R][4];
  QWQ_UNROLL for (auto& row : sum) QWQ_UNROLL for (auto& s : row) s = simd::batch<Arch>(0.0f);
  QWQ_UNROLL for (int n = 0; n < 4; ++n) fetch_ahead(key[n]);
  simd::strips<Arch>(head_dim, [&](std::int64_t d, auto count) QWQ_INLINE {
    simd::batch<Arch> k[4];
    QWQ_UNROLL for (int n = 0; n < 4; ++n) k[n] = simd::load<Arch>(key[n] + d, count);
    QWQ_UNROLL for (int r = 0; r < R; ++r) {
      const auto q = simd::load<Arch>(query[r].q + d, count);
      QWQ_UNROLL for (int n = 0; n < 4; ++n) sum[r][n] = simd::fma<Arch>(q, k[n], sum[r][n]);
    }
  });
  QWQ_UNROLL for (int r = 0; r < R; ++r) {
    float sums[4];
    simd::store_sums<Arch>(sums, sum[r][0], sum[r][1], sum[r][2], sum[r][3]);
    QWQ_UNROLL for (int n = 0; n < 4; ++n) score[r][at[n]] = sums[n];
  }
}

/// Turns scores of a block into weights, and returns what earlier sums of the query are to be multiplied by. Scores are
/// multiplied by `scale`, and by the scales of their keys where there are any, weights by those of their values.
template <class Arch>
float weigh(stream_query& query, float* score, std::int64_t keys, float scale, const float* key_scales,
            const float* value_scales) {
  using batch = simd::batch<Arch>;
  batch greatest(query.max);
  simd::strips<Arch>(keys, [&](std::int64_t j, auto count) {
    batch s = simd::load<Arch>(score + j, count) * batch(scale);
    if (key_scales != nullptr) s *= simd::load<Arch>(key_scales + j, count);
    simd::store<Arch>(score + j, s, count);
    greatest = simd::at_least<Arch>(simd::load_or<Arch>(score + j, count, minus_infinity), greatest);
  });
  const float max = simd::reduce_max<Arch>(greatest);
  const float shift = max == minus_infinity ? 0.0f : max;
  batch total(0.0f);
  simd::strips<Arch>(keys, [&](std::int64_t j, auto count) {
    batch w = simd::exp2_not_positive<Arch>(simd::load_or<Arch>(score + j, count, minus_infinity) - batch(shift));
    total += w;
    if (value_scales != nullptr) w *= simd::load<Arch>(value_scales + j, count);
    simd::store<Arch>(score + j, w, count);
  });
  const float keep = std::exp2(query.max - shift);
  query.max = max;
  query.total = query.total * keep + simd::reduce_add<Arch>(total);
  return keep;
}

/// y = y * keep + weights . values, for C batches of the head from element d on; starts from 0 where `first`.
template <class Arch, int R, int C, class T, class Count>
void stream_value_tile(const stream_query* query, const stream_scores* weight, const float* keep, const T* value,
                       std::int64_t head_dim, std::int64_t keys, bool first, std::int64_t d, Count count) {
  constexpr std::int64_t width = simd::lanes<Arch>;
  simd::batch<Arch> sum[R][C];
  QWQ_UNROLL for (int r = 0; r < R; ++r) QWQ_UNROLL for (int c = 0; c < C; ++c) sum[r][c] =
      first ? simd::batch<Arch>(0.0f)
            : simd::load<Arch>(query[r].y + d + c * width, count) * simd::batch<Arch>(keep[r]);
  for (std::int64_t j = 0; j < keys; ++j) QWQ_UNROLL for (int c = 0; c < C; ++c) {
      const auto v = simd::load<Arch>(value + j * head_dim + d + c * width, count);
      QWQ_UNROLL for (int r = 0; r < R; ++r) sum[r][c] = simd::fma<Arch>(v, simd::batch<Arch>(weight[r][j]), sum[r][c]);
    }
  QWQ_UNROLL for (int r = 0; r < R; ++r) QWQ_UNROLL for (int c = 0; c < C; ++c)
      simd::store<Arch>(query[r].y + d + c * width, sum[r][c], count);
}

/// One block of keys and values, for R query heads.
template <class Arch, int R, class T>
void stream_one_block(stream_query* query, kv_view<T> keys, kv_view<T> values, std::int64_t head, std::int64_t j0,
                      std::int64_t count, bool first, float scale) {
  constexpr bool wide = simd::detail::lanes_512<Arch>;
  constexpr int batches = R == 1 || (wide && R < 4) ? 8 : 4;
  const std::int64_t head_dim = keys.head_dim;
  alignas(64) stream_scores score[R];
  const T* const key = keys.at(head, j0);
  const std::int64_t run = count / 4;
  const auto score_at = [&](const std::int64_t(&at)[4]) QWQ_INLINE {
    score_four<Arch, R>(
        score, query, {key + at[0] * head_dim, key + at[1] * head_dim, key + at[2] * head_dim, key + at[3] * head_dim},
        head_dim, at);
  };
  for (std::int64_t j = 0; j < run; ++j) score_at({j, j + run, j + 2 * run, j + 3 * run});
  if (const std::int64_t last = count - 1; 4 * run < count)
    score_at({4 * run, std::min(4 * run + 1, last), std::min(4 * run + 2, last), last});
  float keep[R];
  for (int r = 0; r < R; ++r)
    keep[r] = weigh<Arch>(query[r], score[r], count, scale, is_kv_code<T> ? keys.scale_at(head, j0) : nullptr,
                          is_kv_code<T> ? values.scale_at(head, j0) : nullptr);
  constexpr std::int64_t width = simd::lanes<Arch>;
  const T* const value = values.at(head, j0);
  std::int64_t d = 0;
  for (; d + batches * width <= head_dim; d += batches * width)
    stream_value_tile<Arch, R, batches>(query, score, keep, value, head_dim, count, first, d, simd::whole{});
  simd::strips<Arch>(head_dim - d, [&](std::int64_t rest, auto lanes) {
    stream_value_tile<Arch, R, 1>(query, score, keep, value, head_dim, count, first, d + rest, lanes);
  });
}

/// Query heads of one kv head (at most stream_queries) over the keys [begin, end).
template <class Arch, class T>
void stream(stream_query* query, std::int64_t queries, kv_view<T> keys, kv_view<T> values, std::int64_t head,
            std::int64_t begin, std::int64_t end, float scale) {
  constexpr std::int64_t most = simd::detail::lanes_512<Arch> ? 4 : 2;
  for (std::int64_t j0 = begin; j0 < end; j0 += stream_block) {
    const std::int64_t count = std::min(stream_block, end - j0);
    const auto run = [&]<int R>(std::integral_constant<int, R>, std::int64_t r) {
      stream_one_block<Arch, R>(query + r, keys, values, head, j0, count, j0 == begin, scale);
    };
    std::int64_t r = 0;
    for (; r + most <= queries; r += most) run(std::integral_constant<int, most>{}, r);
    if (queries - r == 3) run(std::integral_constant<int, 3>{}, r);
    if (queries - r == 2) run(std::integral_constant<int, 2>{}, r);
    if (queries - r == 1) run(std::integral_constant<int, 1>{}, r);
  }
}

/// y = x * factor
template <class Arch>
void scale_row(float* y, const float* x, std::int64_t n, float factor) {
  simd::strips<Arch>(n, [&](std::int64_t d, auto count) {
    simd::store<Arch>(y + d, simd::load<Arch>(x + d, count) * simd::batch<Arch>(factor), count);
  });
}

}  // namespace qwq::kernel::detail
