// SPDX-License-Identifier: Apache-2.0
// Defines `square_root`, for constants of graphs at compile time.
#pragma once

namespace qwq {

/// Square root of a non-negative number, 0 for negative ones; the error is at most one ulp. (std::sqrt is not constexpr
/// in C++20.)
constexpr double square_root(double x) {
  if (x <= 0) return 0;
  double r = x > 1 ? x : 1;
  for (double before = 0; r != before;) {  // Newton's method from above decreases until it converges or alternates
    before = r;
    const double next = 0.5 * (r + x / r);
    if (next >= r) break;
    r = next;
  }
  return r;
}

}  // namespace qwq
