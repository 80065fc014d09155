// SPDX-License-Identifier: Apache-2.0
// Fusions: rules that a session applies last, for the same values in fewer passes over memory.
#pragma once

#include "qwq/rules/epilogue.hpp"
#include "qwq/rules/mlp.hpp"

namespace qwq::rules {

/// The norm and the rotation of each head of queries or keys.
inline constexpr rule fuse_qk_norm_rope{
    "fuse_qk_norm_rope", rope(rms_norm(var('x'), var('w')).as('n'), var('c'), var('s'), var('p')),
    [](match& m) {
      return norm_rope(m[var('x')], m[var('w')], m[var('c')], m[var('s')], m[var('p')], m(var('n')).attr.value);
    },
    [](const match& m) { return m(var('n')).slot < 0 && m.root().slot < 0; }};

/// Every fusion, each on unless a target is taken `without` it.
inline constexpr rule fuse[] = {
    fuse_silu,           fuse_swiglu,        fuse_qk_norm_rope, fuse_norm_fake_quant, fuse_swiglu_fake_quant,
    fuse_add_fake_quant, fuse_mul_fake_quant};

}  // namespace qwq::rules
