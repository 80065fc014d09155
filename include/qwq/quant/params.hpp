// SPDX-License-Identifier: Apache-2.0
// Defines `qparams`, the scale and zero point of a quantized tensor, `int_format`, and the convention of ONNX Runtime.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>

#include "qwq/core/dtype.hpp"
#include "qwq/core/error.hpp"
#include "qwq/kernel/views.hpp"
#include "qwq/quant/number_format.hpp"
#include "qwq/quant/rounding.hpp"

namespace qwq {

/// Minimum and maximum of the values of a tensor.
struct range {
  float low = 0,  ///< Minimum.
      high = 0;   ///< Maximum.
  /// Compares all members.
  friend constexpr bool operator==(const range&, const range&) = default;
};

/// Quantization parameters: value = (code - zero_point) * scale.
struct qparams {
  float scale = 1;              ///< Distance between the values of adjacent codes.
  std::int32_t zero_point = 0;  ///< Code of the value 0.
  /// Compares all members.
  friend constexpr bool operator==(const qparams&, const qparams&) = default;
};

/// An integer format chosen at run time. `type` is i4, u4, i8, u8, i16 or u16.
struct int_spec {
  dtype type = dtype::u8;     ///< Type of codes.
  bool symmetric = false;     ///< True for a fixed zero point and a range [-absmax, absmax].
  bool reduce_range = false;  ///< Use half of the codes, for hardware whose int8 GEMMs saturate.
  bool per_channel = false;   ///< The range is of one channel of several; some conventions treat this case differently.
};

namespace detail {
/// All codes of an integer type of at most 16 bits. Throws `error` for other types.
constexpr kernel::code_range codes_of(dtype t) {
  if (is_plain_float(t) || bits(t) > 16)
    throw error("integer format: expected i4, u4, i8, u8, i16 or u16, found " + std::string(name(t)));
  return kernel::full_range(t);
}
/// Throws `error` if an end is not finite or low > high.
constexpr void require_finite(range r) {
  constexpr float largest = std::numeric_limits<float>::max();
  if (!(-largest <= r.low && r.low <= r.high && r.high <= largest))
    throw error("range: expected finite low <= high, found [" + std::to_string(r.low) + ", " + std::to_string(r.high) +
                "]");
}
}  // namespace detail

namespace conventions {

/// The convention of onnxruntime's quantizer (`compute_scale_zp`, 1.23).
struct ort {
  /// Codes are computed by division by the scale.
  static constexpr kernel::scaling by = kernel::scaling::divide;

  /// Codes that a range maps to, which determine the scale; values are clipped to all codes of the type. Symmetric 8-
  /// and 16-bit formats omit one code, so that 0 is in the middle (127 and 32767 for unsigned types); symmetric 4-bit
  /// formats keep all 16, so i4 has scale 2 * absmax / 15.
  static constexpr kernel::code_range scale_range(int_spec f) {
    auto [low, high] = detail::codes_of(f.type);
    if (f.reduce_range) {
      low /= 2;
      high = is_signed(f.type) && bits(f.type) > 4 ? -low : high / 2;
    } else if (f.symmetric && bits(f.type) > 4) {
      is_signed(f.type) ? ++low : --high;
    }
    return {low, high};
  }

  /// Scale and zero point of a range. The range is widened to contain 0 and to span at least `min_real_range`; in a
  /// symmetric format it is widened to [-absmax, absmax]. Returns {1, 0} if the scale would be subnormal; the scale is
  /// infinite if the width overflows f32. Throws `error` if an end is not finite or low > high.
  static constexpr qparams compute_qparams(int_spec f, range r, float min_real_range = 0) {
    detail::require_finite(r);
    const auto [qmin, qmax] = scale_range(f);
    float low = std::min(r.low, 0.0f);
    float high = std::max(r.high, 0.0f);
    if (min_real_range > 0) high = std::max(high, low + min_real_range);
    if (f.symmetric) {
      high = std::max(-low, high);
      low = -high;
    }
    const float width = high - low;
    const double scale = static_cast<double>(width) / (qmax - qmin);
    if (scale < std::numeric_limits<float>::min()) return {};
    // Compute the zero point from the unrounded scale: with the scale rounded to f32 it is sometimes off by one.
    const double zero = f.symmetric ? (qmin + qmax) / 2.0 : qmin - static_cast<double>(low) / scale;
    return {static_cast<float>(scale), static_cast<std::int32_t>(detail::round_half_even(zero))};
  }
};

}  // namespace conventions

/// An integer format as a type: codes of type `T`, and the convention that maps a range to a scale. Ecosystems differ
/// in the latter, so the convention is part of the type: a struct with `by`, `scale_range` and `compute_qparams`, such
/// as `ort`.
template <dtype T, bool Symmetric, class Convention = conventions::ort>
struct int_format {
  /// The format as a value.
  static constexpr number_format value{.element = T, .symmetric = Symmetric};
  /// Type of codes.
  static constexpr dtype type = T;
  /// True for symmetric ranges with a fixed zero point.
  static constexpr bool symmetric = Symmetric;
  /// How scales and codes are computed.
  using convention = Convention;
  /// Smallest code that a range maps to.
  static constexpr std::int32_t qmin = Convention::scale_range({T, Symmetric}).min;
  /// Largest code that a range maps to.
  static constexpr std::int32_t qmax = Convention::scale_range({T, Symmetric}).max;
  /// Smallest code of the type; values are clipped to it.
  static constexpr std::int32_t type_min = kernel::full_range(T).min;
  /// Largest code of the type; values are clipped to it.
  static constexpr std::int32_t type_max = kernel::full_range(T).max;
};

/// Scale and zero point of range `r` in `Format`, by its convention. Throws `error` if `r` is invalid.
template <class Format>
constexpr qparams compute_qparams(range r, float min_real_range = 0, bool reduce_range = false,
                                  bool per_channel = false) {
  return Format::convention::compute_qparams({Format::type, Format::symmetric, reduce_range, per_channel}, r,
                                             min_real_range);
}

/// Kernel operand: `p` with the clipping and rounding of `Format`.
template <class Format>
constexpr kernel::affine to_affine(const qparams& p) {
  return {p.scale, p.zero_point, kernel::full_range(Format::type), Format::convention::by};
}

}  // namespace qwq
