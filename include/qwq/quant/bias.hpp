// SPDX-License-Identifier: Apache-2.0
// int32 biases, as onnxruntime's QDQ quantizer writes them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <string_view>

#include "qwq/core/error.hpp"
#include "qwq/quant/finite.hpp"

namespace qwq {

/// The scale of an int32 bias, which has no choice: accumulators of x * w are in steps of it.
inline float bias_scale(float input_scale, float weight_scale, float beta = 1) {
  return input_scale * weight_scale * beta;
}

/// The weight scale to use so that `magnitude`, the largest |bias| that shares the scale, fits int32: `weight_scale`
/// itself, or a larger one. onnxruntime does it for int8 and int16 weights with zero point 0. With a scale per channel
/// it takes the margin of 1.0001 in f32, with one per tensor in f64.
inline float weight_scale_for_bias(float input_scale, float weight_scale, float magnitude, bool per_channel) {
  constexpr double codes = 2.0 * std::numeric_limits<std::int32_t>::max();
  const float width = 2 * magnitude;
  const double with_margin = per_channel ? static_cast<double>(1.0001f * width) : 1.0001 * static_cast<double>(width);
  const double needed = with_margin / codes;
  const double planned = static_cast<double>(input_scale) * static_cast<double>(weight_scale);
  if (!(planned > 0 && planned < needed)) return weight_scale;
  return static_cast<float>(static_cast<double>(weight_scale) * (needed / planned));
}

/// codes = clip(round(bias / scale)), halves to even, in f64. `scales` has one element, or one for each bias. Throws
/// `error` at NaN and infinity; `tensor` is the bias' name in messages.
inline void quantize_bias(std::span<std::int32_t> codes, std::span<const float> bias, std::span<const float> scales,
                          std::string_view tensor) {
  if (!detail::all_finite(bias)) throw error(std::string(tensor) + ": expected finite values, found NaN or infinity");
  constexpr double low = std::numeric_limits<std::int32_t>::min();
  constexpr double high = std::numeric_limits<std::int32_t>::max();
  for (std::size_t i = 0; i < bias.size(); ++i) {
    const float scale = scales[scales.size() == 1 ? 0 : i];
    const double code = std::nearbyint(static_cast<double>(bias[i]) / static_cast<double>(scale));
    codes[i] = static_cast<std::int32_t>(std::clamp(code, low, high));
  }
}

}  // namespace qwq
