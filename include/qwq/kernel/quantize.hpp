// SPDX-License-Identifier: Apache-2.0
// Defines `quantize`, `dequantize` and `fake_quantize`, for integers of 4, 8 and 16 bits.
//
// Arithmetic of ONNX Runtime's QuantizeLinear: true f32 division, rounding half to even before the zero point is added,
// then clipping; or torch's, which multiplies by 1 / scale (`scaling`). NaN becomes the smallest code (as in ONNX
// Runtime on x86); infinities become the ends of the range.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <type_traits>

#include "qwq/kernel/simd.hpp"
#include "qwq/kernel/simd_int4.hpp"
#include "qwq/kernel/simd_stream.hpp"
#include "qwq/kernel/views.hpp"

namespace qwq::kernel {

namespace detail {

/// How x / scale is computed.
enum class quotient : std::uint8_t {
  multiplied,  ///< x * (1 / scale); both operations are rounded.
  divided,     ///< By the division instruction.
  corrected,   ///< Bitwise equal, in a fifth of the time: x * (1 / scale), corrected once by the remainder.
};

/// Range of scales that can be `corrected`: remainder and reciprocal stay normal numbers.
inline constexpr float least_corrected = 0x1p-100f, largest_corrected = 0x1p100f;

/// `affine`, broadcast to all lanes.
template <class Arch, quotient Of>
struct lane_affine {
  using batch = simd::batch<Arch>;
  static constexpr bool corrects = Of == quotient::corrected;
  /// Adding this constant rounds to an integer, half to even: f32 numbers of this size are the integers.
  static constexpr float shift = 0x1.8p23f;
  batch scale, zero_point, inverse, low, high;

  lane_affine(batch s, batch zp, batch r, batch lowest, batch highest)
      : scale(s), zero_point(zp), inverse(r), low(lowest), high(highest) {}
  lane_affine(batch s, batch zp, code_range range)
      : scale(s),
        zero_point(zp),
        inverse(batch(1.0f) / s),
        low(batch(static_cast<float>(range.min)) - zp),
        high(batch(static_cast<float>(range.max)) - zp) {
    if constexpr (corrects) {
      low *= s;
      high *= s;
    }
  }

  /// round(x / scale), in the range minus the zero point, plus `shift`.
  batch shifted_steps(batch x) const {
    // Clipping x to the values of the outermost codes keeps these codes, and is equivalent to clipping the codes. NaN
    // becomes the smallest code. (The multiplication by `inverse` and the addition of `shift` must not be adjacent, or
    // g++ contracts them.)
    const auto clip = [this](batch v) { return simd::at_most<Arch>(simd::at_least<Arch>(v, low), high); };
    batch q;
    if constexpr (corrects) {
      // P. Markstein, "Computation of elementary functions on the IBM RISC System/6000 processor", 1990. The remainder
      // is exact, and so is the rounding of the last addition near every boundary between codes
      // (tests/kernel/quantize.cpp tests all quotients that are close enough to one).
      const batch v = clip(x), guess = v * inverse;
      q = simd::fma<Arch>(simd::fnma<Arch>(guess, scale, v), inverse, guess);
    } else {
      q = clip(Of == quotient::divided ? x / scale : x * inverse);
    }
    return q + batch(shift);
  }
  simd::integers<Arch> code(batch x) const {
    const simd::integers<Arch> zero(std::bit_cast<std::int32_t>(shift));  // codes are relative to this
    return simd::detail::reinterpret<Arch, std::int32_t>(shifted_steps(x)) + (xsimd::to_int(zero_point) - zero);
  }
  batch value(batch code) const { return (code - zero_point) * scale; }
  batch fake(batch x) const { return (shifted_steps(x) - batch(shift)) * scale; }
};

inline constexpr auto to_code = [](const auto& a, auto x) { return a.code(x); };
inline constexpr auto to_value = [](const auto& a, auto code) { return a.value(code); };
inline constexpr auto unchanged = [](auto code, std::int64_t) { return code; };
inline constexpr auto to_fake = [](const auto& a, auto x) { return a.fake(x); };

/// Calls f with the division method for all of `scales`, as a constant.
template <class Arch, class F>
void with_quotient(std::span<const float> scales, scaling by, F&& f) {
  if (by == scaling::multiply) return f(std::integral_constant<quotient, quotient::multiplied>{});
  if constexpr (simd::fused<Arch>) {
    const simd::batch<Arch> least(least_corrected), largest(largest_corrected);
    bool can = true;
    simd::strips<Arch>(static_cast<std::int64_t>(scales.size()), [&](std::int64_t i, auto count) {
      const auto scale = simd::load_or<Arch>(scales.data() + i, count, 1.0f);
      can &= xsimd::all((scale >= least) & (scale <= largest));
    });
    if (can) return f(std::integral_constant<quotient, quotient::corrected>{});
  }
  f(std::integral_constant<quotient, quotient::divided>{});
}

/// `lane_affine` of at most N channels, computed a batch at a time so that divisions overlap.
template <class Arch, quotient Of, std::int64_t N>
class channel_lanes {
  using batch = simd::batch<Arch>;
  using affine_type = lane_affine<Arch, Of>;
  static constexpr std::int64_t width = simd::lanes<Arch>;

