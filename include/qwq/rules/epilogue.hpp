// SPDX-License-Identifier: Apache-2.0
// Rules that give a step what is done to its result: the result is then stored once, on its slot's grid.
#pragma once

#include "qwq/rules/run.hpp"

namespace qwq::rules {

namespace detail {

/// `made`, which computes what the root's argument computed, with the root's slot.
constexpr expr with_root_slot(const match& m, expr made) { return with_slot(made, m.root().slot); }

}  // namespace detail

/// fake_quant(rms_norm(x, w)) in one step.
inline constexpr rule fuse_norm_fake_quant{
    "fuse_norm_fake_quant", match_op(op::fake_quant, rms_norm(var('x'), var('w')).as('n')),
    [](match& m) { return detail::with_root_slot(m, rms_norm(m[var('x')], m[var('w')], m(var('n')).attr.value)); }};

/// fake_quant(swiglu(gate, up)) in one step.
inline constexpr rule fuse_swiglu_fake_quant{
    "fuse_swiglu_fake_quant", match_op(op::fake_quant, swiglu(var('g'), var('u')).as('n')),
    [](match& m) { return detail::with_root_slot(m, swiglu(m[var('g')], m[var('u')])); }};

/// fake_quant(a + b) in one step.
inline constexpr rule fuse_add_fake_quant{
    "fuse_add_fake_quant", match_op(op::fake_quant, (var('a') + var('b')).as('n')),
    [](match& m) { return detail::with_root_slot(m, m[var('a')] + m[var('b')]); }};

/// fake_quant(a * b) in one step.
inline constexpr rule fuse_mul_fake_quant{
    "fuse_mul_fake_quant", match_op(op::fake_quant, (var('a') * var('b')).as('n')),
    [](match& m) { return detail::with_root_slot(m, m[var('a')] * m[var('b')]); }};

/// fake_quant(linear(x, w)) in one step.
inline constexpr rule fuse_linear_fake_quant{
    "fuse_linear_fake_quant", match_op(op::fake_quant, linear(var('x'), var('w')).as('n')),
    [](match& m) { return detail::with_root_slot(m, linear(m[var('x')], m[var('w')])); }};

/// fake_quant(gated_linear(x, gate, up)) in one step.
inline constexpr rule fuse_gated_fake_quant{
    "fuse_gated_fake_quant",
    match_op(op::fake_quant, match_op(op::gated_linear, var('x'), var('g'), var('u')).as('n')),
    [](match& m) { return detail::with_root_slot(m, gated_linear(m[var('x')], m[var('g')], m[var('u')])); }};

}  // namespace qwq::rules
