// SPDX-License-Identifier: Apache-2.0
// Defines attention of several tokens (prefill): tiles of queries against blocks of keys.
#pragma once

#include "qwq/kernel/attention_decode.hpp"
#include "qwq/kernel/simd_exp.hpp"
#include "qwq/kernel/simd_reduce.hpp"
#include "qwq/kernel/softmax.hpp"

namespace qwq::kernel::detail {

/// One query head of one token.
struct tile_query {
  const float* q;        ///< The query.
  float* y;              ///< Its result.
  std::int64_t visible;  ///< Number of keys that it attends to.
};

/// A tile holds one query per lane while scores and weights are computed: keys are read element by element, as stored
/// in the cache, maxima and sums of all queries are computed side by side, and no reduction across lanes is needed.
/// Each query is computed in the same order in every tile. The weights, then ordered by key, multiply rows of values.
template <class Arch>
class attention_tile {
 public:
  static constexpr std::int64_t width = simd::lanes<Arch>;
  /// Maximum size of a tile, in batches: this many share each key that is read.
  static constexpr std::int64_t most_groups = 3;
  static constexpr std::int64_t most_queries = most_groups * width;
  /// Size in floats of a buffer that stays in L1.
  static constexpr std::int64_t buffer_floats = 8192;
  static_assert(most_head_dim * width <= buffer_floats);

  /// Number of queries per tile, for heads of `head_dim` elements.
  static std::int64_t queries(std::int64_t head_dim) {
    return width * std::min(most_groups, buffer_floats / (width * head_dim));
  }

  /// `rows` must be sorted by `visible`.
  attention_tile(const tile_query* rows, std::int64_t count, std::int64_t head_dim, float scale)
      : rows_(rows), count_(count), head_dim_(head_dim), groups_((count + width - 1) / width) {
    for (std::int64_t g = 0; g < groups_; ++g) {
      const float* from[width];
      for (std::int64_t r = 0; r < width; ++r) from[r] = row(g * width + r).q;
      simd::store_transposed<Arch>(q_ + g * width, groups_ * width, from, head_dim, scale);
    }
    std::fill_n(max_, groups_ * width, minus_infinity);
    std::fill_n(total_, groups_ * width, 0.0f);
  }

  template <class T>
  void run(kv_view<T> keys, kv_view<T> values, std::int64_t head) {
    const std::int64_t block = std::min(most_block, buffer_floats / head_dim_);
    const std::int64_t visible = row(count_ - 1).visible;
    for (std::int64_t j0 = 0; j0 < visible; j0 += block) {
      const std::int64_t n = std::min(block, visible - j0);
      score(as_floats(keys, head, j0, n), j0, n);
      for (std::int64_t g = 0; g < groups_; ++g) weigh(g, j0, n);
      add_values(as_floats(values, head, j0, n), j0, n);
    }
    for (std::int64_t r = 0; r < count_; ++r)
      scale_row<Arch>(rows_[r].y, sum_ + r * head_dim_, head_dim_, 1.0f / total_[r]);
  }

 private:
  using batch = simd::batch<Arch>;
  static constexpr bool wide = simd::detail::lanes_512<Arch>;
  static constexpr std::int64_t most_block = 64;
  static constexpr int key_tile = wide ? 8 : 4;
  static constexpr int row_tile = 6, batch_tile = wide ? 4 : 2;

  /// Unused lanes repeat the last query.
  const tile_query& row(std::int64_t r) const { return rows_[std::min(r, count_ - 1)]; }
  /// Number of the keys [j0, j0 + n) that query r attends to.
  std::int64_t seen(std::int64_t r, std::int64_t j0, std::int64_t n) const {
    return std::clamp<std::int64_t>(row(r).visible - j0, 0, n);
  }

  /// Positions [j0, j0 + n) of a head of the cache, [n, head_dim].
  template <class T>
  const float* as_floats(kv_view<T> cache, std::int64_t head, std::int64_t j0, std::int64_t n) {
    const T* in = cache.at(head, j0);
    if constexpr (std::is_same_v<std::remove_const_t<T>, float>) {
      return in;
    } else if constexpr (is_kv_code<T>) {
      for (std::int64_t j = 0; j < n; ++j) {
        const batch scale(cache.scale_at(head, j0)[j]);
        simd::strips<Arch>(head_dim_, [&](std::int64_t d, auto lanes) {
          const std::int64_t at = j * head_dim_ + d;
          simd::store<Arch>(block_ + at, simd::load<Arch>(in + at, lanes) * scale, lanes);
        });
      }
      return block_;
    } else {
      simd::strips<Arch>(n * head_dim_, [&](std::int64_t i, auto lanes) {
        simd::store<Arch>(block_ + i, simd::load<Arch>(in + i, lanes), lanes);
      });
      return block_;
    }
  }

