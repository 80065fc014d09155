// SPDX-License-Identifier: Apache-2.0
// Defines `attention`, grouped-query causal attention over a KV cache.
#pragma once

#include "qwq/core/parallel.hpp"
#include "qwq/kernel/append_kv.hpp"
#include "qwq/kernel/attention_decode.hpp"
#include "qwq/kernel/attention_prefill.hpp"

namespace qwq::kernel {

namespace detail {

inline constexpr float log2_e = 1.44269504f;

/// How the keys of one token are divided into parts, to occupy all threads. Depends on the shape only, so that results
/// do not depend on the number of threads. The results of the parts are on the stack until they are combined.
struct key_parts {
  static constexpr std::int64_t capacity = 16384;  ///< Capacity of the stack buffer, in floats.
  /// Minimum number of keys per part, and maximum number of tasks.
  static constexpr std::int64_t least_keys = 512, most_tasks = 64;
  std::int64_t count, keys;  ///< Number of parts, and keys per part.

  key_parts(std::int64_t visible, std::int64_t heads, std::int64_t kv_heads, std::int64_t part_floats) {
    const std::int64_t most = std::min({visible / least_keys, most_tasks / kv_heads, capacity / (heads * part_floats)});
    const std::int64_t blocks = (visible + stream_block - 1) / stream_block, wanted = std::max<std::int64_t>(most, 1);
    keys = (blocks + wanted - 1) / wanted * stream_block;
    count = (visible + keys - 1) / keys;
  }
};

/// Combines the results of parts into y. Each part is `stride` floats: [head_dim] accumulators, the maximum score, and
/// the sum of weights.
template <class Arch>
void join_parts(float* y, const float* part, std::int64_t parts, std::int64_t stride, std::int64_t head_dim) {
  float max = minus_infinity, total = 0;
  for (std::int64_t p = 0; p < parts; ++p) max = std::max(max, part[p * stride + head_dim]);
  std::fill_n(y, head_dim, 0.0f);
  for (std::int64_t p = 0; p < parts; ++p) {
    const float* sums = part + p * stride;
    const float keep = std::exp2(sums[head_dim] - (max == minus_infinity ? 0.0f : max));
    total += keep * sums[head_dim + 1];
    simd::strips<Arch>(head_dim, [&](std::int64_t d, auto lanes) {
      simd::store<Arch>(
          y + d,
          simd::fma<Arch>(simd::load<Arch>(sums + d, lanes), simd::batch<Arch>(keep), simd::load<Arch>(y + d, lanes)),
          lanes);
    });
  }
  scale_row<Arch>(y, y, head_dim, 1.0f / total);
}

/// Attention of one token.
template <class Arch, class T>
void attend_token(executor& ex, float* y, const float* q, std::int64_t heads, kv_view<T> keys, kv_view<T> values,
                  std::int64_t visible, float scale) {
  const std::int64_t head_dim = keys.head_dim, group = heads / keys.kv_heads, part_floats = head_dim + 16;
  const key_parts parts(visible, heads, keys.kv_heads, part_floats);
  alignas(64) float sums[key_parts::capacity];
  parallel_for(ex, static_cast<std::size_t>(parts.count * keys.kv_heads), 2 * heads * head_dim * visible,
               [&](std::size_t task) {
                 const std::int64_t kv_head = static_cast<std::int64_t>(task) / parts.count;
                 const std::int64_t part = static_cast<std::int64_t>(task) % parts.count;
                 for (std::int64_t first = 0; first < group; first += stream_queries) {
                   const std::int64_t count = std::min(stream_queries, group - first), head = kv_head * group + first;
                   float* const in_parts = sums + (part * heads + head) * part_floats;
                   stream_query<Arch> query[stream_queries];
                   for (std::int64_t r = 0; r < count; ++r)
                     query[r] = {q + (head + r) * head_dim,
                                 parts.count > 1 ? in_parts + r * part_floats : y + (head + r) * head_dim};
                   stream<Arch>(query, count, keys, values, kv_head, part * parts.keys,
                                std::min(visible, (part + 1) * parts.keys), scale * log2_e);
                   for (std::int64_t r = 0; r < count; ++r) {
                     const float total = simd::reduce_add<Arch>(query[r].total);
                     if (parts.count > 1) {
                       query[r].y[head_dim] = query[r].max;
                       query[r].y[head_dim + 1] = total;
                     } else {
                       scale_row<Arch>(query[r].y, query[r].y, head_dim, 1.0f / total);
                     }
                   }
                 }
               });
  if (parts.count > 1)
    for (std::int64_t head = 0; head < heads; ++head)
      join_parts<Arch>(y + head * head_dim, sums + head * part_floats, parts.count, heads * part_floats, head_dim);
}

/// Attention of several tokens; the first attends to `past` + 1 positions.
template <class Arch, class T>
void attend_tokens(executor& ex, matrix_view<float> y, matrix_view<const float> q, kv_view<T> keys, kv_view<T> values,
                   std::int64_t past, float scale) {
  using tile = attention_tile<Arch>;
  const std::int64_t head_dim = keys.head_dim, group = q.cols / head_dim / keys.kv_heads;
  const std::int64_t rows = group * q.rows;  // per kv head, ordered by position, then by head
  const std::int64_t most = tile::queries(head_dim), tiles = (rows + most - 1) / most;
  const std::int64_t work = q.rows * q.cols * (2 * past + q.rows);
  parallel_for(ex, static_cast<std::size_t>(tiles * keys.kv_heads), work, [&](std::size_t task) {
    // The last tokens attend to the most keys: they are first, so that all threads finish at about the same time.
    const std::int64_t kv_head = static_cast<std::int64_t>(task) / tiles;
    const std::int64_t first = (tiles - 1 - static_cast<std::int64_t>(task) % tiles) * most;
    const std::int64_t count = std::min(most, rows - first);
    tile_query query[tile::most_queries];
    for (std::int64_t r = 0; r < count; ++r) {
      const std::int64_t i = (first + r) / group, column = (kv_head * group + (first + r) % group) * head_dim;
      query[r] = {q.row(i) + column, y.row(i) + column, past + i + 1};
    }
    tile(query, count, head_dim, scale * log2_e).run(keys, values, kv_head);
  });
}

}  // namespace detail

/// y = softmax(q . keys^T * scale) . values for each head, in f32, in one pass over the keys with a running maximum
/// (online softmax). q and y are [m, heads * head_dim]; query head h uses kv head h / (heads / kv_heads). Row i attends
/// to positions 0 .. past + i: keys and values of the m rows must already be at past .. past + m - 1 (`append_kv`). The
/// result does not depend on the number of threads, nor on how rows are divided into chunks of more than one. A single
/// row is accumulated in another order, and if int8 codes are multiplied as integers, its queries and weights are
/// rounded to 16 bits. y must not overlap q. `T` is as in `kv_view`; head_dim is at most 512.
template <class Arch = xsimd::default_arch, class T>
void attention(executor& ex, matrix_view<float> y, matrix_view<const float> q, kv_view<T> keys, kv_view<T> values,
               std::int64_t past, float scale) {
  if (q.rows == 1)
    detail::attend_token<Arch>(ex, y.row(0), q.row(0), q.cols / keys.head_dim, keys, values, past + 1, scale);
  else
    detail::attend_tokens<Arch>(ex, y, q, keys, values, past, scale);
}

}  // namespace qwq::kernel
