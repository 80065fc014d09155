// SPDX-License-Identifier: Apache-2.0
// Typed values and parameters: what layers accept and return. The element type is part of the C++ type.
#pragma once

#include <string_view>

#include "qwq/graph/builder.hpp"

namespace qwq {

/// An activation whose element type is `T`. Float layers take `value<dtype::f32>`; integer codes come from
/// `quantize` and must pass `dequantize` before a float layer reads them.
template <dtype T>
struct value : expr {
  static constexpr dtype type = T;
  constexpr explicit value(expr e) : expr(e) {}  ///< A value that is known to be of this type.
};

/// A checkpoint tensor of `Rows` x `Cols` elements ([out, in]) stored as `T`.
template <dtype T, std::int64_t Rows, std::int64_t Cols>
struct parameter : expr {
  static constexpr dtype type = T;
  constexpr explicit parameter(expr e) : expr(e) {}  ///< A value that is known to be of this type.
};

template <class V>
concept float_value = requires {
  V::type;
}
&&is_plain_float(V::type);
template <class V>
concept quantized_value = requires {
  V::type;
}
&&!is_plain_float(V::type);

/// Boundary into integers: codes of type `T` with the parameters of `slot`.
template <dtype T>
constexpr value<T> quantize(value<dtype::f32> x, std::int16_t slot) {
  static_assert(!is_plain_float(T), "qwq::quantize<T>(x, slot) requires T to be an integer type");
  const value<T> codes{apply(op::quantize, {.value = 0, .ints = {}, .type = {T, {}}}, x)};
  if (codes.ok()) (*codes.b)[codes.id].slot = slot;
  return codes;
}

/// Boundary back to floats, with the parameters that the codes were made with.
template <quantized_value V>
constexpr value<dtype::f32> dequantize(V codes) {
  const value<dtype::f32> x{apply(op::dequantize, {}, codes)};
  if (x.ok()) (*x.b)[x.id].slot = codes.definition().slot;
  return x;
}

/// Enters a module for the life of the object: nodes and weights made meanwhile carry its name.
class in_module {
 public:
  /// Enters `name` inside the builder's module.
  constexpr in_module(builder& b, std::string_view name) : b_(b), outer_(b.module) {
    if (!b.module.empty()) b.module.append(".");
    b.module.append(name);
  }
  constexpr ~in_module() { b_.module = outer_; }
  in_module(const in_module&) = delete;
  in_module& operator=(const in_module&) = delete;

  /// Full name of a tensor of the module: "self_attn.q_proj.weight".
  constexpr fixed_string<95> tensor(std::string_view name) const {
    return fixed_string<95>{b_.module}.append(".").append(name);
  }

 private:
  builder& b_;
  fixed_string<95> outer_;
};

}  // namespace qwq