  /// Computes scores of N keys, from key j of the block on, for G groups of lanes.
  template <int N, int G>
  void score_tile(const float* key, std::int64_t j, std::int64_t group) {
    const std::int64_t panel = groups_ * width;
    const float* q = q_ + group * width;
    const float* k[N];
    QWQ_UNROLL for (int n = 0; n < N; ++n) k[n] = key + (j + n) * head_dim_;
    batch sum[N][G];
    QWQ_UNROLL for (auto& s : sum) QWQ_UNROLL for (auto& x : s) x = batch(0.0f);
    for (std::int64_t d = 0; d < head_dim_; ++d, q += panel) {
      batch lane[G];
      QWQ_UNROLL for (int g = 0; g < G; ++g) lane[g] = simd::load<Arch>(q + g * width);
      QWQ_UNROLL for (int n = 0; n < N; ++n) {
        const batch element(k[n][d]);
        QWQ_UNROLL for (int g = 0; g < G; ++g) sum[n][g] = simd::fma<Arch>(lane[g], element, sum[n][g]);
      }
    }
    float* out = weight_ + j * panel + group * width;
    QWQ_UNROLL for (int n = 0; n < N; ++n) QWQ_UNROLL for (int g = 0; g < G; ++g)
        simd::store<Arch>(out + n * panel + g * width, sum[n][g]);
  }

  template <int G>
  void score_keys(const float* key, std::int64_t begin, std::int64_t end, std::int64_t group) {
    std::int64_t j = begin;
    for (; j + key_tile <= end; j += key_tile) score_tile<key_tile, G>(key, j, group);
    for (; j + 2 <= end; j += 2) score_tile<2, G>(key, j, group);
    if (j < end) score_tile<1, G>(key, j, group);
  }

  /// Later groups attend to all keys that earlier ones attend to: each key is scored for the groups with a query that
  /// attends to it.
  void score(const float* key, std::int64_t j0, std::int64_t n) {
    std::int64_t begin = 0;
    for (std::int64_t g = 0; g < groups_; ++g) {
      const std::int64_t own = seen(g * width + width - 1, j0, n);
      const std::int64_t end = std::min(n, (own + key_tile - 1) / key_tile * key_tile);
      if (groups_ - g == 3) score_keys<3>(key, begin, end, g);
      if (groups_ - g == 2) score_keys<2>(key, begin, end, g);
      if (groups_ - g == 1) score_keys<1>(key, begin, end, g);
      begin = end;
    }
  }

  /// Converts the scores of one group of lanes to weights, in place.
  void weigh(std::int64_t group, std::int64_t j0, std::int64_t n) {
    const std::int64_t panel = groups_ * width, first = group * width;
    const std::int64_t common = seen(first, j0, n), end = seen(first + width - 1, j0, n);
    float* const column = weight_ + first;
    if (common < end) {
      float own[width];
      for (std::int64_t r = 0; r < width; ++r) own[r] = static_cast<float>(seen(first + r, j0, n));
      const batch limit = simd::load<Arch>(own);
      for (std::int64_t j = common; j < end; ++j) {
        const batch s = simd::load<Arch>(column + j * panel);
        simd::store<Arch>(column + j * panel,
                          xsimd::select(limit > batch(static_cast<float>(j)), s, batch(minus_infinity)));
      }
    }
    // Two accumulators, to overlap latencies.
    const batch before = simd::load<Arch>(max_ + first);
    batch max = before, max2 = before;
    std::int64_t j = 0;
    for (; j + 2 <= end; j += 2) {
      max = simd::at_least<Arch>(simd::load<Arch>(column + j * panel), max);
      max2 = simd::at_least<Arch>(simd::load<Arch>(column + (j + 1) * panel), max2);
    }
    if (j < end) max = simd::at_least<Arch>(simd::load<Arch>(column + j * panel), max);
    max = simd::at_least<Arch>(max2, max);
    const batch shift = xsimd::select(max == batch(minus_infinity), batch(0.0f), max);
    batch total(0.0f), total2(0.0f);
    const auto weight = [&](std::int64_t at) {
      const batch w = simd::exp2_not_positive<Arch>(simd::load<Arch>(column + at * panel) - shift);
      simd::store<Arch>(column + at * panel, w);
      return w;
    };
    for (j = 0; j + 2 <= end; j += 2) {
      total += weight(j);
      total2 += weight(j + 1);
    }
    if (j < end) total += weight(j);
    const batch keep = simd::exp2_not_positive<Arch>(before - shift);
    simd::store<Arch>(keep_ + first, keep);
    simd::store<Arch>(max_ + first, max);
    simd::store<Arch>(total_ + first, simd::fma<Arch>(simd::load<Arch>(total_ + first), keep, total + total2));
  }

