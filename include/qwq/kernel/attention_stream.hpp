// SPDX-License-Identifier: Apache-2.0
// Attention of one token: keys and values are read once, for all query heads that share them.
#pragma once

#include <cmath>

#include "qwq/kernel/operands.hpp"
#include "qwq/kernel/simd_exp2.hpp"
#include "qwq/kernel/simd_rows.hpp"
#include "qwq/kernel/softmax.hpp"

namespace qwq::kernel::detail {

/// Keys that are scored before their values are added.
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

/// The order in which a block of `count` keys is read: key `(*this)(i)` is the i-th. Four runs take turns, since
/// prefetchers follow each page of memory on its own.
struct stream_order {
  std::int64_t count, run = count / 4;

  std::int64_t operator()(std::int64_t i) const { return i < 4 * run ? i / 4 + i % 4 * run : std::min(i, count - 1); }
};

/// Adds to sum[r][n] the lanes of the products of q[r] and key[n].
template <class Arch, int R, class T>
QWQ_INLINE inline void multiply_keys(simd::batch<Arch> (&sum)[R][4], const stream_query* query,
                                     const T* const (&key)[4], std::int64_t head_dim) {
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
}

/// score[r][i] = q[r] . key of the i-th key of a block, for i up to the next multiple of the lanes.
template <class Arch, int R, class T>
void score_block(stream_scores* score, const stream_query* query, const T* key, std::int64_t head_dim,
                 stream_order order) {
  constexpr std::int64_t width = simd::lanes<Arch>;
  for (std::int64_t i = 0; i < order.count; i += width) {
    simd::batch<Arch> quads[R][width / 4];
    QWQ_UNROLL for (int n = 0; n < width / 4; ++n) {
      const std::int64_t at = i + 4 * n;
      simd::batch<Arch> sum[R][4];
      multiply_keys<Arch, R>(sum, query,
                             {key + order(at) * head_dim, key + order(at + 1) * head_dim,
                              key + order(at + 2) * head_dim, key + order(at + 3) * head_dim},
                             head_dim);
      QWQ_UNROLL for (int r = 0; r < R; ++r) quads[r][n] =
          simd::add_quads<Arch>(sum[r][0], sum[r][1], sum[r][2], sum[r][3]);
    }
    QWQ_UNROLL for (int r = 0; r < R; ++r) simd::store<Arch>(score[r] + i, simd::add_parts<Arch>(quads[r]));
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
  const auto add = [&](std::int64_t i, std::int64_t j) QWQ_INLINE {
    const T* row = value + j * head_dim + d;
    fetch_ahead(row);
    QWQ_UNROLL for (int c = 0; c < C; ++c) {
      const auto v = simd::load<Arch>(row + c * width, count);
      QWQ_UNROLL for (int r = 0; r < R; ++r) sum[r][c] = simd::fma<Arch>(v, simd::batch<Arch>(weight[r][i]), sum[r][c]);
    }
  };
  const std::int64_t run = keys / 4;  // as in stream_order
  for (std::int64_t j = 0; j < run; ++j) QWQ_UNROLL for (int n = 0; n < 4; ++n) add(4 * j + n, j + n * run);
  for (std::int64_t j = 4 * run; j < keys; ++j) add(j, j);
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
  const stream_order order{count};
  score_block<Arch, R>(score, query, key, head_dim, order);
  float key_scales[stream_block], value_scales[stream_block];
  if constexpr (is_kv_code<T>)
    for (std::int64_t i = 0; i < count; ++i) {
      key_scales[i] = keys.scale_at(head, j0)[order(i)];
      value_scales[i] = values.scale_at(head, j0)[order(i)];
    }
  float keep[R];
  for (int r = 0; r < R; ++r)
    keep[r] = weigh<Arch>(query[r], score[r], count, scale, is_kv_code<T> ? key_scales : nullptr,
                          is_kv_code<T> ? value_scales : nullptr);
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
