// SPDX-License-Identifier: Apache-2.0
// Defines `value` and `parameter`, values whose element type is part of the C++ type, as layers accept and return them.
#pragma once

#include <string_view>

#include "qwq/graph/builder.hpp"

namespace qwq {

/// An activation with element type `T`. Float layers accept `value<dtype::f32>`; integer codes are results of
/// `quantize` and must be dequantized with `dequantize` before a float layer.
template <dtype T>
struct value : expr {
  static constexpr dtype type = T;               ///< Element type of the value.
  constexpr explicit value(expr e) : expr(e) {}  ///< Wraps `e`, which must have element type `T`.
};

/// A checkpoint tensor of `Rows` x `Cols` elements ([out, in]) stored as `T`.
template <dtype T, std::int64_t Rows, std::int64_t Cols>
struct parameter : expr {
  static constexpr dtype type = T;                   ///< Element type of the stored tensor.
  constexpr explicit parameter(expr e) : expr(e) {}  ///< Wraps `e`, which must have this type and shape.
};

/// A value or parameter with floats.
template <class V>
concept float_value = requires {
  V::type;
}
&&is_plain_float(V::type);
/// A value or parameter with integer codes.
template <class V>
concept quantized_value = requires {
  V::type;
}
&&!is_plain_float(V::type);

/// Quantizes x to codes of type `T` with the parameters of `slot`.
template <dtype T>
constexpr value<T> quantize(value<dtype::f32> x, std::int16_t slot) {
  static_assert(!is_plain_float(T), "qwq::quantize<T>(x, slot) requires T to be an integer type");
  const value<T> codes{apply(op::quantize, {.value = 0, .ints = {}, .type = {T, {}}}, x)};
  if (codes.ok()) (*codes.b)[codes.id].slot = slot;
  return codes;
}

/// Dequantizes codes with the parameters of their slot.
template <quantized_value V>
constexpr value<dtype::f32> dequantize(V codes) {
  const value<dtype::f32> x{apply(op::dequantize, {}, codes)};
  if (x.ok()) (*x.b)[x.id].slot = codes.definition().slot;
  return x;
}

/// Scope guard that enters a module: nodes and weights appended during its lifetime carry the module's name.
class in_module {
 public:
  /// Enters module `name` inside the builder's current module.
  constexpr in_module(builder& b, std::string_view name) : b_(b), outer_(b.module) {
    if (!b.module.empty()) b.module.append(".");
    b.module.append(name);
  }
  /// Returns to the outer module.
  constexpr ~in_module() { b_.module = outer_; }
  in_module(const in_module&) = delete;
  in_module& operator=(const in_module&) = delete;

  /// Full name of a tensor in the module: "self_attn.q_proj.weight".
  constexpr fixed_string<95> tensor(std::string_view name) const {
    return fixed_string<95>{b_.module}.append(".").append(name);
  }

 private:
  builder& b_;
  fixed_string<95> outer_;
};

}  // namespace qwq
