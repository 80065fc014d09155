// SPDX-License-Identifier: Apache-2.0
// Defines elementwise `add` and `multiply` of tensors with broadcasting.
#pragma once

#include <cstdint>
#include <span>

#include "qwq/core/fixed_vector.hpp"
#include "qwq/kernel/epilogue.hpp"
#include "qwq/kernel/simd.hpp"

namespace qwq::kernel {

/// An axis of a result and its strides in both operands.
struct broadcast_axis {
  // Extent, and element stride in operands a and b; 0 if the operand is repeated.
  std::int64_t extent = 1,  ///< Extent of the axis in the result.
      a = 0,                ///< Element stride in the first operand; 0 if repeated.
      b = 0;                ///< Element stride in the second operand; 0 if repeated.
};
/// Axes of a result, outermost first.
using broadcast_axes = fixed_vector<broadcast_axis, 5>;

/// Axes for operands of extents `a` and `b` and a result of extents `y`: as few as possible, outermost first. Missing
/// leading extents are 1.
constexpr broadcast_axes broadcast(std::span<const std::int64_t> y, std::span<const std::int64_t> a,
                                   std::span<const std::int64_t> b) {
  const auto extent = [&](std::span<const std::int64_t> x, std::size_t axis) {
    const std::size_t missing = y.size() - x.size();
    return axis < missing ? 1 : x[axis - missing];
  };
  broadcast_axes inward;  // innermost first
  std::int64_t next_a = 1, next_b = 1;
  for (std::size_t i = y.size(); i-- > 0;) {
    const std::int64_t in_a = extent(a, i), in_b = extent(b, i);
    const broadcast_axis axis{y[i], in_a == 1 ? 0 : next_a, in_b == 1 ? 0 : next_b};
    next_a *= in_a;
    next_b *= in_b;
    if (axis.extent == 1) continue;
    if (!inward.empty()) {
      broadcast_axis& inner = inward[inward.size() - 1];
      if (axis.a == inner.extent * inner.a && axis.b == inner.extent * inner.b) {
        inner.extent *= axis.extent;
        continue;
      }
    }
    inward.push_back(axis);
  }
  if (inward.empty()) inward.push_back({});
  broadcast_axes out;
  for (std::size_t i = inward.size(); i-- > 0;) out.push_back(inward[i]);
  return out;
}

namespace detail {

template <class Arch, class Count>
simd::batch<Arch> load_repeated(const float* x, std::int64_t stride, std::int64_t i, Count count) {
  return stride == 0 ? simd::batch<Arch>(*x) : simd::load<Arch>(x + i, count);
}

/// Fills y, dense, with f(a, b); returns its end.
template <class Arch, class F>
float* map_broadcast(float* y, const float* a, const float* b, std::span<const broadcast_axis> axes, F f) {
  const broadcast_axis& axis = axes[0];
  if (axes.size() > 1) {
    for (std::int64_t i = 0; i < axis.extent; ++i)
      y = map_broadcast<Arch>(y, a + i * axis.a, b + i * axis.b, axes.subspan(1), f);
    return y;
  }
  simd::strips<Arch>(axis.extent, [&](std::int64_t i, auto count) {
    const auto u = load_repeated<Arch>(a, axis.a, i, count), v = load_repeated<Arch>(b, axis.b, i, count);
    simd::store<Arch>(y + i, f(u, v), count);
  });
  return y + axis.extent;
}

}  // namespace detail

/// y = epilogue(a + b), broadcast along `axes`; y is dense.
template <class Arch = xsimd::default_arch, class Epilogue = identity_epilogue>
void add(float* y, const float* a, const float* b, const broadcast_axes& axes, Epilogue epilogue = {}) {
  detail::map_broadcast<Arch>(y, a, b, {axes.begin(), axes.end()},
                              [epilogue](auto u, auto v) { return epilogue(u + v); });
}

/// y = epilogue(a * b), broadcast along `axes`; y is dense.
template <class Arch = xsimd::default_arch, class Epilogue = identity_epilogue>
void multiply(float* y, const float* a, const float* b, const broadcast_axes& axes, Epilogue epilogue = {}) {
  detail::map_broadcast<Arch>(y, a, b, {axes.begin(), axes.end()},
                              [epilogue](auto u, auto v) { return epilogue(u * v); });
}

}  // namespace qwq::kernel
