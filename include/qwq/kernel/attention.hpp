// SPDX-License-Identifier: Apache-2.0
// Grouped-query causal attention over a KV cache.
#pragma once

#include <cmath>

#include "qwq/core/parallel.hpp"
#include "qwq/kernel/operands.hpp"
#include "qwq/kernel/softmax.hpp"

namespace qwq::kernel {

namespace detail {

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
        return xsimd::max(a, xsimd::select(v <= largest, v, batch(-minus_infinity)));
      },
      [](batch a, batch b) { return xsimd::max(a, b); });
  const float step = simd::reduce_max<Arch>(magnitude) / 127.0f;
  *scale = step < -minus_infinity ? step : std::numeric_limits<float>::quiet_NaN();
  if (!(step > 0 && step < -minus_infinity)) return static_cast<void>(std::fill_n(codes, n, std::int8_t{0}));
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

namespace detail {

/// Keys that are scored before their values are added: the only scores that exist at a time are rows x this.
inline constexpr std::int64_t key_block = 64;
/// Query rows of one task, a multiple of the 4 that share each load of a key.
inline constexpr std::int64_t task_queries = 16;

/// One query row of a kv head: where it reads and writes, and how many keys it sees.
struct query {
  const float* q;
  float* y;
  std::int64_t visible;
};

/// Scores of R queries against N keys, over head_dim.
template <class Arch, int R, int N, class T>
void score_tile(float (&score)[R][key_block], const query* rows, const T* key, std::int64_t head_dim, std::int64_t j,
                float scale) {
  simd::batch<Arch> sum[R][N];
  QWQ_UNROLL for (auto& row : sum) QWQ_UNROLL for (auto& s : row) s = simd::batch<Arch>(0.0f);
  simd::strips<Arch>(head_dim, [&](std::int64_t d, auto count) {
    simd::batch<Arch> q[R];
    QWQ_UNROLL for (int r = 0; r < R; ++r) q[r] = simd::load<Arch>(rows[r].q + d, count);
    QWQ_UNROLL for (int n = 0; n < N; ++n) {
      const auto k = simd::load<Arch>(key + n * head_dim + d, count);
      QWQ_UNROLL for (int r = 0; r < R; ++r) sum[r][n] = simd::fma<Arch>(q[r], k, sum[r][n]);
    }
  });
  QWQ_UNROLL for (int r = 0; r < R; ++r) QWQ_UNROLL for (int n = 0; n < N; ++n) score[r][j + n] =
      simd::reduce_add<Arch>(sum[r][n]) * scale;
}

/// y = y * keep + weights . values, for C batches of the head from element d on; starts from 0 where `first`.
template <class Arch, int R, int C, class T, class Count>
void value_tile(const query* rows, const float (*weight)[key_block], const float* keep, const T* value,
                std::int64_t head_dim, std::int64_t keys, bool first, std::int64_t d, Count count) {
  constexpr std::int64_t width = simd::lanes<Arch>;
  simd::batch<Arch> sum[R][C];
  QWQ_UNROLL for (int r = 0; r < R; ++r) QWQ_UNROLL for (int c = 0; c < C; ++c) sum[r][c] =
      first ? simd::batch<Arch>(0.0f) : simd::load<Arch>(rows[r].y + d + c * width, count) * simd::batch<Arch>(keep[r]);
  for (std::int64_t j = 0; j < keys; ++j) {
    simd::batch<Arch> v[C];
    QWQ_UNROLL for (int c = 0; c < C; ++c) v[c] = simd::load<Arch>(value + j * head_dim + d + c * width, count);
    QWQ_UNROLL for (int r = 0; r < R; ++r) {
      const simd::batch<Arch> w(weight[r][j]);
      QWQ_UNROLL for (int c = 0; c < C; ++c) sum[r][c] = simd::fma<Arch>(v[c], w, sum[r][c]);
    }
  }
  QWQ_UNROLL for (int r = 0; r < R; ++r) QWQ_UNROLL for (int c = 0; c < C; ++c)
      simd::store<Arch>(rows[r].y + d + c * width, sum[r][c], count);
}

/// The same for the whole head.
template <class Arch, int R, class T>
void add_values(const query* rows, const float (*weight)[key_block], const float* keep, const T* value,
                std::int64_t head_dim, std::int64_t keys, bool first) {
  constexpr std::int64_t width = simd::lanes<Arch>;
  constexpr int wide = simd::detail::lanes_512<Arch> ? 4 : 2;
  std::int64_t d = 0;
  for (; d + wide * width <= head_dim; d += wide * width)
    value_tile<Arch, R, wide>(rows, weight, keep, value, head_dim, keys, first, d, simd::whole{});
  for (; d + width <= head_dim; d += width)
    value_tile<Arch, R, 1>(rows, weight, keep, value, head_dim, keys, first, d, simd::whole{});
  if (d < head_dim) value_tile<Arch, R, 1>(rows, weight, keep, value, head_dim, keys, first, d, head_dim - d);
}

/// R queries of one kv head, whose `visible` ascends. y holds the running weighted sum, relative to the running
/// maximum.
template <class Arch, int R, class T>
void attend(const query* rows, kv_view<T> keys_of, kv_view<T> values_of, std::int64_t head, float scale) {
  const std::int64_t head_dim = keys_of.head_dim;
  const T *key = keys_of.at(head, 0), *value = values_of.at(head, 0);
  float score[R][key_block], max[R], total[R], keep[R];
  std::fill_n(max, R, minus_infinity);
  std::fill_n(total, R, 0.0f);
  for (std::int64_t j0 = 0; j0 < rows[R - 1].visible; j0 += key_block) {
    const std::int64_t keys = std::min(key_block, rows[R - 1].visible - j0);
    const T* k = key + j0 * head_dim;
    const T* v = value + j0 * head_dim;
    std::int64_t j = 0;
    for (; j + 4 <= keys; j += 4) score_tile<Arch, R, 4>(score, rows, k + j * head_dim, head_dim, j, scale);
    for (; j < keys; ++j) score_tile<Arch, R, 1>(score, rows, k + j * head_dim, head_dim, j, scale);
    const auto scale_scores = [&](const float* by) {
      for (auto& row : score)
        for (std::int64_t i = 0; i < keys; ++i) row[i] *= by[i];
    };
    if constexpr (is_kv_code<T>) scale_scores(keys_of.scale_at(head, j0));
    std::int64_t seen[R];
    for (int r = 0; r < R; ++r) {
      seen[r] = std::clamp<std::int64_t>(rows[r].visible - j0, 0, keys);
      const float new_max = std::max(max[r], row_max<Arch>(score[r], seen[r]));
      const float shift = new_max == minus_infinity ? 0.0f : new_max;
      keep[r] = std::exp(max[r] - shift);
      total[r] = total[r] * keep[r] + exp_shifted<Arch>(score[r], score[r], seen[r], shift);
      max[r] = new_max;
    }
    if constexpr (is_kv_code<T>) scale_scores(values_of.scale_at(head, j0));
    add_values<Arch, R>(rows, score, keep, v, head_dim, seen[0], j0 == 0);
    // Keys that only later rows see are not multiplied by 0 for the others: their values may be NaN.
    constexpr float all = 1.0f;
    for (int r = 1; r < R; ++r)
      if (seen[r] > seen[0]) {
        std::copy(score[r] + seen[0], score[r] + seen[r], score[r]);
        add_values<Arch, 1>(rows + r, score + r, &all, v + seen[0] * head_dim, head_dim, seen[r] - seen[0], false);
      }
  }
  for (int r = 0; r < R; ++r)
    simd::strips<Arch>(head_dim, [&](std::int64_t d, auto count) {
      simd::store<Arch>(rows[r].y + d, simd::load<Arch>(rows[r].y + d, count) / simd::batch<Arch>(total[r]), count);
    });
}

}  // namespace detail

