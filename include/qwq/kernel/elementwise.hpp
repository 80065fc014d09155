// SPDX-License-Identifier: Apache-2.0
// Defines elementwise kernels: activation functions and conversions. The output can be one of the inputs.
#pragma once

#include "qwq/core/view.hpp"
#include "qwq/kernel/epilogue.hpp"
#include "qwq/kernel/simd_exp.hpp"

namespace qwq::kernel {

namespace detail {

template <class Arch, class F>
[[gnu::always_inline]] inline void map(std::span<float> y, F&& f) {
  simd::strips<Arch>(static_cast<std::int64_t>(y.size()),
                     [&](std::int64_t i, auto count) { simd::store<Arch>(y.data() + i, f(i, count), count); });
}

template <class Arch>
simd::batch<Arch> one_plus_exp_minus(simd::batch<Arch> x) {
  return simd::batch<Arch>(1.0f) + simd::exp<Arch>(-x);
}

}  // namespace detail

/// y = 1 / sqrt(x); both operations are rounded.
template <class Arch = xsimd::default_arch>
void rsqrt(std::span<float> y, std::span<const float> x) {
  detail::map<Arch>(y, [&](std::int64_t i, auto count) {
    return simd::batch<Arch>(1.0f) / xsimd::sqrt(simd::load<Arch>(x.data() + i, count));
  });
}

/// y = x * factor
template <class Arch = xsimd::default_arch>
void scale(std::span<float> y, std::span<const float> x, float factor) {
  detail::map<Arch>(
      y, [&](std::int64_t i, auto count) { return simd::load<Arch>(x.data() + i, count) * simd::batch<Arch>(factor); });
}

/// y = 1 / (1 + exp(-x))
template <class Arch = xsimd::default_arch>
void sigmoid(std::span<float> y, std::span<const float> x) {
  detail::map<Arch>(y, [&](std::int64_t i, auto count) {
    return simd::batch<Arch>(1.0f) / detail::one_plus_exp_minus<Arch>(simd::load<Arch>(x.data() + i, count));
  });
}

/// y = x / (1 + exp(-x)); NaN for -inf.
template <class Arch = xsimd::default_arch>
void silu(std::span<float> y, std::span<const float> x) {
  detail::map<Arch>(y, [&](std::int64_t i, auto count) {
    const auto v = simd::load<Arch>(x.data() + i, count);
    return v / detail::one_plus_exp_minus<Arch>(v);
  });
}

/// y = silu(gate) * up, passed through `epilogue`.
template <class Arch = xsimd::default_arch, class Epilogue = identity_epilogue>
void swiglu(std::span<float> y, std::span<const float> gate, std::span<const float> up, Epilogue epilogue = {}) {
  detail::map<Arch>(y, [&](std::int64_t i, auto count) {
    const auto v = simd::load<Arch>(gate.data() + i, count);
    return epilogue(v / detail::one_plus_exp_minus<Arch>(v) * simd::load<Arch>(up.data() + i, count));
  });
}

/// Converts between f32 and f16 or bf16; rounds half to even. The spans must not overlap.
template <class Arch = xsimd::default_arch, class To, class From>
void convert(std::span<To> y, std::span<From> x) {
  static_assert(std::is_same_v<To, float> || std::is_same_v<std::remove_const_t<From>, float>,
                "one side of a conversion is f32");
  simd::strips<Arch>(static_cast<std::int64_t>(y.size()), [&](std::int64_t i, auto count) {
    simd::store<Arch>(y.data() + i, simd::load<Arch>(x.data() + i, count), count);
  });
}

}  // namespace qwq::kernel
