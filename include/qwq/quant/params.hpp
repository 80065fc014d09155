// SPDX-License-Identifier: Apache-2.0
// Integer formats, and the scale and zero point that a range of values gets in them.
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

/// Smallest and largest value that a tensor is expected to hold.
struct range {
  float low = 0, high = 0;
  friend constexpr bool operator==(const range&, const range&) = default;
};

/// value = (code - zero_point) * scale
struct qparams {
  float scale = 1;
  std::int32_t zero_point = 0;
  friend constexpr bool operator==(const qparams&, const qparams&) = default;
};

/// An integer format that is chosen at run time. `type` is one of i4, u4, i8, u8, i16, u16.
struct int_spec {
  dtype type = dtype::u8;
  bool symmetric = false;
  bool reduce_range = false;  ///< Half of the codes, for machines whose int8 products saturate.
  bool per_channel = false;   ///< The range is that of one channel of many; some conventions then do otherwise.
};

namespace detail {
/// The codes of an integer format of at most 16 bits.
constexpr kernel::code_range codes_of(dtype t) {
  if (is_plain_float(t) || bits(t) > 16)
    throw error("integer format: expected i4, u4, i8, u8, i16 or u16, found " + std::string(name(t)));
  return kernel::full_range(t);
}
/// Throws `error` when an end is not finite or low > high.
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
  static constexpr kernel::scaling by = kernel::scaling::divide;

  /// The codes that a range is spread over. The scale comes from them; values are clipped to all codes of the type.
  /// Symmetric 8- and 16-bit formats leave one code out, which puts 0 in the middle (127 and 32767 when unsigned);
  /// symmetric 4-bit formats keep all 16, so i4 has scale 2 * absmax / 15.
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

  /// Scale and zero point. The range is widened to hold 0, and to span `min_real_range` at least; in a symmetric format
  /// it is widened to [-absmax, absmax]. A range too narrow for a normal scale gives {1, 0}; one wider than f32 an
  /// infinite scale. Throws `error` when an end is not finite or low > high.
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
    // The zero point comes from the scale before it is rounded to f32: from the rounded one it is off by one at times.
    const double zero = f.symmetric ? (qmin + qmax) / 2.0 : qmin - static_cast<double>(low) / scale;
    return {static_cast<float>(scale), static_cast<std::int32_t>(detail::round_half_even(zero))};
  }
};

}  // namespace conventions

/// An integer format as a type: codes of type `T`, and how a range becomes a scale. Ecosystems differ in that, so the
/// convention is a part of the type: a struct with `by`, `scale_range` and `compute_qparams`, as `ort` has them.
template <dtype T, bool Symmetric, class Convention = conventions::ort>
struct int_format {
  static constexpr number_format value{.element = T, .symmetric = Symmetric};
  static constexpr dtype type = T;
  static constexpr bool symmetric = Symmetric;
  using convention = Convention;
  /// Codes that a range is spread over.
  static constexpr std::int32_t qmin = Convention::scale_range({T, Symmetric}).min;
  /// Largest code that weights take.
  static constexpr std::int32_t qmax = Convention::scale_range({T, Symmetric}).max;
  /// Codes that values are clipped to.
  static constexpr std::int32_t type_min = kernel::full_range(T).min;
  /// Largest code of the type.
  static constexpr std::int32_t type_max = kernel::full_range(T).max;
};

/// Scale and zero point of `r` in `Format`, by its convention.
template <class Format>
constexpr qparams compute_qparams(range r, float min_real_range = 0, bool reduce_range = false,
                                  bool per_channel = false) {
  return Format::convention::compute_qparams({Format::type, Format::symmetric, reduce_range, per_channel}, r,
                                             min_real_range);
}

/// What the kernels take: `p` together with what `Format` says of rounding and clipping.
template <class Format>
constexpr kernel::affine to_affine(const qparams& p) {
  return {p.scale, p.zero_point, kernel::full_range(Format::type), Format::convention::by};
}

}  // namespace qwq
