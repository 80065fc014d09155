// SPDX-License-Identifier: Apache-2.0
// Defines attention of one token (decode): keys and values are read once for all query heads that share them.
#pragma once

#include <cmath>
#include <cstring>

#include "qwq/kernel/append_kv.hpp"
#include "qwq/kernel/simd_dot_int16.hpp"
#include "qwq/kernel/simd_exp.hpp"
#include "qwq/kernel/simd_int8.hpp"
#include "qwq/kernel/simd_reduce.hpp"
#include "qwq/kernel/simd_stream.hpp"
#include "qwq/kernel/softmax.hpp"

namespace qwq::kernel::detail {

/// Keys per block: scored together before their values are accumulated.
inline constexpr std::int64_t stream_block = 128;
/// Maximum number of query heads per pass over the keys.
inline constexpr std::int64_t stream_queries = 16;
/// Maximum head_dim of all attention kernels: the working set of a thread is on its stack.
inline constexpr std::int64_t most_head_dim = 512;

/// State of one query head (online softmax): the query, the weighted sum of values so far, relative to the maximum
/// score so far, and the sum of weights, per lane. Scores are in units of log2.
template <class Arch>
struct stream_query {
  /// The query.
  const float* q;
  /// Weighted sum of values.
  float* y;
  /// Maximum score.
  float max = minus_infinity;
  /// Sum of weights, per lane.
  simd::batch<Arch> total = simd::batch<Arch>(0.0f);
  const std::int16_t* words = nullptr;  ///< q / unit, if codes are multiplied as integers.
  /// Scale of `words`.
  float unit = 1;
};

/// True if codes are multiplied as integers. Queries and weights are then 16-bit integers: their quantization step, 1 /
/// 32767 of the maximum, is 1/258 of that of the codes.
template <class Arch, class T>
inline constexpr bool as_words = is_kv_code<T>&& simd::has_word_products<Arch>;

/// Scores of one block, later its weights.
using stream_scores = float[stream_block];

/// The order in which keys are read: interleaved from four runs, because prefetchers follow each memory page
/// separately; remaining keys are last.
struct stream_order {
  std::int64_t count, run = count / 4;

