// SPDX-License-Identifier: Apache-2.0
// Rules about normalization.
#pragma once

#include "qwq/core/math.hpp"
#include "qwq/rewrite/rule.hpp"

namespace qwq::rules {

namespace detail {
/// A weight leaf like `of`, read `factor` times as large.
constexpr expr scaled_weight(builder& b, const node& of, double factor) {
  const expr scaled = leaf_like(b, of, of.type);
  if (scaled.ok()) b[scaled.id].attr.value = of.attr.value * factor;
  return scaled;
}
}  // namespace detail

/// x * rsqrt(mean(x * x) + eps) * w  =  rms_norm(x, w, eps)
inline constexpr rule fuse_rms_norm{"fuse_rms_norm", var('x') * rsqrt(mean(var('x') * var('x')) + var('e')) * var('w'),
                                    [](match& m) { return rms_norm(m[var('x')], m[var('w')], m(var('e')).attr.value); },
                                    [](const match& m) {
                                      return m(var('e')).kind == op::splat &&
                                             m(var('w')).dims() == shape{m(var('x')).dims().last()};
                                    }};

/// With n channels, x / sqrt(mean(x^2) + eps) = sqrt(n) * x / sqrt(sum(x^2) + n * eps): the L2 normalization of x with
/// one more channel that holds sqrt(n * eps). So the epsilon stays exact for targets whose only norm is
/// LpNormalization. sqrt(n) goes into the gain.
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
    [](const match& m) { return m(var('w')).kind == op::weight; }};

}  // namespace qwq::rules