 public:
  channel_lanes(std::span<const float> scales, std::span<const std::int32_t> zero_points, code_range range) {
    simd::strips<Arch>(static_cast<std::int64_t>(scales.size()), [&](std::int64_t i, auto count) {
      const affine_type a(simd::load_or<Arch>(scales.data() + i, count, 1.0f),
                          zero_points.empty() ? batch(0.0f) : simd::load<Arch>(zero_points.data() + i, count), range);
      set& to = sets_[i / width];
      a.scale.store_aligned(to.scale);
      a.zero_point.store_aligned(to.zero_point);
      a.inverse.store_aligned(to.inverse);
      a.low.store_aligned(to.low);
      a.high.store_aligned(to.high);
    });
  }
  /// Channel i in all lanes.
  affine_type all(std::int64_t i) const {
    return read(i, [lane = i % width](const float* p) { return batch(p[lane]); });
  }
  /// The channels from i on, a multiple of the lanes, one per lane.
  affine_type from(std::int64_t i) const {
    return read(i, [](const float* p) { return batch::load_aligned(p); });
  }

 private:
  struct set {
    alignas(64) float scale[width], zero_point[width], inverse[width], low[width], high[width];
  };
  template <class Load>
  affine_type read(std::int64_t i, Load load) const {
    const set& s = sets_[i / width];
    return {load(s.scale), load(s.zero_point), load(s.inverse), load(s.low), load(s.high)};
  }

