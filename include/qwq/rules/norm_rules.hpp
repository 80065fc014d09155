// SPDX-License-Identifier: Apache-2.0
// Defines rules on RMSNorm: its fusion, and its decomposition into an L2 norm.
#pragma once

#include "qwq/core/math.hpp"
#include "qwq/rewrite/rule.hpp"

namespace qwq::rules {

namespace detail {
/// Returns no refusal if `x` is f32. Constants that rules create are f32, so their operands must be, too.
constexpr refusal is_f32(const match& m, const pattern& x) {
  return require(m(x).type.type == dtype::f32, "the operand is not f32");
}
/// A copy of weight leaf `of` with its multiplier scaled by `factor`.
constexpr expr scaled_weight(builder& b, const node& of, double factor) {
  const expr scaled = leaf_like(b, of, of.type);
  if (scaled.ok()) b[scaled.id].attr.value = of.attr.value * factor;
  return scaled;
}
}  // namespace detail

/// x * rsqrt(mean(x * x) + eps) * w  =  rms_norm(x, w, eps)
inline constexpr rule fuse_rms_norm{
    "fuse_rms_norm", var('x') * rsqrt(mean(var('x') * var('x')) + var('e')) * var('w'),
    [](match& m) { return rms_norm(m[var('x')], m[var('w')], m(var('e')).attr.value); },
    [](const match& m) {
      return require(m(var('e')).kind == op::splat && m(var('e')).dims().elements() == 1, "epsilon is no number",
                     m(var('w')).dims() == shape{m(var('x')).dims().last()}, "the gain is no vector of the last axis");
    }};

/// With n channels, x / sqrt(mean(x^2) + eps) = sqrt(n) * x / sqrt(sum(x^2) + n * eps): the L2 normalization of x with
/// one additional channel that holds sqrt(n * eps). The epsilon is exact, also for targets whose only norm is
/// LpNormalization. The gain is multiplied by sqrt(n).
inline constexpr rule norm_to_lp_norm{
    "norm_to_lp_norm", rms_norm(var('x'), var('w')),
    [](match& m) {
      const expr x = m[var('x')];
      const double n = static_cast<double>(x.dims().last().extent);
      tensor_type one_channel{dtype::f32, x.dims()};
      one_channel.dims[one_channel.dims.size() - 1] = dim{1};
      const expr epsilon = leaf(m.graph(), op::splat, "epsilon", one_channel, square_root(n * m.root().attr.value));
      const expr unit = slice(lp_norm(concat(x, epsilon)), 0, static_cast<std::int32_t>(n));
      return unit * detail::scaled_weight(m.graph(), m(var('w')), square_root(n));
    },
    [](const match& m) {
      return require(detail::is_f32(m, var('x')), m(var('w')).kind == op::weight, "the gain is no weight");
    }};

}  // namespace qwq::rules
