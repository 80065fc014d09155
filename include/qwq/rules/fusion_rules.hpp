// SPDX-License-Identifier: Apache-2.0
// Defines `fuse`, the fusions of a session's graph: the same values in fewer passes over memory.
#pragma once

#include "qwq/rules/epilogue_rules.hpp"
#include "qwq/rules/mlp_rules.hpp"

namespace qwq::rules {

/// Fuses RMSNorm of each query or key head with RoPE.
inline constexpr rule fuse_qk_norm_rope{
    "fuse_qk_norm_rope", rope(rms_norm(var('x'), var('w')).as('n'), var('c'), var('s')),
    [](match& m) { return norm_rope(m[var('x')], m[var('w')], m[var('c')], m[var('s')], m(var('n')).attr.value); },
    [](const match& m) {
      return require(m(var('n')).slot < 0 && m.root().slot < 0, "a fake_quant is fused in already");
    }};

/// Fuses the gate and up GEMMs with SwiGLU, so that SwiGLU reads both results from cache.
inline constexpr rule fuse_gate_up{"fuse_gate_up", swiglu(linear(var('x'), var('g')), linear(var('x'), var('u'))),
                                   [](match& m) { return linear_swiglu(m[var('x')], m[var('g')], m[var('u')]); }};

/// Fuses the residual addition into a linear.
inline constexpr rule fuse_residual{
    "fuse_residual", linear(var('x'), var('w')).as('y') + var('r'),
    [](match& m) { return linear_add(m[var('x')], m[var('w')], m[var('r')]); },
    [](const match& m) { return require(m(var('r')).type == m(var('y')).type, "the two summands differ in type"); }};

namespace detail {

/// Returns no refusal if the norm has at most four uses, each as the activation of a `linear` with a constant weight
/// and without bias or epilogue.
constexpr refusal is_read_by_products(const match& m) {
  if (m.uses() > 4) return "the norm has more than four readers";
  for (const node_id id : m.readers()) {
    if (id == no_node) return "the norm is an output of the graph";
    const node& n = m.graph()[id];
    if (n.kind != op::linear || n.args.size() != 2 || n.slot >= 0)
      return "a reader of the norm is no linear without bias and epilogue";
    if (!m.is_constant(m.argument(n, 1))) return "the matrix of a reader is computed";
  }
  return {};
}

}  // namespace detail

/// Fuses RMSNorm into the linears that use it; each row is normalized once, directly into the GEMM's input layout.
inline constexpr rule fuse_norm_linear{
    "fuse_norm_linear", rms_norm(var('x'), var('w')).as('n'),
    [](match& m) {
      builder& b = m.graph();
      const auto readers = m.readers();
      arguments weights;
      for (const node_id id : readers) weights.push_back(b[id].args[1]);  // at most four
      const expr made = norm_linear(m[var('x')], m[var('w')], weights, m.root().attr.value);
      for (std::size_t i = 0; i < readers.size() && made.ok(); ++i) {
        b.module = b[readers[i]].name;
        m.replace(readers[i], get_tuple_element(made, static_cast<std::int32_t>(i), b[readers[i]].type));
      }
      return m[var('n')];
    },
    detail::is_read_by_products};

/// fuse_gate_up for gate and up that are already results of one norm_linear.
inline constexpr rule fuse_norm_gate_up{
    "fuse_gate_up",
    swiglu(match_op(op::get_tuple_element, var('n')).as('g'), match_op(op::get_tuple_element, var('n')).as('u')),
    [](match& m) {
      const node n = m(var('n'));
      const auto argument = [&](std::int32_t i) { return expr{&m.graph(), n.args[static_cast<std::size_t>(i)]}; };
      const auto weight = [&](char of) { return argument(2 + m(var(of)).attr.ints[0]); };
      return get_tuple_element(norm_linear_swiglu(argument(0), argument(1), weight('g'), weight('u'), n.attr.value), 0,
                               m.root().type);
    },
    [](const match& m) {
      return require(m(var('n')).kind == op::norm_linear && m(var('n')).args.size() == 4,
                     "gate and up are not the two products of one norm_linear");
    }};

/// Fuses an addition and its RMSNorm into one pass, for additions that are not fused into a linear.
inline constexpr rule fuse_residual_norm{
    "fuse_residual_norm", rms_norm((var('a') + var('b')).as('s').shared(), var('w')),
    [](match& m) {
      builder& b = m.graph();
      const node norm = m.root();
      b.module = m(var('s')).name;
      const expr sum = add_norm(m[var('a')], m[var('b')], m[var('w')], norm.attr.value);
      m.replace(var('s'), sum);
      b.module = norm.name;
      return get_tuple_element(sum, 0, norm.type);
    },
    [](const match& m) {
      return require(m(var('a')).type == m(var('b')).type, "the two summands differ in type",
                     m.is_constant(m(var('w'))), "the gain is computed");
    }};

/// All fusions; `disable_fusions` omits some.
inline constexpr rule fuse[] = {fuse_silu,
                                fuse_swiglu,
                                fuse_gate_up,
                                fuse_residual,
                                fuse_qk_norm_rope,
                                fuse_norm_linear,
                                fuse_norm_gate_up,
                                fuse_residual_norm,
                                fuse_norm_fake_quant,
                                fuse_normed_fake_quant,
                                fuse_swiglu_fake_quant,
                                fuse_add_fake_quant,
                                fuse_mul_fake_quant,
                                fuse_linear_fake_quant,
                                fuse_gated_fake_quant};

}  // namespace qwq::rules
