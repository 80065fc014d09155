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

/// Gate and up in one step: their products are put together while they are in cache.
inline constexpr rule fuse_gate_up{
    "fuse_gate_up", swiglu(linear(var('x'), var('g')), linear(var('x'), var('u'))),
    [](match& m) { return gated_linear(m[var('x')], m[var('g')], m[var('u')]); }};

/// A product that is added to what went around it.
inline constexpr rule fuse_residual{
    "fuse_residual", linear(var('x'), var('w')).as('y') + var('r'),
    [](match& m) { return linear_add(m[var('x')], m[var('w')], m[var('r')]); },
    [](const match& m) { return m(var('r')).type == m(var('y')).type; }};

/// Every fusion, each on unless a target is taken `without` it.
inline constexpr rule fuse[] = {
    fuse_silu,           fuse_swiglu,         fuse_gate_up,           fuse_residual,
    fuse_qk_norm_rope,   fuse_norm_fake_quant, fuse_swiglu_fake_quant, fuse_add_fake_quant,
    fuse_mul_fake_quant, fuse_linear_fake_quant, fuse_gated_fake_quant};

}  // namespace qwq::rules
