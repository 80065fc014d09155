// SPDX-License-Identifier: Apache-2.0
// Defines scalar reference kernels for tests and rule proofs: f64 accumulators, constexpr, without xsimd.
#pragma once

#include <cmath>
#include <limits>
#include <type_traits>

#include "qwq/kernel/views.hpp"

namespace qwq::kernel::reference {

namespace detail {

constexpr double square_root(double x) {
  if (!std::is_constant_evaluated()) return std::sqrt(x);
  if (!(x > 0) || x == std::numeric_limits<double>::infinity())
    return x < 0 ? std::numeric_limits<double>::quiet_NaN() : x;
  double root = x > 1 ? x : 1;  // from above, Newton's iteration decreases until it is exact to an ulp
  for (double next = (root + x / root) / 2; next < root; next = (root + x / root) / 2) root = next;
  return root;
}

constexpr double exponential(double x) {
  if (!std::is_constant_evaluated()) return std::exp(x);
  if (x != x) return x;
  if (x > 709) return std::numeric_limits<double>::infinity();
  if (x < -745) return 0;
  const double halves = x / 0.693147180559945309417;
  const auto power = static_cast<int>(halves < 0 ? halves - 0.5 : halves + 0.5);
  const double rest = x - power * 0.693147180559945309417;
  double sum = 1, term = 1;
  for (int i = 1; i < 24; ++i) sum += term *= rest / i;
  for (int i = 0; i < power; ++i) sum *= 2;
  for (int i = 0; i > power; --i) sum /= 2;
  return sum;
}

/// Rounds to the nearest integer, half to even.
constexpr float round_half_even(float x) {
  const float magnitude = x < 0 ? -x : x;
  if (!(magnitude < 0x1p23f)) return x;  // already an integer, or NaN
  const float rounded = (magnitude + 0x1p23f) - 0x1p23f;
  return x < 0 ? -rounded : rounded;
}

template <class T>
constexpr float element(const matrix_view<T>& w, std::int64_t i, std::int64_t j) {
  return static_cast<float>(w(i, j));
}
constexpr float element(const int8_weight& w, std::int64_t i, std::int64_t j) {
  return static_cast<float>(w.codes[i * w.cols + j]) * w.scale(i);
}
template <int Bits>
constexpr float element(const block_weight<Bits>& w, std::int64_t i, std::int64_t j) {
  const std::int64_t at = i * w.row_blocks() * w.block + j;
  const int code = Bits == 4 ? w.codes[at / 2] >> (at % 2 * 4) & 15 : w.codes[at];
  return static_cast<float>(code - (1 << (Bits - 1))) *
         w.scales[static_cast<std::size_t>(i * w.row_blocks() + j / w.block)];
}

constexpr double sum_of_squares(std::span<const float> x) {
  double sum = 0;
  for (float v : x) sum += static_cast<double>(v) * v;
  return sum;
}

constexpr affine parameters(const channel_affine& p, std::int64_t i, std::int64_t j) {
  return p.channel(p.axis == channel_axis::row ? i : j);
}

}  // namespace detail

/// y = x / sqrt(mean(x^2) + eps) * weight for each row.
constexpr void rms_norm(matrix_view<float> y, matrix_view<const float> x, std::span<const float> weight, float eps) {
  for (std::int64_t i = 0; i < x.rows; ++i) {
    const double mean = detail::sum_of_squares(x.span(i)) / static_cast<double>(x.cols);
    const double root = detail::square_root(mean + static_cast<double>(eps));
    for (std::int64_t j = 0; j < x.cols; ++j)
      y(i, j) = static_cast<float>(x(i, j) / root * weight[static_cast<std::size_t>(j)]);
  }
}

/// y = x / sqrt(sum(x^2)) for each row.
constexpr void lp_norm(matrix_view<float> y, matrix_view<const float> x) {
  for (std::int64_t i = 0; i < x.rows; ++i) {
    const double length = detail::square_root(detail::sum_of_squares(x.span(i)));
    for (std::int64_t j = 0; j < x.cols; ++j) y(i, j) = length == 0 ? 0.0f : static_cast<float>(x(i, j) / length);
  }
}

/// y[m, n] = x[m, k] . w[n, k]^T.
template <class W>
constexpr void linear(matrix_view<float> y, matrix_view<const float> x, const W& w) {
  for (std::int64_t i = 0; i < x.rows; ++i)
    for (std::int64_t j = 0; j < w.rows; ++j) {
      double sum = 0;
      for (std::int64_t k = 0; k < x.cols; ++k) sum += static_cast<double>(x(i, k)) * detail::element(w, j, k);
      y(i, j) = static_cast<float>(sum);
    }
}

/// y[n, m] = w[n, k] . x[k, m].
template <class W>
constexpr void linear_columns(matrix_view<float> y, matrix_view<const float> x, const W& w) {
  for (std::int64_t i = 0; i < x.cols; ++i)
    for (std::int64_t j = 0; j < w.rows; ++j) {
      double sum = 0;
      for (std::int64_t k = 0; k < x.rows; ++k) sum += static_cast<double>(x(k, i)) * detail::element(w, j, k);
      y(j, i) = static_cast<float>(sum);
    }
}

/// y[b] = x[b] . w[b] for `batch` pairs of matrices, stacked along rows.
constexpr void matmul(matrix_view<float> y, matrix_view<const float> x, matrix_view<const float> w,
                      std::int64_t batch) {
  const std::int64_t m = x.rows / batch;
  for (std::int64_t i = 0; i < x.rows; ++i)
    for (std::int64_t j = 0; j < w.cols; ++j) {
      double sum = 0;
      for (std::int64_t k = 0; k < x.cols; ++k) sum += static_cast<double>(x(i, k)) * w(i / m * x.cols + k, j);
      y(i, j) = static_cast<float>(sum);
    }
}

/// Row i of y is row ids[i] of the table.
template <class W>
constexpr void embedding(matrix_view<float> y, const W& table, std::span<const std::int64_t> ids) {
  for (std::int64_t i = 0; i < y.rows; ++i)
    for (std::int64_t j = 0; j < y.cols; ++j) y(i, j) = detail::element(table, ids[static_cast<std::size_t>(i)], j);
}

/// y = x * factor.
constexpr void scale(std::span<float> y, std::span<const float> x, float factor) {
  for (std::size_t i = 0; i < y.size(); ++i) y[i] = x[i] * factor;
}

/// y[i] = f(a[..], b[..]) for every index of `y_extents`, with numpy's broadcasting. Computes coordinates by division.
template <class F>
constexpr void broadcast(std::span<float> y, std::span<const std::int64_t> y_extents, std::span<const float> a,
                         std::span<const std::int64_t> a_extents, std::span<const float> b,
                         std::span<const std::int64_t> b_extents, F&& f) {
  const auto place = [&](std::int64_t index, std::span<const std::int64_t> extents) {
    std::int64_t at = 0, stride = 1;
    for (std::size_t i = 0; i < extents.size(); ++i) {  // from the last axis
      const std::int64_t extent = extents[extents.size() - 1 - i], full = y_extents[y_extents.size() - 1 - i];
      if (extent > 1) at += index % full * stride;
      index /= full;
      stride *= extent;
    }
    return static_cast<std::size_t>(at);
  };
  for (std::size_t i = 0; i < y.size(); ++i) {
    const auto index = static_cast<std::int64_t>(i);
    y[i] = f(a[place(index, a_extents)], b[place(index, b_extents)]);
  }
}

/// y = 1 / sqrt(x).
constexpr void rsqrt(std::span<float> y, std::span<const float> x) {
  for (std::size_t i = 0; i < y.size(); ++i) y[i] = static_cast<float>(1 / detail::square_root(x[i]));
}

/// y[i] = mean(x[i, :]).
constexpr void mean(std::span<float> y, matrix_view<const float> x) {
  for (std::int64_t i = 0; i < x.rows; ++i) {
    double sum = 0;
    for (float v : x.span(i)) sum += v;
    y[static_cast<std::size_t>(i)] = static_cast<float>(sum / static_cast<double>(x.cols));
  }
}

/// y = 1 / (1 + exp(-x)).
constexpr void sigmoid(std::span<float> y, std::span<const float> x) {
  for (std::size_t i = 0; i < y.size(); ++i) y[i] = static_cast<float>(1 / (1 + detail::exponential(-x[i])));
}

/// y = x / (1 + exp(-x)).
constexpr void silu(std::span<float> y, std::span<const float> x) {
  for (std::size_t i = 0; i < y.size(); ++i) y[i] = static_cast<float>(x[i] / (1 + detail::exponential(-x[i])));
}

/// y = silu(gate) * up.
constexpr void swiglu(std::span<float> y, std::span<const float> gate, std::span<const float> up) {
  for (std::size_t i = 0; i < y.size(); ++i)
    y[i] = static_cast<float>(gate[i] / (1 + detail::exponential(-gate[i])) * up[i]);
}

/// y = x^T.
constexpr void transpose(matrix_view<float> y, matrix_view<const float> x) {
  for (std::int64_t i = 0; i < x.rows; ++i)
    for (std::int64_t j = 0; j < x.cols; ++j) y(j, i) = x(i, j);
}

/// Axis i of y is axis perm[i] of x. Computes the position of every element by division.
template <class T>
constexpr void permute(std::span<T> y, std::span<const T> x, std::span<const std::int64_t> extents,
                       std::span<const std::int32_t> perm) {
  for (std::size_t i = 0; i < y.size(); ++i) {
    auto index = static_cast<std::int64_t>(i);
    std::int64_t at = 0;
    for (std::size_t axis = perm.size(); axis-- > 0;) {
      const auto from = static_cast<std::size_t>(perm[axis]);
      std::int64_t stride = 1;
      for (std::size_t inner = from + 1; inner < extents.size(); ++inner) stride *= extents[inner];
      at += index % extents[from] * stride;
      index /= extents[from];
    }
    y[i] = x[static_cast<std::size_t>(at)];
  }
}

/// y = softmax of each row of x.
constexpr void softmax(matrix_view<float> y, matrix_view<const float> x) {
  for (std::int64_t i = 0; i < x.rows; ++i) {
    double max = -std::numeric_limits<double>::infinity(), total = 0;
    for (float v : x.span(i)) max = v > max ? v : max;
    for (float v : x.span(i)) total += detail::exponential(v - max);
    for (std::int64_t j = 0; j < x.cols; ++j) y(i, j) = static_cast<float>(detail::exponential(x(i, j) - max) / total);
  }
}

/// Rotates each head of x by half-split RoPE; see `kernel::rope`.
constexpr void rope(matrix_view<float> y, matrix_view<const float> x, matrix_view<const float> cos,
                    matrix_view<const float> sin, std::int64_t head_dim) {
  const std::int64_t half = cos.cols;
  for (std::int64_t i = 0; i < x.rows; ++i)
    for (std::int64_t first = 0; first < x.cols; first += head_dim) {
      for (std::int64_t j = 0; j < half; ++j) {
        const double a = x(i, first + j), b = x(i, first + half + j);
        y(i, first + j) = static_cast<float>(a * cos(i, j) - b * sin(i, j));
        y(i, first + half + j) = static_cast<float>(b * cos(i, j) + a * sin(i, j));
      }
      for (std::int64_t j = 2 * half; j < head_dim; ++j) y(i, first + j) = x(i, first + j);
    }
}

/// Grouped-query causal attention; see `kernel::attention`. Makes two passes over the keys for the softmax and one over
/// the values, without intermediate storage.
template <class T>
constexpr void attention(matrix_view<float> y, matrix_view<const float> q, kv_view<T> keys, kv_view<T> values,
                         std::int64_t past, float scale) {
  const std::int64_t head_dim = keys.head_dim, heads = q.cols / head_dim, group = heads / keys.kv_heads;
  for (std::int64_t i = 0; i < q.rows; ++i)
    for (std::int64_t h = 0; h < heads; ++h) {
      const float* query = q.row(i) + h * head_dim;
      const auto score = [&](std::int64_t position) {
        double sum = 0;
        for (std::int64_t d = 0; d < head_dim; ++d)
          sum += static_cast<double>(query[d]) * keys.value(h / group, position, d);
        return sum * static_cast<double>(scale);
      };
      double max = -std::numeric_limits<double>::infinity(), total = 0;
      for (std::int64_t j = 0; j <= past + i; ++j) max = score(j) > max ? score(j) : max;
      for (std::int64_t j = 0; j <= past + i; ++j) total += detail::exponential(score(j) - max);
      for (std::int64_t d = 0; d < head_dim; ++d) {
        double sum = 0;
        for (std::int64_t j = 0; j <= past + i; ++j)
          sum += detail::exponential(score(j) - max) / total * values.value(h / group, j, d);
        y(i, h * head_dim + d) = static_cast<float>(sum);
      }
    }
}

/// clip(round_half_even(x / scale) + zero_point), or with x * (1 / scale); NaN gives the smallest code.
constexpr std::int32_t quantize(float x, const affine& p) {
  const float scaled = p.by == scaling::divide ? x / p.scale : x * (1 / p.scale);
  const float code = detail::round_half_even(scaled) + static_cast<float>(p.zero_point);
  if (!(code > static_cast<float>(p.range.min))) return p.range.min;
  return code < static_cast<float>(p.range.max) ? static_cast<std::int32_t>(code) : p.range.max;
}

/// (code - zero_point) * scale.
constexpr float dequantize(std::int32_t code, const affine& p) {
  return static_cast<float>(code - p.zero_point) * p.scale;
}

/// dequantize(quantize(x)).
constexpr float fake_quantize(float x, const affine& p) { return dequantize(quantize(x, p), p); }

/// Quantizes with parameters per row or per column.
template <class Code>
constexpr void quantize(matrix_view<Code> codes, matrix_view<const float> x, const channel_affine& p) {
  for (std::int64_t i = 0; i < x.rows; ++i)
    for (std::int64_t j = 0; j < x.cols; ++j)
      codes(i, j) = static_cast<Code>(quantize(x(i, j), detail::parameters(p, i, j)));
}

/// Dequantizes with parameters per row or per column.
template <class Code>
constexpr void dequantize(matrix_view<float> y, matrix_view<Code> codes, const channel_affine& p) {
  for (std::int64_t i = 0; i < codes.rows; ++i)
    for (std::int64_t j = 0; j < codes.cols; ++j) y(i, j) = dequantize(codes(i, j), detail::parameters(p, i, j));
}

/// Fake-quantizes with parameters per row or per column.
constexpr void fake_quantize(matrix_view<float> y, matrix_view<const float> x, const channel_affine& p) {
  for (std::int64_t i = 0; i < x.rows; ++i)
    for (std::int64_t j = 0; j < x.cols; ++j) y(i, j) = fake_quantize(x(i, j), detail::parameters(p, i, j));
}

/// Minimum and maximum of x and of `seen`; NaN elements are ignored.
constexpr extrema min_max(std::span<const float> x, extrema seen = {}) {
  for (float v : x) {
    if (v < seen.min) seen.min = v;
    if (v > seen.max) seen.max = v;
  }
  return seen;
}

/// max|x|; NaN elements are ignored.
constexpr float abs_max(std::span<const float> x) {
  float max = 0;
  for (float v : x) {
    const float magnitude = v < 0 ? -v : v;
    if (magnitude > max) max = magnitude;
  }
  return max;
}

/// Adds the elements of x to the bins between `edges`. Searches the bin among the edges, without arithmetic.
constexpr void histogram(std::span<std::int64_t> counts, std::span<const float> edges, std::span<const float> x,
                         bool magnitude = false) {
  for (float v : x) {
    const float element = magnitude && v < 0 ? -v : v;
    if (!(element >= edges.front() && element <= edges.back())) continue;
    std::size_t bin = 0;
    while (bin + 1 < counts.size() && element >= edges[bin + 1]) ++bin;
    ++counts[bin];
  }
}

}  // namespace qwq::kernel::reference
