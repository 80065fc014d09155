// SPDX-License-Identifier: Apache-2.0
// Defines `conventions::tico`, the scale and zero point of Samsung's TICO, and `conventions::power_of_two`.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <string>

#include "qwq/quant/params.hpp"

namespace qwq {

namespace conventions {

/// The convention of Samsung's TICO (wrapq's affine observers, and torch.fake_quantize_*), computed in f32. It has
/// neither reduced ranges nor a minimum range.
struct tico {
  /// Codes are computed by multiplication with the reciprocal of the scale.
  static constexpr kernel::scaling by = kernel::scaling::multiply;

  /// Codes that a range maps to. Symmetric formats are signed, [-qmax, qmax]; values are still clipped to -qmax - 1.
  /// Throws `error` for a symmetric unsigned format.
  static constexpr kernel::code_range scale_range(int_spec f) {
    const auto [low, high] = detail::codes_of(f.type);
    if (!f.symmetric) return {low, high};
    if (!is_signed(f.type))
      throw error("integer format: expected a signed type in a symmetric format, found " + std::string(name(f.type)));
    return {-high, high};
  }

  /// Scale and zero point of a range. An asymmetric range is widened to contain 0, unless it is a single value, whose
  /// code is then exact. Throws `error` if an end is not finite or low > high.
  static constexpr qparams compute_qparams(int_spec f, range r, float /*min_real_range*/ = 0) {
    detail::require_finite(r);
    constexpr float smallest = 1e-12f, same = 1e-8f;
    const auto [qmin, qmax] = scale_range(f);
    if (f.symmetric) return {std::max(std::max(-r.low, r.high), smallest) / static_cast<float>(qmax), 0};
    float width = r.high - r.low;
    if (!f.per_channel && width < same) {
      if (-same <= r.low && r.low <= same) return {1, 0};
      return r.low > 0 ? qparams{r.low, 0} : qparams{-r.low, qmax};
    }
    if (r.low > 0) width = r.high;
    if (r.high < 0) width = -r.low;
    const float scale = std::max(width, smallest) / static_cast<float>(qmax - qmin);
    const double zero = detail::round_half_even(static_cast<float>(qmin) - r.low / scale);
    return {scale, static_cast<std::int32_t>(std::clamp(zero, static_cast<double>(qmin), static_cast<double>(qmax)))};
  }
};

/// `Convention` with scales rounded up to powers of two. Then x / scale is exact, and all engines compute the same
/// codes.
template <class Convention>
struct power_of_two {
  /// How codes are computed from a scale.
  static constexpr kernel::scaling by = Convention::by;
  /// Codes that a range maps to.
  static constexpr kernel::code_range scale_range(int_spec f) { return Convention::scale_range(f); }

  /// Scale and zero point of a range. The zero point is recomputed from the rounded scale.
  static constexpr qparams compute_qparams(int_spec f, range r, float min_real_range = 0) {
    qparams p = Convention::compute_qparams(f, r, min_real_range);
    constexpr std::uint32_t mantissa = 0x7fffff;
    const auto bits = std::bit_cast<std::uint32_t>(p.scale);
    p.scale = std::bit_cast<float>((bits + mantissa) & ~mantissa);
    if (!f.symmetric) {
      const auto [qmin, qmax] = scale_range(f);
      p.zero_point = static_cast<std::int32_t>(
          detail::round_half_even(static_cast<float>(qmin) - std::min(r.low, 0.0f) / p.scale));
    }
    return p;
  }
};

}  // namespace conventions

}  // namespace qwq