  static_assert(N % width == 0);
  set sets_[N / width];
};

/// Calls f(channels) with channels [first, first + count), at most N.
template <class Arch, std::int64_t N, class F>
void with_channels(const channel_affine& p, std::int64_t first, std::int64_t count, F&& f) {
  const auto at = static_cast<std::size_t>(first), n = static_cast<std::size_t>(count);
  const auto scales = p.scales.subspan(at, n);
  with_quotient<Arch>(scales, p.by, [&](auto kind) {
    f(channel_lanes<Arch, kind.value, N>(scales, p.zero_points.empty() ? p.zero_points : p.zero_points.subspan(at, n),
                                         p.range));
  });
}

/// Elements in rows; a row begins at `first + i * stride`.
template <class Pointer>
struct plane {
  Pointer first;
  std::int64_t stride;
  Pointer row(std::int64_t i) const { return first + i * stride; }
};

/// Calls f(parameters) with one set of parameters in all lanes.
template <class Arch, class F>
void with_lanes(const affine& p, F&& f) {
  using batch = simd::batch<Arch>;
  with_quotient<Arch>({&p.scale, 1}, p.by, [&](auto kind) {
    f(lane_affine<Arch, kind.value>(batch(p.scale), batch(static_cast<float>(p.zero_point)), p.range));
  });
}

/// y = f(parameters, x) with one set of parameters.
template <class Arch, bool Streaming, class To, class From, class F>
void map_affine(To y, From x, std::int64_t n, const affine& p, F f) {
  with_lanes<Arch>(p, [&](const auto& a) {
    simd::transform<Arch, Streaming>(y, x, n, [a, f](simd::batch<Arch> v, std::int64_t) { return f(a, v); });
  });
}

/// y = f(parameters, x) with one set per row. `cols` is a number or a constant.
template <class Arch, bool Streaming, class To, class From, class Cols, class F>
void map_rows(plane<To> y, plane<From> x, std::int64_t rows, Cols cols, const channel_affine& p, F f) {
  constexpr std::int64_t block = 64;
  for (std::int64_t first = 0; first < rows; first += block) {
    const std::int64_t count = std::min(block, rows - first);
    with_channels<Arch, block>(p, first, count, [&](const auto& channels) {
      for (std::int64_t i = 0; i < count; ++i)
        simd::transform<Arch, Streaming>(
            y.row(first + i), x.row(first + i), cols,
            [a = channels.all(i), f](simd::batch<Arch> v, std::int64_t) { return f(a, v); });
    });
  }
}

/// y = f(parameters, x) for rows with one set per column. Loads all of a batch's rows before storing any: to the
/// hardware, rows whose length is a multiple of the page size seem to alias.
template <class Arch, bool Streaming, int Rows, class To, class From, class Channels, class F>
void map_columns_tile(plane<To> y, plane<From> x, std::int64_t n, const Channels& channels, F f) {
  const auto step = [=, at = &channels](std::int64_t j, auto count) {
    const auto a = at->from(j);
    simd::batch<Arch> v[Rows];
    QWQ_UNROLL for (int r = 0; r < Rows; ++r) v[r] = simd::load<Arch>(x.row(r) + j, count);
    QWQ_UNROLL for (int r = 0; r < Rows; ++r) simd::put<Arch, Streaming>(y.row(r) + j, f(a, v[r]), count);
  };
  std::int64_t j = 0;
  for (; j + simd::lanes<Arch> <= n; j += simd::lanes<Arch>) step(j, simd::whole{});
  if (j < n) step(j, n - j);
}

/// y = f(parameters, x) with one set per column. The sets of a block of columns are computed once for many rows.
template <class Arch, bool Streaming, class To, class From, class F>
void map_columns(plane<To> y, plane<From> x, std::int64_t rows, std::int64_t cols, const channel_affine& p, F f) {
  constexpr std::int64_t many = 64, block = 1024;
  constexpr int tile = 2;
  for (std::int64_t i = 0; i < rows; i += many)
    for (std::int64_t j = 0; j < cols; j += block) {
      const std::int64_t count = std::min(block, cols - j), end = std::min(i + many, rows);
      with_channels<Arch, block>(p, j, count, [&](const auto& channels) {
        const auto from_row = [j](auto plane, std::int64_t r) {
          return decltype(plane){plane.row(r) + j, plane.stride};
        };
        std::int64_t r = i;
        for (; r + tile <= end; r += tile)
          map_columns_tile<Arch, Streaming, tile>(from_row(y, r), from_row(x, r), count, channels, f);
        for (; r < end; ++r) map_columns_tile<Arch, Streaming, 1>(from_row(y, r), from_row(x, r), count, channels, f);
      });
    }
}

template <class Arch, class To, class From, class F>
void map(std::span<To> y, std::span<From> x, const affine& p, F f, writes how = writes::cached) {
  with_writes<Arch>(how, y.data(), x.data(), x.size(), [&](auto streaming) {
    auto n = static_cast<std::int64_t>(x.size());
    auto* to = y.data();
    auto* from = x.data();
    if constexpr (streaming) {  // up to the first aligned element
      const std::int64_t head = std::min(n, simd::to_aligned<Arch>(to));
      map_affine<Arch, false>(to, from, head, p, f);
      to += head, from += head, n -= head;
    }
    map_affine<Arch, streaming>(to, from, n, p, f);
  });
}

/// Calls f with n, as a constant if n is a common group size.
template <class F>
void with_group(std::int64_t n, F&& f) {
  if (n == 32) return f(std::integral_constant<std::int64_t, 32>{});
  if (n == 128) return f(std::integral_constant<std::int64_t, 128>{});
  f(n);
}

template <class T>
plane<T*> plane_of(matrix_view<T> m) {
  return {m.data, m.row_stride};
}

/// Calls f with whether to stream into y, which requires rows that begin at aligned elements.
template <class Arch, class To, class From, class F>
void with_writes(writes how, matrix_view<To> y, matrix_view<From> x, F&& f) {
  const bool aligned = simd::to_aligned<Arch>(y.data) == 0 && y.row_stride % simd::lanes<Arch> == 0;
  with_writes<Arch>(aligned ? how : writes::cached, y.data, x.data, static_cast<std::size_t>(x.rows * x.cols), f);
}

template <class Arch, class To, class From, class F>
void map(matrix_view<To> y, matrix_view<From> x, const channel_affine& p, F f, writes how = writes::cached) {
  with_writes<Arch>(how, y, x, [&](auto streaming) {
    if (p.axis == channel_axis::row)
      with_group(x.cols, [&](auto cols) { map_rows<Arch, streaming>(plane_of(y), plane_of(x), x.rows, cols, p, f); });
    else
      map_columns<Arch, streaming>(plane_of(y), plane_of(x), x.rows, x.cols, p, f);
  });
}

}  // namespace detail

/// codes = clip(round(x / scale) + zero_point). `Code` is an 8- or 16-bit integer that holds the range; 4-bit codes use
/// a byte each (see `pack_int4`).
template <class Arch = xsimd::default_arch, class Code>
void quantize(std::span<Code> codes, std::span<const float> x, const affine& p) {
  detail::map<Arch>(codes, x, p, detail::to_code);
}
/// Quantizes with parameters per row or per column. For groups along rows, view the same memory as a matrix with one
/// group per row.
template <class Arch = xsimd::default_arch, class Code>
void quantize(matrix_view<Code> codes, matrix_view<const float> x, const channel_affine& p) {
  detail::map<Arch>(codes, x, p, detail::to_code);
}

/// y = (code - zero_point) * scale.
template <class Arch = xsimd::default_arch, class Code>
void dequantize(std::span<float> y, std::span<Code> codes, const affine& p, writes how = writes::automatic) {
  detail::map<Arch>(y, codes, p, detail::to_value, how);
}
/// Dequantizes with parameters per row or per column.
template <class Arch = xsimd::default_arch, class Code>
void dequantize(matrix_view<float> y, matrix_view<Code> codes, const channel_affine& p,
                writes how = writes::automatic) {
  detail::map<Arch>(y, codes, p, detail::to_value, how);
}

/// y = dequantize(quantize(x)), bitwise equal to both steps. y can be x.
template <class Arch = xsimd::default_arch>
void fake_quantize(std::span<float> y, std::span<const float> x, const affine& p, writes how = writes::automatic) {
  detail::map<Arch>(y, x, p, detail::to_fake, how);
}
/// Fake-quantizes with parameters per row or per column.
template <class Arch = xsimd::default_arch>
void fake_quantize(matrix_view<float> y, matrix_view<const float> x, const channel_affine& p,
                   writes how = writes::automatic) {
  detail::map<Arch>(y, x, p, detail::to_fake, how);
}

/// Packs two 4-bit codes per byte, the first in the low half; an odd last byte has 0 in its high half.
template <class Arch = xsimd::default_arch, class Code>
void pack_int4(std::span<std::uint8_t> bytes, std::span<Code> codes) {
  simd::transform<Arch>(simd::int4_at<std::uint8_t, true>{bytes.data()}, codes.data(),
                        static_cast<std::int64_t>(codes.size()), detail::unchanged);
}

/// Unpacks the codes of `pack_int4`; they are signed if `Code` is.
template <class Arch = xsimd::default_arch, class Code>
void unpack_int4(std::span<Code> codes, std::span<const std::uint8_t> bytes) {
  simd::transform<Arch>(codes.data(), simd::int4_at<const std::uint8_t, std::is_signed_v<Code>>{bytes.data()},
                        static_cast<std::int64_t>(codes.size()), detail::unchanged);
}

}  // namespace qwq::kernel
