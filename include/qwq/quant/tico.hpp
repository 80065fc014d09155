// SPDX-License-Identifier: Apache-2.0
// TICO's convention for scale and zero point, and scales that are powers of two.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <string>

#include "qwq/quant/params.hpp"

namespace qwq {

namespace conventions {

/// The convention of Samsung's TICO (wrapq's affine observers, and torch.fake_quantize_*): everything in f32. It knows
/// neither reduced ranges nor a smallest range.
struct tico {
  static constexpr kernel::scaling by = kernel::scaling::multiply;

  /// The codes that a range is spread over. Symmetric formats are signed, and clip to the code -qmax - 1 all the same.
  static constexpr kernel::code_range scale_range(int_spec f) {
    const auto [low, high] = detail::codes_of(f.type);
    if (!f.symmetric) return {low, high};
    if (!is_signed(f.type))
      throw error("integer format: expected a signed type in a symmetric format, found " + std::string(name(f.type)));
    return {-high, high};
  }

  /// Scale and zero point. An asymmetric range is widened to hold 0, unless it is that of one value: then its code is
  /// exact. Throws `error` when an end is not finite or low > high.
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

/// `Convention` with scales rounded up to powers of two: x / scale is then exact, so that all engines agree on every
/// code however they compute it.
template <class Convention>
struct power_of_two {
  static constexpr kernel::scaling by = Convention::by;
  static constexpr kernel::code_range scale_range(int_spec f) { return Convention::scale_range(f); }

  /// Scale and zero point of a range, as TICO computes them.
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
