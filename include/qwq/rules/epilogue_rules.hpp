// SPDX-License-Identifier: Apache-2.0
// Rules that give a step what is done to its result: the result is then stored once, on its slot's grid.
#pragma once

#include "qwq/rules/canonicalize_rules.hpp"

namespace qwq::rules {

namespace detail {

/// fake_quant(made) in one step: the step that computes `made`, with the slot of what put it on a grid.
constexpr rule fuse_fake_quant_into(std::string_view name, const pattern& made, bool (*when)(const match&) = always) {
  return {name, match_op(op::fake_quant, made.as('n')),
          [](match& m) {
            node n = m(var('n'));
            n.slot = m.root().slot;
            n.made_by = m.graph().rule;
            return expr{&m.graph(), m.graph().append(n)};
          },
          when};
}

}  // namespace detail

/// fake_quant(rms_norm(x, w)) in one step.
inline constexpr rule fuse_norm_fake_quant = detail::fuse_fake_quant_into("fuse_norm_fake_quant", rms_norm(var('x'), var('w')));
/// The same for a norm that is a result of add_norm.
inline constexpr rule fuse_normed_fake_quant =
    detail::fuse_fake_quant_into("fuse_norm_fake_quant", match_op(op::get_tuple_element, var('s')),
                    [](const match& m) { return m(var('s')).kind == op::add_norm; });
/// fake_quant(swiglu(gate, up)) in one step.
inline constexpr rule fuse_swiglu_fake_quant = detail::fuse_fake_quant_into("fuse_swiglu_fake_quant", swiglu(var('g'), var('u')));
/// fake_quant(a + b) in one step.
inline constexpr rule fuse_add_fake_quant = detail::fuse_fake_quant_into("fuse_add_fake_quant", var('a') + var('b'));
/// fake_quant(a * b) in one step.
inline constexpr rule fuse_mul_fake_quant = detail::fuse_fake_quant_into("fuse_mul_fake_quant", var('a') * var('b'));
/// fake_quant(linear(x, w)) in one step.
inline constexpr rule fuse_linear_fake_quant = detail::fuse_fake_quant_into("fuse_linear_fake_quant", linear(var('x'), var('w')));
/// fake_quant(linear_swiglu(x, gate, up)) in one step.
inline constexpr rule fuse_gated_fake_quant =
    detail::fuse_fake_quant_into("fuse_gated_fake_quant", match_op(op::linear_swiglu, var('x'), var('g'), var('u')));

}  // namespace qwq::rules
