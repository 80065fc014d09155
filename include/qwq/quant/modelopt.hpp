// SPDX-License-Identifier: Apache-2.0
// Defines `conventions::modelopt` and `conventions::compressed_tensors`, the integer scales of Hugging Face checkpoints.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>

#include "qwq/quant/params.hpp"

namespace qwq {

namespace detail {
/// Largest magnitude in a range.
constexpr float absolute_max(range r) {
  require_finite(r);
  return std::max(-r.low, r.high);
}
/// Throws `error` for a format that has zero points or unsigned codes.
constexpr void require_symmetric(int_spec f) {
  if (!f.symmetric || !is_signed(f.type))
    throw error("integer format: expected symmetric codes of a signed type, found " + std::string(name(f.type)));
}
}  // namespace detail

namespace conventions {

/// The convention of NVIDIA ModelOpt's exported integer weights: scale = absmax / qmax in f32, with qmax = 2^(bits-1) - 1;
/// codes are round(x / scale), ties to even, clipped to all codes of the type. A tensor of zeros has scale 1.
struct modelopt {
  static constexpr kernel::scaling by = kernel::scaling::divide;

  /// The codes that a range is spread over.
  static constexpr kernel::code_range scale_range(int_spec f) {
    detail::require_symmetric(f);
    const auto [low, high] = qwq::detail::codes_of(f.type);
    return {-high, high};
  }
  /// Scale of a range; the zero point is 0. Throws `error` when an end is not finite or low > high.
  static constexpr qparams compute_qparams(int_spec f, range r, float /*min_real_range*/ = 0) {
    const float absmax = detail::absolute_max(r);
    return {absmax == 0 ? 1.0f : absmax / static_cast<float>(scale_range(f).max), 0};
  }
};

/// The convention of vLLM's compressed-tensors for f32 weights: the scale spreads [-absmax, absmax] over all codes, absmax
/// / (2^(bits-1) - 0.5). A tensor of zeros has the machine epsilon of f32 as its scale.
struct compressed_tensors {
  static constexpr kernel::scaling by = kernel::scaling::divide;

  /// The codes that a range is spread over: all of them.
  static constexpr kernel::code_range scale_range(int_spec f) {
    detail::require_symmetric(f);
    return qwq::detail::codes_of(f.type);
  }
  /// Scale of a range; the zero point is 0. Throws `error` when an end is not finite or low > high.
  static constexpr qparams compute_qparams(int_spec f, range r, float /*min_real_range*/ = 0) {
    const auto [low, high] = scale_range(f);
    const float scale = detail::absolute_max(r) / (static_cast<float>(high - low) / 2);
    return {scale == 0 ? std::numeric_limits<float>::epsilon() : scale, 0};
  }
};

}  // namespace conventions

}  // namespace qwq
