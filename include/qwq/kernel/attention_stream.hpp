// SPDX-License-Identifier: Apache-2.0
// Attention of one token: keys and values are read once, for all query heads that share them.
#pragma once

#include <cmath>
#include <cstring>

#include "qwq/kernel/append_kv.hpp"
#include "qwq/kernel/simd_exp2.hpp"
#include "qwq/kernel/simd_rows.hpp"
#include "qwq/kernel/simd_words.hpp"
#include "qwq/kernel/softmax.hpp"

namespace qwq::kernel::detail {

/// Keys that are scored before their values are added.
inline constexpr std::int64_t stream_block = 128;
/// Query heads of one pass over the keys.
inline constexpr std::int64_t stream_queries = 16;
/// Of every attention: what a thread works on is on its stack.
inline constexpr std::int64_t most_head_dim = 512;

/// One query head: what it asks, the weighted sum of values so far, relative to the greatest score so far, and the sum
/// of weights. Scores are in units of log2.
struct stream_query {
  const float* q;
  float* y;
  float max = minus_infinity, total = 0;
  const std::int16_t* words = nullptr;  // q / unit, where codes are multiplied as integers
  float unit = 1;
};

/// Whether codes are multiplied as integers, with queries and weights as integers of 16 bits: their steps, 1 / 32767 of
/// the greatest, are 1/258 of those of the codes.
template <class Arch, class T> inline constexpr bool as_words = is_kv_code<T> && simd::has_word_products<Arch>;

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
  /// f(k, (*this)(i + k)) for k < 4, where i is a multiple of 4.
  template <class F>
  QWQ_INLINE void four(std::int64_t i, F&& f) const {
    const bool in_runs = i < 4 * run;
    QWQ_UNROLL for (std::int64_t k = 0; k < 4; ++k) f(k, in_runs ? i / 4 + k * run : std::min(i + k, count - 1));
  }
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

/// The same of codes, in units of queries and of keys.
template <class Arch, int R>
QWQ_INLINE inline void multiply_key_words(simd::batch<Arch> (&sum)[R][4], const stream_query* query,
                                          const std::int8_t* const (&key)[4], std::int64_t head_dim) {
  simd::int_lanes<Arch> total[R][4];
  QWQ_UNROLL for (auto& row : total) QWQ_UNROLL for (auto& t : row) t = simd::int_lanes<Arch>(0);
  QWQ_UNROLL for (int n = 0; n < 4; ++n) fetch_ahead(key[n]);
  const auto add = [&](std::int64_t d, auto count) QWQ_INLINE {
    simd::word_lanes<Arch> k[4];
    QWQ_UNROLL for (int n = 0; n < 4; ++n) k[n] = simd::load_wide<Arch>(key[n] + d, count);
    QWQ_UNROLL for (int r = 0; r < R; ++r) {
      const auto q = simd::word_lanes<Arch>::load_unaligned(query[r].words + d);
      QWQ_UNROLL for (int n = 0; n < 4; ++n) total[r][n] = simd::add_products<Arch>(total[r][n], q, k[n]);
    }
  };
  constexpr std::int64_t width = 2 * simd::lanes<Arch>;
  std::int64_t d = 0;
  for (; d + width <= head_dim; d += width) add(d, simd::whole{});
  if (d < head_dim) add(d, head_dim - d);
  QWQ_UNROLL for (int r = 0; r < R; ++r) QWQ_UNROLL for (int n = 0; n < 4; ++n) sum[r][n] =
      xsimd::to_float(total[r][n]);
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
      const T* keys[4];
      order.four(at, [&](std::int64_t k, std::int64_t j) QWQ_INLINE { keys[k] = key + j * head_dim; });
      if constexpr (as_words<Arch, T>)
        multiply_key_words<Arch, R>(sum, query, keys, head_dim);
      else
        multiply_keys<Arch, R>(sum, query, keys, head_dim);
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
                       std::int64_t head_dim, stream_order order, bool first, std::int64_t d, Count count) {
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
  const std::int64_t run = order.run;
  for (std::int64_t j = 0; j < run; ++j) QWQ_UNROLL for (int n = 0; n < 4; ++n) add(4 * j + n, j + n * run);
  for (std::int64_t j = 4 * run; j < order.count; ++j) add(j, j);
  QWQ_UNROLL for (int r = 0; r < R; ++r) QWQ_UNROLL for (int c = 0; c < C; ++c)
      simd::store<Arch>(query[r].y + d + c * width, sum[r][c], count);
}

using stream_words = std::int16_t[stream_block + 2];

/// The same of codes, for C batches of `word_lanes`: weights are integers, a 0 after the last, in units of `unit`.
template <class Arch, int R, int C, class Count>
void stream_word_tile(const stream_query* query, const stream_words* weight, const float* unit, const float* keep,
                      const std::int8_t* value, std::int64_t head_dim, stream_order order, bool first, std::int64_t d,
                      Count count) {
  constexpr std::int64_t width = simd::lanes<Arch>;
  simd::int_lanes<Arch> low[R][C], high[R][C];  // d in turns, as pairs of rows come
  QWQ_UNROLL for (int r = 0; r < R; ++r) QWQ_UNROLL for (int c = 0; c < C; ++c) low[r][c] = high[r][c] =
      simd::int_lanes<Arch>(0);
  const auto add = [&](std::int64_t i, std::int64_t j, std::int64_t j2) QWQ_INLINE {
    const std::int8_t *row = value + j * head_dim + d, *row2 = value + j2 * head_dim + d;
    fetch_ahead(row);
    fetch_ahead(row2);
    simd::word_lanes<Arch> w[R];
    QWQ_UNROLL for (int r = 0; r < R; ++r) {
      std::int32_t two;
      std::memcpy(&two, weight[r] + i, sizeof two);
      w[r] = simd::detail::reinterpret<Arch, std::int16_t>(simd::int_lanes<Arch>(two));
    }
    QWQ_UNROLL for (int c = 0; c < C; ++c) {
      const auto a = simd::load_wide<Arch>(row + 2 * c * width, count);
      const auto b = simd::load_wide<Arch>(row2 + 2 * c * width, count);
      const auto lower = simd::turns_low<Arch>(a, b), upper = simd::turns_high<Arch>(a, b);
      QWQ_UNROLL for (int r = 0; r < R; ++r) {
        low[r][c] = simd::add_products<Arch>(low[r][c], lower, w[r]);
        high[r][c] = simd::add_products<Arch>(high[r][c], upper, w[r]);
      }
    }
  };
  const std::int64_t run = order.run;
  for (std::int64_t j = 0; j < run; ++j) {
    add(4 * j, j, j + run);
    add(4 * j + 2, j + 2 * run, j + 3 * run);
  }
  for (std::int64_t i = 4 * run; i < order.count; i += 2) add(i, order(i), order(i + 1));
  QWQ_UNROLL for (int r = 0; r < R; ++r) QWQ_UNROLL for (int c = 0; c < C; ++c) {
    const auto put = [&](std::int64_t at, simd::batch<Arch> sum, auto lanes) {
      float* y = query[r].y + d + 2 * c * width + at;
      const auto before = first ? simd::batch<Arch>(0.0f) : simd::load<Arch>(y, lanes) * simd::batch<Arch>(keep[r]);
      simd::store<Arch>(y, simd::fma<Arch>(sum, simd::batch<Arch>(unit[r]), before), lanes);
    };
    const auto front = simd::first_of_turns<Arch>(low[r][c], high[r][c]);
    const auto back = simd::rest_of_turns<Arch>(low[r][c], high[r][c]);
    if constexpr (std::is_same_v<Count, simd::whole>) {
      put(0, front, count);
      put(width, back, count);
    } else {
      if (count >= width) put(0, front, simd::whole{});
      if (count < width) put(0, front, count);
      if (count > width) put(width, back, count - width);
    }
  }
}

/// Adds the values of a block, weighted.
template <class Arch, int R, class T>
void stream_values(const stream_query* query, const stream_scores* weight, const float* keep, const T* value,
                   std::int64_t head_dim, stream_order order, bool first) {
  constexpr std::int64_t width = simd::lanes<Arch>;
  constexpr bool wide = simd::detail::lanes_512<Arch>;
  std::int64_t d = 0;
  if constexpr (as_words<Arch, T>) {
    constexpr int chunks = R < 3 ? 4 : 2;
    stream_words words[R];
    float unit[R];
    for (int r = 0; r < R; ++r) {
      unit[r] = store_codes<Arch>(words[r], weight[r], order.count);
      words[r][order.count] = 0;
    }
    for (; d + chunks * 2 * width <= head_dim; d += chunks * 2 * width)
      stream_word_tile<Arch, R, chunks>(query, words, unit, keep, value, head_dim, order, first, d, simd::whole{});
    for (; d + 2 * width <= head_dim; d += 2 * width)
      stream_word_tile<Arch, R, 1>(query, words, unit, keep, value, head_dim, order, first, d, simd::whole{});
    if (d < head_dim)
      stream_word_tile<Arch, R, 1>(query, words, unit, keep, value, head_dim, order, first, d, head_dim - d);
  } else {
    constexpr int batches = R == 1 || (wide && R < 4) ? 8 : 4;
    for (; d + batches * width <= head_dim; d += batches * width)
      stream_value_tile<Arch, R, batches>(query, weight, keep, value, head_dim, order, first, d, simd::whole{});
    simd::strips<Arch>(head_dim - d, [&](std::int64_t rest, auto lanes) {
      stream_value_tile<Arch, R, 1>(query, weight, keep, value, head_dim, order, first, d + rest, lanes);
    });
  }
}

/// One block of keys and values, for R query heads.
template <class Arch, int R, class T>
void stream_one_block(stream_query* query, kv_view<T> keys, kv_view<T> values, std::int64_t head, std::int64_t j0,
                      std::int64_t count, bool first, float scale) {
  alignas(64) stream_scores score[R];
  const stream_order order{count};
  score_block<Arch, R>(score, query, keys.at(head, j0), keys.head_dim, order);
  float key_scales[stream_block], value_scales[stream_block];
  if constexpr (is_kv_code<T>)
    for (std::int64_t i = 0; i < count; i += 4)
      order.four(i, [&](std::int64_t k, std::int64_t j) QWQ_INLINE {
        key_scales[i + k] = keys.scale_at(head, j0)[j];
        value_scales[i + k] = values.scale_at(head, j0)[j];
      });
  float keep[R];
  for (int r = 0; r < R; ++r)
    keep[r] = weigh<Arch>(query[r], score[r], count, scale * query[r].unit, is_kv_code<T> ? key_scales : nullptr,
                          is_kv_code<T> ? value_scales : nullptr);
  stream_values<Arch, R>(query, score, keep, values.at(head, j0), values.head_dim, order, first);
}

/// Query heads of one kv head (at most stream_queries) over the keys [begin, end).
template <class Arch, class T>
void stream(stream_query* query, std::int64_t queries, kv_view<T> keys, kv_view<T> values, std::int64_t head,
            std::int64_t begin, std::int64_t end, float scale) {
  constexpr std::int64_t most = simd::detail::lanes_512<Arch> ? 4 : 2;
  alignas(64) std::int16_t words[as_words<Arch, T> ? stream_queries * most_head_dim : 1];
  if constexpr (as_words<Arch, T>)
    for (std::int64_t r = 0; r < queries; ++r) {
      std::int16_t* const to = words + r * most_head_dim;
      query[r].unit = store_codes<Arch>(to, query[r].q, keys.head_dim);
      std::fill(to + keys.head_dim, to + most_head_dim, std::int16_t{0});
      query[r].words = to;
    }
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
