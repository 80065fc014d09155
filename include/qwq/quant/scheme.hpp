// SPDX-License-Identifier: Apache-2.0
// Quantization schemes: which formats weights and activations get, as types.
#pragma once

#include <concepts>
#include <string_view>

#include "qwq/quant/block_weight.hpp"
#include "qwq/quant/quant_spec.hpp"

namespace qwq {

/// A quantization scheme: a name, and the spec of what it quantizes. One that quantizes also names the formats of
/// weights (one, or for `mixed` several) and, unless it leaves them in float, of activations, which carry the convention
/// for scale and zero_point.
template <class S>
concept quantization_scheme = requires {
  { S::name } -> std::convertible_to<std::string_view>;
  { S::spec } -> std::convertible_to<quant_spec>;
}
&&(
    !S::spec.quantizes() || requires { typename S::weight_format; } || requires { typename S::weight_formats; }) &&
    (!S::spec.quantizes_activations() || requires { typename S::activation_format; });

/// Nothing is quantized.
struct f32 {
  static constexpr std::string_view name = "f32";
  static constexpr quant_spec spec{};
};

/// Integer weights and activations with ONNX Runtime's conventions: weights symmetric, activations asymmetric.
template <dtype Weight, dtype Activation, quant_scope Scope = quant_scope::matmuls>
struct integer_scheme {
  static_assert(Weight == dtype::i8, "qwq: integer_scheme<Weight, Activation> has kernels and packings for i8 weights");
  static_assert(Activation == dtype::u8 || Activation == dtype::u16,
                "qwq: integer_scheme<Weight, Activation> requires Activation to be u8 or u16");
  using weight_format = int_format<Weight, true>;
  using activation_format = int_format<Activation, false>;
  static constexpr quant_spec spec{activation_format::value, weight_format::value, Scope};
};

/// int8 weights, uint16 activations around the products. The residual stream of Qwen3 has a few channels hundreds of
/// times larger than the others: in 16 bits those others keep eight, so it stays in float.
struct w8a16 : integer_scheme<dtype::i8, dtype::u16> {
  static constexpr std::string_view name = "w8a16";
};
/// w8a16 on every edge, for machines that compute in integers only: what ONNX Runtime's get_qdq_config makes of the
/// graph.
struct w8a16_full : integer_scheme<dtype::i8, dtype::u16, quant_scope::all> {
  static constexpr std::string_view name = "w8a16_full";
};
/// int8 weights, uint8 activations around the products.
struct w8a8 : integer_scheme<dtype::i8, dtype::u8> {
  static constexpr std::string_view name = "w8a8";
};

/// int4 weights in blocks of 32 along K, uint16 activations around the products.
struct w4a16_g32 {
  static constexpr std::string_view name = "w4a16_g32";
  using weight_format = block_format<dtype::i4, 32, conventions::ort>;
  using activation_format = int_format<dtype::u16, false>;
  static constexpr quant_spec spec{activation_format::value, weight_format::value};
};

/// Integer weights in blocks along K, as com.microsoft.MatMulNBits has them; activations stay in float.
template <dtype Weight, std::int32_t Block>
struct weight_only_scheme {
  using weight_format = block_format<Weight, Block, conventions::nbits>;
  static constexpr quant_spec spec{{}, weight_format::value};
};

/// 4 bits in blocks of 32.
struct w4_g32 : weight_only_scheme<dtype::u4, 32> {
  static constexpr std::string_view name = "w4_g32";
};
/// 4 bits in blocks of 128.
struct w4_g128 : weight_only_scheme<dtype::u4, 128> {
  static constexpr std::string_view name = "w4_g128";
};
/// 8 bits in blocks of 32.
struct w8_g32 : weight_only_scheme<dtype::u8, 32> {
  static constexpr std::string_view name = "w8_g32";
};
/// 8 bits in blocks of 128.
struct w8_g128 : weight_only_scheme<dtype::u8, 128> {
  static constexpr std::string_view name = "w8_g128";
};

}  // namespace qwq
