// SPDX-License-Identifier: Apache-2.0
// Defines rules on layouts: linear as 1x1 convolution, and reshapes that merge, cancel or sink.
#pragma once

#include "qwq/rewrite/rule.hpp"

namespace qwq::rules {

namespace detail {

/// [1,1,S,H] -> [1,S,H]
constexpr bool is_squeeze(const shape& from, const shape& to) {
  if (from.size() != 4 || to.size() != 3 || from[0] != dim{1} || from[1] != dim{1}) return false;
  return to[0] == dim{1} && from[2] == to[1] && from[3] == to[2];
}

/// [1,S,H] -> [1,1,S,H]
constexpr expr unsqueeze(expr x) { return reshape(x, {1, 1, x.dims()[1], x.dims()[2]}); }
/// [1,1,S,H] -> [1,S,H]
constexpr expr squeeze(expr x) { return reshape(x, {1, x.dims()[2], x.dims()[3]}); }

/// Returns no refusal if the reshape 's' of 'x' is a squeeze.
constexpr refusal reads_squeeze(const match& m) {
  return require(is_squeeze(m(var('x')).dims(), m(var('s')).dims()), "the reshape takes no axis of 1 away in front");
}

/// A reshape 's' of 'x', which may have other uses.
inline constexpr pattern squeezed = reshape(var('x')).as('s').shared();

}  // namespace detail

/// linear(x, W) as a 1x1 convolution over [1,K,1,S], the fastest form on NPUs. W keeps its bytes; its shape changes
/// from [N,K] to [N,K,1,1].
inline constexpr rule linear_to_conv1x1{
    "linear_to_conv1x1", linear(var('x'), var('w')),
    [](match& m) {
      const node& w = m(var('w'));
      const expr kernel = leaf_like(m.graph(), w, {w.type.type, {w.dims()[0], w.dims()[1], 1, 1}});
      const expr x = transpose(detail::unsqueeze(m[var('x')]), {{0, 3, 1, 2}, 4});
      return detail::squeeze(transpose(conv1x1(x, kernel), {{0, 2, 3, 1}, 4}));
    },
    [](const match& m) {
      return require(m(var('w')).kind == op::weight, "the matrix is no weight", m(var('x')).dims().size() == 3,
                     "the activations are not of rank 3", m(var('x')).dims()[0] == dim{1}, "there is a batch",
                     m.root().type.type == m(var('x')).type.type, "the result has another type than the activations");
    }};

/// reshape(reshape(x)) = reshape(x).
inline constexpr rule merge_reshapes{"merge_reshapes", reshape(reshape(var('x')).shared()),
                                     [](match& m) { return reshape(m[var('x')], m.root().dims()); }};

/// reshape(x) = x, if the shape does not change.
inline constexpr rule drop_reshape{
    "drop_reshape", reshape(var('x')), [](match& m) { return m[var('x')]; },
    [](const match& m) { return require(m(var('x')).dims() == m.root().dims(), "the reshape changes the shape"); }};

/// reshape(splat) = a splat of the new shape.
inline constexpr rule reshape_fill{
    "reshape_fill", reshape(var('x')),
    [](match& m) {
      const node& f = m(var('x'));
      return leaf_like(m.graph(), f, {f.type.type, m.root().dims()});
    },
    [](const match& m) { return require(m(var('x')).kind == op::splat, "the value is no fill"); }};

// Squeezes sink below operators that work on either rank, until they meet an unsqueeze and cancel.

/// squeeze(x) + y = squeeze(x + unsqueeze(y))
inline constexpr rule sink_squeeze_add{
    "sink_squeeze_add", detail::squeezed + var('y'),
    [](match& m) { return detail::squeeze(m[var('x')] + detail::unsqueeze(m[var('y')])); },
    [](const match& m) {
      return require(detail::reads_squeeze(m), m(var('y')).dims() == m(var('s')).dims(),
                     "the other operand has another shape");
    }};

/// squeeze(x) * y = squeeze(x * unsqueeze(y)); a vector y is not reshaped.
inline constexpr rule sink_squeeze_mul{
    "sink_squeeze_mul", detail::squeezed* var('y'),
    [](match& m) {
      const expr y = m[var('y')];
      return detail::squeeze(m[var('x')] * (y.dims().size() == 1 ? y : detail::unsqueeze(y)));
    },
    [](const match& m) {
      const shape& y = m(var('y')).dims();
      return require(detail::reads_squeeze(m), y.size() == 1 || y == m(var('s')).dims(),
                     "the other operand has another shape and is no vector");
    }};

/// sigmoid(squeeze(x)) = squeeze(sigmoid(x))
inline constexpr rule sink_squeeze_sigmoid{"sink_squeeze_sigmoid", sigmoid(detail::squeezed),
                                           [](match& m) { return detail::squeeze(sigmoid(m[var('x')])); },
                                           detail::reads_squeeze};

/// lp_norm(squeeze(x)) = squeeze(lp_norm(x))
inline constexpr rule sink_squeeze_lp_norm{"sink_squeeze_lp_norm", lp_norm(detail::squeezed),
                                           [](match& m) { return detail::squeeze(lp_norm(m[var('x')])); },
                                           detail::reads_squeeze};

/// slice(squeeze(x)) = squeeze(slice(x)), with the axis shifted by one
inline constexpr rule sink_squeeze_slice{"sink_squeeze_slice", slice(detail::squeezed),
                                         [](match& m) {
                                           const auto range = m.root().attr.ints;
                                           return detail::squeeze(slice(m[var('x')], range[0], range[1], range[2] + 1));
                                         },
                                         detail::reads_squeeze};

/// concat(squeeze(x), y) = squeeze(concat(x, unsqueeze(y)))
inline constexpr rule sink_squeeze_concat{
    "sink_squeeze_concat", concat(detail::squeezed, var('y')),
    [](match& m) {
      return detail::squeeze(concat(m[var('x')], detail::unsqueeze(m[var('y')]), m.root().attr.ints[0] + 1));
    },
    [](const match& m) {
      return require(detail::reads_squeeze(m), m.root().attr.ints[0] > 0, "the concatenation is along the first axis");
    }};

}  // namespace qwq::rules