  /// The i-th to (i + 3)-th rows in this order, where i is a multiple of 4. After the last row, it is repeated.
  template <class T, class Dim>
  QWQ_INLINE void four(const T* (&rows)[4], const T* first_row, Dim head_dim, std::int64_t i) const {
    if (i < 4 * run) [[likely]] {
      QWQ_UNROLL for (std::int64_t k = 0; k < 4; ++k) rows[k] = first_row + (i / 4 + k * run) * head_dim;
    } else {
      QWQ_UNROLL for (std::int64_t k = 0; k < 4; ++k) rows[k] = first_row + std::min(i + k, count - 1) * head_dim;
    }
  }
};

/// A block: the keys [first, first + count) in this order, where first is a multiple of 4.
struct stream_range {
  stream_order order;
  std::int64_t first, count;
};

/// Calls f(d, count) for the strips of a head; unrolled if its size is a constant.
template <class Arch, std::int64_t Step, class F>
QWQ_INLINE inline void strips_of_head(std::int64_t head_dim, F&& f) {
  std::int64_t d = 0;
  for (; d + Step <= head_dim; d += Step) f(d, simd::whole{});
  if (d < head_dim) f(d, head_dim - d);
}
template <class Arch, std::int64_t Step, std::int64_t N, class F>
QWQ_INLINE inline void strips_of_head(std::integral_constant<std::int64_t, N>, F&& f) {
  static_assert(N % Step == 0);
  QWQ_UNROLL for (std::int64_t d = 0; d < N; d += Step) f(d, simd::whole{});
}

/// sum[r][n] = q[r] . key[n], per lane.
template <class Arch, int R, int N, class T, class Dim>
QWQ_INLINE inline void multiply_keys(simd::batch<Arch> (&sum)[R][N], const stream_query<Arch>* query,
                                     const T* const (&key)[N], Dim head_dim) {
  QWQ_UNROLL for (auto& row : sum) QWQ_UNROLL for (auto& s : row) s = simd::batch<Arch>(0.0f);
  strips_of_head<Arch, simd::lanes<Arch>>(head_dim, [&](std::int64_t d, auto count) QWQ_INLINE {
    simd::batch<Arch> q[R];
    QWQ_UNROLL for (int r = 0; r < R; ++r) q[r] = simd::load<Arch>(query[r].q + d, count);
    QWQ_UNROLL for (int n = 0; n < N; ++n) {
      fetch_ahead(key[n] + d, d);
      const auto k = simd::load<Arch>(key[n] + d, count);
      QWQ_UNROLL for (int r = 0; r < R; ++r) sum[r][n] = simd::fma<Arch>(q[r], k, sum[r][n]);
    }
  });
}

/// As `multiply_keys`, for codes, in units of queries and keys.
template <class Arch, int R, int N, class Dim>
QWQ_INLINE inline void multiply_key_words(simd::int_lanes<Arch> (&sum)[R][N], const stream_query<Arch>* query,
                                          const std::int8_t* const (&key)[N], Dim head_dim) {
  QWQ_UNROLL for (auto& row : sum) QWQ_UNROLL for (auto& s : row) s = simd::int_lanes<Arch>(0);
  strips_of_head<Arch, 2 * simd::lanes<Arch>>(head_dim, [&](std::int64_t d, auto count) QWQ_INLINE {
    simd::word_lanes<Arch> q[R];
    QWQ_UNROLL for (int r = 0; r < R; ++r) q[r] = simd::word_lanes<Arch>::load_unaligned(query[r].words + d);
    QWQ_UNROLL for (int n = 0; n < N; ++n) {
      fetch_ahead(key[n] + d, d);
      const auto k = simd::load_wide<Arch>(key[n] + d, count);
      QWQ_UNROLL for (int r = 0; r < R; ++r) sum[r][n] = simd::add_products<Arch>(sum[r][n], q[r], k);
    }
  });
}

/// score[r][i] = q[r] . key[i] * scale for the keys of a block, times the key's own scale if there is one, for i up to
/// the next multiple of the lanes; after the last key, it is repeated. Updates greatest[r].
template <class Arch, int R, class T, class Dim>
void score_block(stream_scores* score, simd::batch<Arch> (&greatest)[R], const stream_query<Arch>* query, const T* key,
                 Dim head_dim, stream_range range, float scale, const float* key_scales) {
  constexpr std::int64_t width = simd::lanes<Arch>;
  constexpr int at_once = R < 3 && simd::detail::lanes_512<Arch> ? 8 : 4;
  for (std::int64_t i = 0; i < range.count; i += width) {
    simd::batch<Arch> quads[R][width / 4];
    QWQ_UNROLL for (int n = 0; n < width; n += at_once) {
      std::conditional_t<as_words<Arch, T>, simd::int_lanes<Arch>, simd::batch<Arch>> sum[R][at_once];
      const T* keys[at_once];
      QWQ_UNROLL for (int m = 0; m < at_once; m += 4) {
        const T* rows[4];
        range.order.four(rows, key, head_dim, range.first + i + n + m);
        QWQ_UNROLL for (int k = 0; k < 4; ++k) keys[m + k] = rows[k];
      }
      if constexpr (as_words<Arch, T>)
        multiply_key_words<Arch, R>(sum, query, keys, head_dim);
      else
        multiply_keys<Arch, R>(sum, query, keys, head_dim);
      QWQ_UNROLL for (int r = 0; r < R; ++r) QWQ_UNROLL for (int m = 0; m < at_once; m += 4) quads[r][(n + m) / 4] =
          simd::add_quads<Arch>(sum[r][m], sum[r][m + 1], sum[r][m + 2], sum[r][m + 3]);
    }
    QWQ_UNROLL for (int r = 0; r < R; ++r) {
      simd::batch<Arch> s = simd::add_parts<Arch>(quads[r]) * simd::batch<Arch>(scale * query[r].unit);
      if constexpr (is_kv_code<T>) s *= simd::load<Arch>(key_scales + i);
      simd::store<Arch>(score[r] + i, s);
      greatest[r] = simd::at_least<Arch>(s, greatest[r]);
    }
  }
}

/// Converts scores of a block to weights, multiplied by the scales of their values, if any. keep[r]: factor for the
/// earlier accumulators of a query.
template <class Arch, int R>
void weigh(stream_query<Arch>* query, simd::batch<Arch> (&keep)[R], stream_scores* score,
           const simd::batch<Arch> (&greatest)[R], std::int64_t count, const float* value_scales) {
  using batch = simd::batch<Arch>;
  batch shift[R], total[R];
  QWQ_UNROLL for (int r = 0; r < R; ++r) {
    const float max = simd::reduce_max<Arch>(greatest[r]);
    shift[r] = batch(max == minus_infinity ? 0.0f : max);
    keep[r] = simd::exp2_not_positive<Arch>(batch(query[r].max) - shift[r]);
    query[r].max = max;
    total[r] = query[r].total * keep[r];
  }
  simd::strips<Arch>(count, [&](std::int64_t i, auto lanes) QWQ_INLINE {
    QWQ_UNROLL for (int r = 0; r < R; ++r) {
      batch w = simd::exp2_not_positive<Arch>(simd::load_or<Arch>(score[r] + i, lanes, minus_infinity) - shift[r]);
      total[r] += w;
      if (value_scales != nullptr) w *= simd::load<Arch>(value_scales + i, lanes);
      simd::store<Arch>(score[r] + i, w, lanes);
    }
  });
  QWQ_UNROLL for (int r = 0; r < R; ++r) query[r].total = total[r];
}

/// y = y * keep + weights . values for C batches of the head from element d on; y starts from 0 if `first`.
template <class Arch, int R, int C, class T, class Dim, class Count>
void stream_value_tile(const stream_query<Arch>* query, const stream_scores* weight, const simd::batch<Arch>* keep,
                       const T* value, Dim head_dim, stream_range range, bool first, std::int64_t d, Count count) {
  constexpr std::int64_t width = simd::lanes<Arch>;
  simd::batch<Arch> sum[R][C];
  QWQ_UNROLL for (int r = 0; r < R; ++r) QWQ_UNROLL for (int c = 0; c < C; ++c) sum[r][c] =
      first ? simd::batch<Arch>(0.0f) : simd::load<Arch>(query[r].y + d + c * width, count) * keep[r];
  const auto add = [&](std::int64_t i, const T* row) QWQ_INLINE {
    QWQ_UNROLL for (int c = 0; c < C; ++c) {
      fetch_ahead(row + c * width, c * width);
      const auto v = simd::load<Arch>(row + c * width, count);
      QWQ_UNROLL for (int r = 0; r < R; ++r) sum[r][c] = simd::fma<Arch>(v, simd::batch<Arch>(weight[r][i]), sum[r][c]);
    }
  };
  const T* rows[4];
  std::int64_t i = 0;
  for (; i + 4 <= range.count; i += 4) {
    range.order.four(rows, value, head_dim, range.first + i);
    QWQ_UNROLL for (std::int64_t k = 0; k < 4; ++k) add(i + k, rows[k] + d);
  }
  for (; i < range.count; ++i) add(i, value + (range.first + i) * head_dim + d);
  QWQ_UNROLL for (int r = 0; r < R; ++r) QWQ_UNROLL for (int c = 0; c < C; ++c)
      simd::store<Arch>(query[r].y + d + c * width, sum[r][c], count);
}

/// Weights of a block as 16-bit integers in units of `unit`: high and low bytes, 0 after the last.
struct stream_codes {
  std::uint8_t high[stream_block], low[stream_block];
  float unit;

