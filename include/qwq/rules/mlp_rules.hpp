// SPDX-License-Identifier: Apache-2.0
// Rules about gated MLPs.
#pragma once

#include "qwq/rewrite/rule.hpp"

namespace qwq::rules {

/// x * sigmoid(x) = silu(x)
inline constexpr rule fuse_silu{"fuse_silu", var('x') * sigmoid(var('x')), [](match& m) { return silu(m[var('x')]); }};

/// silu(gate) * up = swiglu(gate, up)
inline constexpr rule fuse_swiglu{"fuse_swiglu", silu(var('g')) * var('u'),
                                  [](match& m) { return swiglu(m[var('g')], m[var('u')]); },
                                  [](const match& m) { return m(var('g')).dims() == m(var('u')).dims(); }};

/// silu(x) = x * sigmoid(x), for targets without SiLU.
inline constexpr rule split_silu{"split_silu", silu(var('x')), [](match& m) {
                                   const expr x = m[var('x')];
                                   return x * sigmoid(x);
                                 }};

}  // namespace qwq::rules
