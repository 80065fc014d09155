// SPDX-License-Identifier: Apache-2.0
// Defines epilogue fusions: rules that fold fake_quant into the operator that produces its operand.
#pragma once

#include "qwq/rules/canonicalize_rules.hpp"

namespace qwq::rules {

namespace detail {

/// A rule that folds fake_quant into its operand `made`: the node of `made` gets the slot of the fake_quant, so its
/// result is stored once, already quantized.
constexpr rule fuse_fake_quant_into(std::string_view name, const pattern& made,
                                    refusal (*when)(const match&) = always) {
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

/// Folds fake_quant into rms_norm.
inline constexpr rule fuse_norm_fake_quant =
    detail::fuse_fake_quant_into("fuse_norm_fake_quant", rms_norm(var('x'), var('w')));
/// Folds fake_quant into the norm of an add_norm, which is a get_tuple_element node.
inline constexpr rule fuse_normed_fake_quant = detail::fuse_fake_quant_into(
    "fuse_norm_fake_quant", match_op(op::get_tuple_element, var('s')),
    [](const match& m) { return require(m(var('s')).kind == op::add_norm, "the result is not of add_norm"); });
/// Folds fake_quant into swiglu.
inline constexpr rule fuse_swiglu_fake_quant =
    detail::fuse_fake_quant_into("fuse_swiglu_fake_quant", swiglu(var('g'), var('u')));
/// Folds fake_quant into an addition.
inline constexpr rule fuse_add_fake_quant = detail::fuse_fake_quant_into("fuse_add_fake_quant", var('a') + var('b'));
/// Folds fake_quant into an elementwise multiplication.
inline constexpr rule fuse_mul_fake_quant = detail::fuse_fake_quant_into("fuse_mul_fake_quant", var('a') * var('b'));
/// Folds fake_quant into linear.
inline constexpr rule fuse_linear_fake_quant =
    detail::fuse_fake_quant_into("fuse_linear_fake_quant", linear(var('x'), var('w')));
/// Folds fake_quant into linear_swiglu.
inline constexpr rule fuse_gated_fake_quant =
    detail::fuse_fake_quant_into("fuse_gated_fake_quant", match_op(op::linear_swiglu, var('x'), var('g'), var('u')));

}  // namespace qwq::rules
