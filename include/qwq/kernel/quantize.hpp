// SPDX-License-Identifier: Apache-2.0
// Quantize, dequantize, and both at once, to integers of 4, 8 and 16 bits.
//
// Arithmetic of ONNX Runtime's QuantizeLinear: true f32 division, rounding half to even before the zero point is
// added, then clipping; or torch's, which multiplies by 1 / scale (`scaling`). NaN becomes the smallest code (as ONNX
// Runtime does on x86), infinities the ends of the range.
#pragma once

#include <type_traits>

#include "qwq/kernel/operands.hpp"
#include "qwq/kernel/simd.hpp"

namespace qwq::kernel {

namespace detail {

/// `affine` in every lane.
template <class Arch, scaling By>
struct lane_affine {
  simd::batch<Arch> scale, zero_point, min, max, inverse;

  lane_affine(simd::batch<Arch> s, simd::batch<Arch> zp, code_range range)
      : scale(s),
        zero_point(zp),
        min(static_cast<float>(range.min)),
        max(static_cast<float>(range.max)),
        inverse(simd::batch<Arch>(1.0f) / s) {}
  explicit lane_affine(const affine& p)
      : lane_affine(simd::batch<Arch>(p.scale), simd::batch<Arch>(static_cast<float>(p.zero_point)), p.range) {}

  /// The code as an integral float.
  simd::batch<Arch> code(simd::batch<Arch> x) const {
    const auto rounded = xsimd::nearbyint(By == scaling::divide ? x / scale : x * inverse) + zero_point;
    return simd::at_most<Arch>(simd::at_least<Arch>(rounded, min), max);
  }
  simd::batch<Arch> value(simd::batch<Arch> code) const { return (code - zero_point) * scale; }
};

/// Calls f with the kind of scaling as a constant.
template <class F>
void with_scaling(scaling by, F&& f) {
  if (by == scaling::divide)
    f(std::integral_constant<scaling, scaling::divide>{});
  else
    f(std::integral_constant<scaling, scaling::multiply>{});
}

/// y[i] = f(parameters, x[i]) with one set of parameters.
template <class Arch, scaling By, class To, class From, class F>
void map_affine(std::span<To> y, std::span<From> x, const affine& p, F&& f) {
  const lane_affine<Arch, By> a(p);
  simd::strips<Arch>(static_cast<std::int64_t>(x.size()), [&](std::int64_t i, auto count) {
    simd::store<Arch>(y.data() + i, f(a, simd::load<Arch>(x.data() + i, count)), count);
  });
}

/// The same with one set per row or per column.
template <class Arch, scaling By, class To, class From, class F>
void map_affine(matrix_view<To> y, matrix_view<From> x, const channel_affine& p, F&& f) {
  for (std::int64_t i = 0; i < x.rows; ++i) {
    if (p.axis == channel_axis::row) {
      map_affine<Arch, By>(y.span(i), x.span(i), p.channel(i), f);
      continue;
    }
    simd::strips<Arch>(x.cols, [&](std::int64_t j, auto count) {
      const lane_affine<Arch, By> a(
          simd::load<Arch>(p.scales.data() + j, count),
          p.zero_points.empty() ? simd::batch<Arch>(0.0f) : simd::load<Arch>(p.zero_points.data() + j, count), p.range);
      simd::store<Arch>(y.row(i) + j, f(a, simd::load<Arch>(x.row(i) + j, count)), count);
    });
  }
}

/// The same, with the scaling that `p` says.
template <class Arch, class To, class From, class P, class F>
void map_by(To y, From x, const P& p, F&& f) {
  with_scaling(p.by, [&](auto by) { map_affine<Arch, by.value>(y, x, p, f); });
}

inline constexpr auto to_code = [](const auto& a, auto x) { return a.code(x); };
inline constexpr auto to_value = [](const auto& a, auto code) { return a.value(code); };
inline constexpr auto to_code_to_value = [](const auto& a, auto x) { return a.value(a.code(x)); };

}  // namespace detail

/// codes = clip(round(x / scale) + zero_point). `Code` is an 8- or 16-bit integer that holds the range; 4-bit codes
/// take a byte each (see `pack_int4`).
template <class Arch = xsimd::default_arch, class Code>
void quantize(std::span<Code> codes, std::span<const float> x, const affine& p) {
  detail::map_by<Arch>(codes, x, p, detail::to_code);
}
/// With parameters per row or per column. Groups along the rows are the rows of the same memory seen as a matrix whose
/// row is one group.
template <class Arch = xsimd::default_arch, class Code>
void quantize(matrix_view<Code> codes, matrix_view<const float> x, const channel_affine& p) {
  detail::map_by<Arch>(codes, x, p, detail::to_code);
}

/// y = (code - zero_point) * scale
template <class Arch = xsimd::default_arch, class Code>
void dequantize(std::span<float> y, std::span<Code> codes, const affine& p) {
  detail::map_by<Arch>(y, codes, p, detail::to_value);
}
template <class Arch = xsimd::default_arch, class Code>
void dequantize(matrix_view<float> y, matrix_view<Code> codes, const channel_affine& p) {
  detail::map_by<Arch>(y, codes, p, detail::to_value);
}

/// y = dequantize(quantize(x)), the same bits as the two in turn. y may be x.
template <class Arch = xsimd::default_arch>
void fake_quantize(std::span<float> y, std::span<const float> x, const affine& p) {
  detail::map_by<Arch>(y, x, p, detail::to_code_to_value);
}
template <class Arch = xsimd::default_arch>
void fake_quantize(matrix_view<float> y, matrix_view<const float> x, const channel_affine& p) {
  detail::map_by<Arch>(y, x, p, detail::to_code_to_value);
}

/// Two 4-bit codes to a byte, the first in the low half; an odd last byte has 0 in its high half.
template <class Code>
void pack_int4(std::span<std::uint8_t> bytes, std::span<Code> codes) {
  for (std::size_t i = 0; i < codes.size(); i += 2) {
    const unsigned low = static_cast<unsigned>(codes[i]) & 15u;
    const unsigned high = i + 1 < codes.size() ? static_cast<unsigned>(codes[i + 1]) & 15u : 0u;
    bytes[i / 2] = static_cast<std::uint8_t>(low | high << 4);
  }
}

/// The inverse; the codes are signed when `Code` is.
template <class Code>
void unpack_int4(std::span<Code> codes, std::span<const std::uint8_t> bytes) {
  for (std::size_t i = 0; i < codes.size(); ++i) {
    const int half = bytes[i / 2] >> (i % 2 * 4) & 15;
    codes[i] = static_cast<Code>(std::is_signed_v<Code> && half > 7 ? half - 16 : half);
  }
}

}  // namespace qwq::kernel