/// y = softmax(q . keys^T * scale) . values, per head; in f32, in one pass over the keys with a running maximum.
/// q and y are [m, heads * head_dim]; query head h reads kv head h / (heads / kv_heads). Row i sees positions
/// 0 .. past + i: keys and values of the m rows must already stand at past .. past + m - 1 (`append_kv`). The result
/// depends neither on the number of threads nor on how the rows are cut into chunks. y must not overlap q. `T` is as
/// in `kv_view`.
template <class Arch = xsimd::default_arch, class T>
void attention(executor& ex, matrix_view<float> y, matrix_view<const float> q, kv_view<T> keys, kv_view<T> values,
               std::int64_t past, float scale) {
  const std::int64_t head_dim = keys.head_dim;
  const std::int64_t group = q.cols / head_dim / keys.kv_heads;
  const std::int64_t rows = group * q.rows;  // per kv head, by position and then by head
  const std::int64_t blocks = (rows + detail::task_queries - 1) / detail::task_queries;
  const std::int64_t work = 2 * q.rows * q.cols * (past + q.rows);
  parallel_for(ex, static_cast<std::size_t>(blocks * keys.kv_heads), work, [&](std::size_t task) {
    const std::int64_t kv_head = static_cast<std::int64_t>(task) / blocks;
    const std::int64_t first = static_cast<std::int64_t>(task) % blocks * detail::task_queries;
    const std::int64_t count = std::min(detail::task_queries, rows - first);
    detail::query query[detail::task_queries];
    for (std::int64_t r = 0; r < count; ++r) {
      const std::int64_t i = (first + r) / group, column = (kv_head * group + (first + r) % group) * head_dim;
      query[r] = {q.row(i) + column, y.row(i) + column, past + i + 1};
    }
    std::int64_t r = 0;
    for (; r + 4 <= count; r += 4) detail::attend<Arch, 4>(query + r, keys, values, kv_head, scale);
    for (; r + 2 <= count; r += 2) detail::attend<Arch, 2>(query + r, keys, values, kv_head, scale);
    if (r < count) detail::attend<Arch, 1>(query + r, keys, values, kv_head, scale);
  });
}

}  // namespace qwq::kernel
