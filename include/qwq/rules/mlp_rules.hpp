// SPDX-License-Identifier: Apache-2.0
// Defines rules on the activation functions of MLPs: SiLU and SwiGLU.
#pragma once

#include "qwq/rewrite/rule.hpp"

namespace qwq::rules {

/// x * sigmoid(x) = silu(x)
inline constexpr rule fuse_silu{"fuse_silu", var('x') * sigmoid(var('x')), [](match& m) { return silu(m[var('x')]); }};

/// silu(gate) * up = swiglu(gate, up)
inline constexpr rule fuse_swiglu{
    "fuse_swiglu", silu(var('g')) * var('u'), [](match& m) { return swiglu(m[var('g')], m[var('u')]); },
    [](const match& m) { return require(m(var('g')).dims() == m(var('u')).dims(), "gate and up differ in shape"); }};

/// silu(x) = x * sigmoid(x), for targets without SiLU.
inline constexpr rule split_silu{"split_silu", silu(var('x')), [](match& m) {
                                   const expr x = m[var('x')];
                                   return x * sigmoid(x);
                                 }};

}  // namespace qwq::rules