  template <class Arch>
  static stream_codes of(const float* weight, std::int64_t count) {
    using batch = simd::batch<Arch>;
    constexpr float greatest = 65535;
    const batch largest(std::numeric_limits<float>::max());
    batch magnitude(0.0f);
    simd::strips<Arch>(count, [&](std::int64_t i, auto lanes) QWQ_INLINE {
      const batch w = xsimd::abs(simd::load<Arch>(weight + i, lanes));
      magnitude = xsimd::max(magnitude, xsimd::select(w <= largest, w, batch(infinity)));
    });
    const float most = simd::reduce_max<Arch>(magnitude);
    stream_codes result;
    // Smaller weights are negligible relative to a weight of 1.
    const bool some = most > 0x1p-100f && most < infinity;
    result.unit = most < infinity ? most / greatest : std::numeric_limits<float>::quiet_NaN();
    const batch factor(some ? greatest / most : 0.0f);
    alignas(64) std::uint16_t code[stream_block] = {};
    if (some)
      simd::strips<Arch>(count, [&](std::int64_t i, auto lanes) QWQ_INLINE {
        simd::store<Arch>(code + i, xsimd::nearbyint_as_int(simd::load<Arch>(weight + i, lanes) * factor), lanes);
      });
    for (std::int64_t i = 0; i < stream_block; ++i) {
      result.high[i] = static_cast<std::uint8_t>(code[i] >> 8);
      result.low[i] = static_cast<std::uint8_t>(code[i]);
    }
    return result;
  }
};

/// y = y * keep + weights . values for codes, for four batches of the head from element d on.
template <class Arch, int R, class Dim, class Count>
void stream_code_tile(const stream_query<Arch>* query, const stream_codes* weight, const simd::batch<Arch>* keep,
                      const std::int8_t* value, Dim head_dim, stream_range range, bool first, std::int64_t d,
                      Count count) {
  constexpr std::int64_t width = simd::lanes<Arch>;
  simd::ints<Arch> high[R][4], low[R][4];
  QWQ_UNROLL for (int r = 0; r < R; ++r) QWQ_UNROLL for (int c = 0; c < 4; ++c) high[r][c] = low[r][c] =
      simd::ints<Arch>(0);
  for (std::int64_t i = 0; i < range.count; i += 4) {
    simd::words<Arch> row[4];
    const std::int8_t* rows[4];
    range.order.four(rows, value, head_dim, range.first + i);
    QWQ_UNROLL for (int k = 0; k < 4; ++k) {
      fetch_ahead(rows[k] + d, 0);
      row[k] = simd::load_codes<Arch>(rows[k] + d, count);
    }
    simd::by_turns<Arch>(row);
    const auto four = [&](const std::uint8_t* at) QWQ_INLINE {
      std::uint32_t bytes;
      std::memcpy(&bytes, at + i, sizeof bytes);
      return simd::words<Arch>(bytes);
    };
    QWQ_UNROLL for (int r = 0; r < R; ++r) {
      const auto upper = four(weight[r].high), lower = four(weight[r].low);
      QWQ_UNROLL for (int c = 0; c < 4; ++c) {
        high[r][c] = simd::add_dot<Arch>(high[r][c], upper, row[c]);
        low[r][c] = simd::add_dot<Arch>(low[r][c], lower, row[c]);
      }
    }
  }
  QWQ_UNROLL for (int r = 0; r < R; ++r) {
    simd::ints<Arch> sum[4];
    QWQ_UNROLL for (int c = 0; c < 4; ++c) sum[c] = (high[r][c] << 8) + low[r][c];
    simd::in_order<Arch>(sum);
    const simd::batch<Arch> unit(weight[r].unit);
    const auto put = [&](float* y, int c, auto lanes) QWQ_INLINE {
      const auto before = first ? simd::batch<Arch>(0.0f) : simd::load<Arch>(y, lanes) * keep[r];
      simd::store<Arch>(y, simd::fma<Arch>(xsimd::to_float(sum[c]), unit, before), lanes);
    };
    QWQ_UNROLL for (int c = 0; c < 4; ++c) {
      float* const y = query[r].y + d + c * width;
      if constexpr (std::is_same_v<Count, simd::whole>) {
        put(y, c, count);
      } else {
        const std::int64_t rest = count - c * width;
        if (rest >= width)
          put(y, c, simd::whole{});
        else if (rest > 0)
          put(y, c, rest);
      }
    }
  }
}

/// Accumulates the weighted values of a block.
template <class Arch, int R, class T, class Dim>
void stream_values(const stream_query<Arch>* query, const stream_scores* weight, const simd::batch<Arch>* keep,
                   const T* value, Dim head_dim, stream_range range, bool first) {
  constexpr std::int64_t width = simd::lanes<Arch>;
  constexpr bool wide = simd::detail::lanes_512<Arch>;
  std::int64_t d = 0;
  if constexpr (as_words<Arch, T>) {
    // Two queries at a time: accumulators of more would exceed the registers.
    QWQ_UNROLL for (int r = 0; r < R; r += 2) {
      const auto add = [&]<int N>(std::integral_constant<int, N>) QWQ_INLINE {
        stream_codes codes[N];
        for (int n = 0; n < N; ++n) codes[n] = stream_codes::of<Arch>(weight[r + n], range.count);
        for (d = 0; d + 4 * width <= head_dim; d += 4 * width)
          stream_code_tile<Arch, N>(query + r, codes, keep + r, value, head_dim, range, first, d, simd::whole{});
        if (d < head_dim)
          stream_code_tile<Arch, N>(query + r, codes, keep + r, value, head_dim, range, first, d, head_dim - d);
      };
      if (r + 1 < R)
        add(std::integral_constant<int, 2>{});
      else
        add(std::integral_constant<int, 1>{});
    }
  } else {
    constexpr int batches = R == 1 || (wide && R < 4) ? 8 : 4;
    for (; d + batches * width <= head_dim; d += batches * width)
      stream_value_tile<Arch, R, batches>(query, weight, keep, value, head_dim, range, first, d, simd::whole{});
    simd::strips<Arch>(head_dim - d, [&](std::int64_t rest, auto lanes) {
      stream_value_tile<Arch, R, 1>(query, weight, keep, value, head_dim, range, first, d + rest, lanes);
    });
  }
}

/// Processes one block of keys and values for R query heads.
template <class Arch, int R, class T, class Dim>
void stream_one_block(stream_query<Arch>* query, kv_view<T> keys, kv_view<T> values, Dim head_dim, std::int64_t head,
                      std::int64_t begin, stream_range range, float scale) {
  alignas(64) stream_scores score[R];
  alignas(64) float key_scales[stream_block], value_scales[stream_block];
  const auto in_order = [&](float* to, const float* scales) {
    constexpr std::int64_t width = simd::lanes<Arch>;
    const stream_order& order = range.order;
    for (std::int64_t i = 0; i < range.count; i += width) {
      const std::int64_t first = range.first + i;
      if (first + width <= 4 * order.run)
        simd::store<Arch>(to + i, simd::load_by_turns<Arch>(scales + first / 4, order.run));
      else
        for (std::int64_t k = 0; k < width; k += 4) {
          const float* of[4];
          order.four(of, scales, std::integral_constant<std::int64_t, 1>{}, first + k);
          for (std::int64_t n = 0; n < 4; ++n) to[i + k + n] = *of[n];
        }
    }
    return to;
  };
  const float *of_keys = nullptr, *of_values = nullptr;
  if constexpr (is_kv_code<T>) {
    of_keys = in_order(key_scales, keys.scale_at(head, begin));
    of_values = in_order(value_scales, values.scale_at(head, begin));
  }
  simd::batch<Arch> greatest[R], keep[R];
  QWQ_UNROLL for (int r = 0; r < R; ++r) greatest[r] = simd::batch<Arch>(query[r].max);
  score_block<Arch, R>(score, greatest, query, keys.at(head, begin), head_dim, range, scale, of_keys);
  weigh<Arch, R>(query, keep, score, greatest, range.count, of_values);
  stream_values<Arch, R>(query, score, keep, values.at(head, begin), head_dim, range, range.first == 0);
}

/// Processes the query heads of one kv head (at most stream_queries) for the keys [begin, end).
template <class Arch, class T>
void stream(stream_query<Arch>* query, std::int64_t queries, kv_view<T> keys, kv_view<T> values, std::int64_t head,
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
  for (std::int64_t first = 0; first < end - begin; first += stream_block) {
    const stream_range range{{end - begin}, first, std::min(stream_block, end - begin - first)};
    const auto run = [&]<int R>(std::integral_constant<int, R>, std::int64_t r) {
      // A constant size takes fewer instructions; all Qwen3 models have heads of 128.
      if (keys.head_dim == 128)
        stream_one_block<Arch, R>(query + r, keys, values, std::integral_constant<std::int64_t, 128>{}, head, begin,
                                  range, scale);
      else
        stream_one_block<Arch, R>(query + r, keys, values, keys.head_dim, head, begin, range, scale);
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
