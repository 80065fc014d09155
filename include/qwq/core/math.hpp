// SPDX-License-Identifier: Apache-2.0
// The little mathematics that constants of a graph need at compile time.
#pragma once

namespace qwq {

/// Square root of a non-negative number; correctly rounded or one ulp off (std::sqrt is not constexpr in C++20).
constexpr double square_root(double x) {
  if (x <= 0) return 0;
  double r = x > 1 ? x : 1;
  for (double before = 0; r != before;) {  // Newton from above falls until it stands still or alternates
    before = r;
    const double next = 0.5 * (r + x / r);
    if (next >= r) break;
    r = next;
  }
  return r;
}

}  // namespace qwq
