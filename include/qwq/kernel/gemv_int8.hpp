// SPDX-License-Identifier: Apache-2.0
// Defines GEMV of one row of integers and a packed weight: int8 activations, or the int8 limbs of f32 activations.
#pragma once

#include <bit>
#include <limits>

#include "qwq/kernel/gemv.hpp"
#include "qwq/kernel/int8_rows.hpp"
#include "qwq/kernel/simd_int8.hpp"

namespace qwq::kernel::detail {

/// The four signed bytes of x at element k, in every word.
template <class Arch>
simd::words<Arch> broadcast_word(const std::int8_t* x) {
  std::uint32_t word;
  std::memcpy(&word, x, 4);
  return simd::words<Arch>(word);
}

/// A row of integers: rows of int8_rows that are limbs to base 256, lowest first; the lowest has the scales. With one
/// limb it is a row of int8 activations.
struct digit_row {
  const std::int8_t* codes;
  const std::int32_t* sums;
  const float* scales;
  std::int64_t row_bytes, blocks;  ///< Distance between limbs, of codes and of sums.

  digit_row(const int8_rows& x, std::int64_t row)
      : codes(x.codes + row * x.row_bytes),
        sums(x.sums + row * x.blocks()),
        scales(x.scales + row * x.blocks()),
        row_bytes(x.row_bytes),
        blocks(x.blocks()) {}
};

/// total[p, V batches] += x . codes of P panels, for the next `depth` elements of x, one block of it.
template <class Arch, int Bits, int Digits, int P, int V>
QWQ_INLINE inline void add_block(simd::batch<Arch> (*total)[V], const digit_row& x, std::int64_t depth,
                                 const std::byte* codes, const std::byte* scales, std::int64_t panel_bytes) {
  using packed = packed_weight<Bits>;
  using words = simd::words<Arch>;
  constexpr std::int64_t width = simd::lanes<Arch>;
  const auto for_each = [](auto&& f) QWQ_INLINE {
    QWQ_UNROLL for (int p = 0; p < P; ++p) QWQ_UNROLL for (int v = 0; v < V; ++v) f(p, v);
  };
  simd::ints<Arch> sum[Digits][P][V];
  QWQ_UNROLL for (int d = 0; d < Digits; ++d) for_each(
      [&](int p, int v) QWQ_INLINE { sum[d][p][v] = simd::ints<Arch>(-packed::middle * x.sums[d * x.blocks]); });
  const std::int8_t* at = x.codes;
  const std::int8_t* const end = at + depth;
  do {
    words word[P][V];
    for_each([&](int p, int v) QWQ_INLINE {
      const std::byte* const from = codes + p * panel_bytes + v * width * 4;
      word[p][v] = simd::load_words<Arch>(from);
      if (v * width % 16 == 0) __builtin_prefetch(from + fetched_ahead);
    });
    const auto add = [&](const std::int8_t* four, auto bytes_of) QWQ_INLINE {
      words bytes[P][V];
      for_each([&](int p, int v) QWQ_INLINE { bytes[p][v] = bytes_of(word[p][v]); });
      QWQ_UNROLL for (int d = 0; d < Digits; ++d) {
        const words of_x = broadcast_word<Arch>(four + d * x.row_bytes);
        for_each([&](int p, int v) QWQ_INLINE { sum[d][p][v] = simd::add_dot<Arch>(sum[d][p][v], bytes[p][v], of_x); });
      }
    };
    if constexpr (Bits == 8) {
      add(at, [](words four) QWQ_INLINE { return four; });
    } else {
      add(at, [](words eight) QWQ_INLINE { return simd::low_codes<Arch>(eight); });
      add(at + 4, [](words eight) QWQ_INLINE { return simd::high_codes<Arch>(eight); });
    }
    codes += panel_n * 4;
    at += packed::per_word;
  } while (at < end);
  const simd::batch<Arch> of_row(*x.scales), base(256.0f);
  for_each([&](int p, int v) QWQ_INLINE {
    auto dot = xsimd::to_float(sum[Digits - 1][p][v]);
    QWQ_UNROLL for (int d = Digits - 2; d >= 0; --d) dot = simd::fma<Arch>(dot, base, xsimd::to_float(sum[d][p][v]));
    const auto scale = simd::load<Arch>(reinterpret_cast<const float*>(scales + p * panel_bytes) + v * width);
    total[p][v] = simd::fma<Arch>(dot, scale * of_row, total[p][v]);
  });
}

/// sums[p, V batches] = x . outputs from `first` on of P adjacent panels. A block of w is one or more blocks of x, of
/// `block` elements.
template <class Arch, int Digits, int P, int V, int Bits>
void multiply_int8_panels(float* sums, digit_row x, std::int64_t block, const packed_weight<Bits>& w,
                          const std::byte* panel, std::int64_t first) {
  using packed = packed_weight<Bits>;
  constexpr int together = Digits == 1 || P == 1 ? P : 2;  // panels whose block accumulators fit the registers
  const std::int64_t panel_bytes = w.panel_bytes();
  simd::batch<Arch> total[P][V];
  QWQ_UNROLL for (int p = 0; p < P; ++p) QWQ_UNROLL for (int v = 0; v < V; ++v) total[p][v] = simd::batch<Arch>(0.0f);
  const std::byte* codes = panel + packed::scale_bytes + first * 4;
  std::int64_t left = w.block;  // of the block of w
  for (std::int64_t b = 0; b < x.blocks; ++b, x.codes += block, ++x.sums, ++x.scales) {
    const std::int64_t depth = std::min(block, left);
    const std::byte* const scales = panel + first * 4;
    QWQ_UNROLL for (int p = 0; p < P; p += together) add_block<Arch, Bits, Digits, together>(
        total + p, x, depth, codes + p * panel_bytes, scales + p * panel_bytes, panel_bytes);
    codes += depth * panel_n * Bits / 8;
    left -= depth;
    if (left == 0) {
      panel += w.block_bytes();
      codes += packed::scale_bytes;
      left = w.block;
    }
  }
  QWQ_UNROLL for (int p = 0; p < P; ++p) QWQ_UNROLL for (int v = 0; v < V; ++v)
      simd::store<Arch>(sums + p * panel_n + v * simd::lanes<Arch>, total[p][v]);
}

/// sums[j - j0] = x[row] . w[j] for outputs [j0, j1); `Digits` rows of x are the limbs of one. Sums up to the next
/// multiple of panel_n are also written.
template <class Arch, int Digits, int Bits>
void multiply_int8_row(float* sums, const int8_rows& x, std::int64_t row, const packed_weight<Bits>& w, std::int64_t j0,
                       std::int64_t j1) {
  constexpr int batches = std::min<int>(panel_n / simd::lanes<Arch>, Digits == 1 ? 4 : 2);
  for_each_panel_group<Arch>(j0, j1, [&]<int P>(std::integral_constant<int, P>, std::int64_t j) {
    for (std::int64_t v = 0; v < panel_n; v += batches * simd::lanes<Arch>)
      multiply_int8_panels<Arch, Digits, P, batches>(sums + j - j0 + v, digit_row(x, row), x.block, w,
                                                     w.panel(j / panel_n), v);
  });
}

/// Number of limbs of f32 activations, and maximum block size.
inline constexpr int f32_digits = 4;
inline constexpr std::int64_t f32_block = 64;

/// Splits row x into limbs: multiples of 2^-29 times the power of two of a block's largest magnitude; exact for
/// elements down to 1/64 of that. Returns false if this is impossible: for elements that are not finite, or too small
/// for a scale.
template <class Arch>
bool split_limbs(const int8_rows& y, const float* x) {
  const std::int64_t blocks = y.blocks();
  simd::batch<Arch> finite(0.0f);
  for (std::int64_t b = 0; b < blocks; ++b) {
    const std::int64_t first = b * y.block, count = std::min(y.block, y.cols - first);
    const float largest = largest_magnitude<Arch>(plain_row<Arch>{x}, first, count);
    if (!(largest == 0 || (largest >= 0x1p-90f && largest <= std::numeric_limits<float>::max()))) return false;
    const float power = largest == 0 ? 1.0f : std::bit_cast<float>(std::bit_cast<std::uint32_t>(largest) & 0x7f800000u);
    y.scales[b] = power * 0x1p-29f;
    const simd::batch<Arch> inverse(0x1p29f / power);
    simd::ints<Arch> total[f32_digits];
    for (auto& sum : total) sum = simd::ints<Arch>(0);
    simd::strips<Arch>(count, [&](std::int64_t i, auto n) QWQ_INLINE {
      const auto value = simd::load<Arch>(x + first + i, n);
      finite = simd::fma<Arch>(value, simd::batch<Arch>(0.0f), finite);  // a maximum can ignore a NaN
      const simd::ints<Arch> middle(0x00808080);  // adding and xor-ing it gives the lower limbs as signed bytes
      const auto limbs = (xsimd::to_int(xsimd::nearbyint(value * inverse)) + middle) ^ middle;
      QWQ_UNROLL for (int d = 0; d < f32_digits; ++d) {
        const auto digit = limbs << (24 - 8 * d) >> 24;
        simd::store<Arch>(y.codes + d * y.row_bytes + first + i, digit, n);
        total[d] = total[d] + digit;
      }
    });
    for (int d = 0; d < f32_digits; ++d) y.sums[d * blocks + b] = simd::detail::sum_of_lanes<Arch>(total[d]);
  }
  for (int d = 0; d < f32_digits; ++d) {
    std::int8_t* const codes = y.codes + d * y.row_bytes;
    std::fill(codes + y.cols, codes + y.row_bytes, std::int8_t{0});
  }
  return simd::reduce_add<Arch>(finite) == 0;
}

}  // namespace qwq::kernel::detail