  /// sum = sum * keep + weights . values, for R queries and C batches of the head from element d on; starts from 0 at
  /// the first block.
  template <int R, int C, class Lanes>
  void value_tile(const float* value, std::int64_t r0, std::int64_t j0, std::int64_t n, std::int64_t d, Lanes lanes) {
    const std::int64_t panel = groups_ * width;
    std::int64_t own[R];
    QWQ_UNROLL for (int r = 0; r < R; ++r) own[r] = seen(r0 + r, j0, n);
    if (own[R - 1] == 0) return;
    float* const out = sum_ + r0 * head_dim_ + d;
    batch sum[R][C];
    QWQ_UNROLL for (int r = 0; r < R; ++r) QWQ_UNROLL for (int c = 0; c < C; ++c) sum[r][c] =
        j0 == 0 ? batch(0.0f) : simd::load<Arch>(out + r * head_dim_ + c * width, lanes) * batch(keep_[r0 + r]);
    const float *w = weight_ + r0, *v = value + d;
    batch x[C];
    std::int64_t j = 0;
    for (; j < own[0]; ++j, w += panel, v += head_dim_) {
      QWQ_UNROLL for (int c = 0; c < C; ++c) x[c] = simd::load<Arch>(v + c * width, lanes);
      QWQ_UNROLL for (int r = 0; r < R; ++r) {
        const batch by(w[r]);
        QWQ_UNROLL for (int c = 0; c < C; ++c) sum[r][c] = simd::fma<Arch>(x[c], by, sum[r][c]);
      }
    }
    // Keys that only later queries attend to are skipped for the others rather than multiplied by 0: their values can
    // be NaN.
    for (; j < own[R - 1]; ++j, w += panel, v += head_dim_) {
      QWQ_UNROLL for (int c = 0; c < C; ++c) x[c] = simd::load<Arch>(v + c * width, lanes);
      QWQ_UNROLL for (int r = 1; r < R; ++r) if (j < own[r]) QWQ_UNROLL for (int c = 0; c < C; ++c) sum[r][c] =
          simd::fma<Arch>(x[c], batch(w[r]), sum[r][c]);
    }
    QWQ_UNROLL for (int r = 0; r < R; ++r) QWQ_UNROLL for (int c = 0; c < C; ++c)
        simd::store<Arch>(out + r * head_dim_ + c * width, sum[r][c], lanes);
  }

  template <int C, class Lanes>
  void value_columns(const float* value, std::int64_t j0, std::int64_t n, std::int64_t d, Lanes lanes) {
    std::int64_t r = 0;
    for (; r + row_tile <= count_; r += row_tile) value_tile<row_tile, C>(value, r, j0, n, d, lanes);
    for (; r + 2 <= count_; r += 2) value_tile<2, C>(value, r, j0, n, d, lanes);
    if (r < count_) value_tile<1, C>(value, r, j0, n, d, lanes);
  }

  /// Processes for all queries the columns of values that fit in L1 with the weights, then the next columns.
  void add_values(const float* value, std::int64_t j0, std::int64_t n) {
    std::int64_t d = 0;
    for (; d + batch_tile * width <= head_dim_; d += batch_tile * width)
      value_columns<batch_tile>(value, j0, n, d, simd::whole{});
    simd::strips<Arch>(head_dim_ - d,
                       [&](std::int64_t rest, auto lanes) { value_columns<1>(value, j0, n, d + rest, lanes); });
  }

  const tile_query* rows_;
  std::int64_t count_, head_dim_, groups_;
  alignas(64) float q_[buffer_floats];                   // [head_dim, groups * width]
  alignas(64) float weight_[most_block * most_queries];  // [keys, groups * width]: scores, then weights
  alignas(64) float sum_[buffer_floats];                 // [queries, head_dim]: weights . values so far
  alignas(64) float block_[buffer_floats];               // keys or values of a block as floats
  alignas(64) float max_[most_queries], total_[most_queries], keep_[most_queries];
};

}  // namespace qwq::kernel::detail
