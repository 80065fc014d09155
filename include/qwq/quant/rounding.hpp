// SPDX-License-Identifier: Apache-2.0
// Defines multiplication and rounding that give the same bits on every machine.
#pragma once

#include <cmath>

namespace qwq::detail {

/// a * b, rounded to f32 before any addition. Compilers may contract a multiplication and an addition into one FMA if
/// the hardware has it (g++ does by default), which rounds once and gives different bits. An FMA that adds -0 equals
/// the product and cannot be contracted again.
inline float product(float a, float b) {
#ifdef FP_FAST_FMAF
  return std::fma(a, b, -0.0f);
#else
  return a * b;
#endif
}

/// Nearest integer, halves to even, for |x| < 2^51.
constexpr double round_half_even(double x) {
  constexpr double shift = 0x1.8p52;  // at this magnitude f64 values are integers
  return (x + shift) - shift;
}

}  // namespace qwq::detail
