// SPDX-License-Identifier: Apache-2.0
// Roundings that must give the same bits on every machine.
#pragma once

#include <cmath>

namespace qwq::detail {

/// a * b, rounded to f32 before anything is added to it. A compiler may contract a product and a sum into one fused
/// operation when the machine has it (g++ does by default), which rounds once and gives other bits; a fused operation
/// that adds -0 is the product itself, and is never contracted again.
inline float product(float a, float b) {
#ifdef FP_FAST_FMAF
  return std::fma(a, b, -0.0f);
#else
  return a * b;
#endif
}

/// Nearest integer, halves to even, for |x| < 2^51.
constexpr double round_half_even(double x) {
  constexpr double shift = 0x1.8p52;  // at this magnitude the f64 grid is the integers
  return (x + shift) - shift;
}

}  // namespace qwq::detail
