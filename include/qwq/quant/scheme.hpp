// SPDX-License-Identifier: Apache-2.0
// Defines `quantization_scheme`, a concept, and the schemes with the conventions of ONNX Runtime.
#pragma once

#include <concepts>
#include <string_view>

#include "qwq/quant/block_weight.hpp"
#include "qwq/quant/quant_spec.hpp"

namespace qwq {

/// A quantization scheme: a name, and the `quant_spec` of the tensors that it quantizes. A scheme that quantizes also
/// names the format types of weights (one, or several for `mixed`) and, unless activations stay in float, of
/// activations. The types carry the convention for scale and zero_point.
template <class S>
concept quantization_scheme = requires {
  { S::name } -> std::convertible_to<std::string_view>;
  { S::spec } -> std::convertible_to<quant_spec>;
}
&&(
    !S::spec.quantizes() || requires { typename S::weight_format; } || requires { typename S::weight_formats; }) &&
    (!S::spec.quantizes_activations() || requires { typename S::activation_format; });

/// The scheme that quantizes nothing.
struct f32 {
  static constexpr std::string_view name = "f32";  ///< Name in options and reports.
  /// Quantizes nothing.
  static constexpr quant_spec spec{};
};

/// Base of schemes with integer weights and activations and ONNX Runtime's conventions: weights symmetric, activations
/// asymmetric.
template <dtype Weight, dtype Activation, quant_scope Scope = quant_scope::matmuls>
struct integer_scheme {
  static_assert(Weight == dtype::i8, "qwq: integer_scheme<Weight, Activation> has kernels and packings for i8 weights");
  static_assert(Activation == dtype::u8 || Activation == dtype::u16,
                "qwq: integer_scheme<Weight, Activation> requires Activation to be u8 or u16");
  /// Format of weights: symmetric.
  using weight_format = int_format<Weight, true>;
  /// Format of activations: asymmetric.
  using activation_format = int_format<Activation, false>;
  /// Both formats, applied to the edges in `Scope`.
  static constexpr quant_spec spec{activation_format::value, weight_format::value, Scope};
};

/// int8 weights, uint16 operands and results of GEMMs. The residual stream of Qwen3 has a few channels hundreds of
/// times larger than the others; 16 bits would leave those others eight, so it stays in float.
struct w8a16 : integer_scheme<dtype::i8, dtype::u16> {
  static constexpr std::string_view name = "w8a16";  ///< Name in options and reports.
};
/// w8a16 on every edge, for integer-only hardware: what ONNX Runtime's get_qdq_config applies to the graph.
struct w8a16_full : integer_scheme<dtype::i8, dtype::u16, quant_scope::all> {
  static constexpr std::string_view name = "w8a16_full";  ///< Name in options and reports.
};
/// int8 weights, uint8 operands and results of GEMMs.
struct w8a8 : integer_scheme<dtype::i8, dtype::u8> {
  static constexpr std::string_view name = "w8a8";  ///< Name in options and reports.
};

/// int4 weights in blocks of 32 along K, uint16 operands and results of GEMMs.
struct w4a16_g32 {
  static constexpr std::string_view name = "w4a16_g32";  ///< Name in options and reports.
  /// int4 in blocks of 32, by the convention of ONNX Runtime.
  using weight_format = block_format<dtype::i4, 32, conventions::ort>;
  /// Asymmetric uint16.
  using activation_format = int_format<dtype::u16, false>;
  /// Quantizes the operands and results of matmuls.
  static constexpr quant_spec spec{activation_format::value, weight_format::value};
};

/// Base of weight-only schemes: integer weights in blocks of `Block` along K, in the format of
/// com.microsoft.MatMulNBits; activations stay in float.
template <dtype Weight, std::int32_t Block>
struct weight_only_scheme {
  /// Format of weights.
  using weight_format = block_format<Weight, Block, conventions::nbits>;
  /// The weight format; no activation format.
  static constexpr quant_spec spec{{}, weight_format::value};
};

/// 4-bit weights in blocks of 32.
struct w4_g32 : weight_only_scheme<dtype::u4, 32> {
  static constexpr std::string_view name = "w4_g32";  ///< Name in options and reports.
};
/// 4-bit weights in blocks of 128.
struct w4_g128 : weight_only_scheme<dtype::u4, 128> {
  static constexpr std::string_view name = "w4_g128";  ///< Name in options and reports.
};
/// 8-bit weights in blocks of 32.
struct w8_g32 : weight_only_scheme<dtype::u8, 32> {
  static constexpr std::string_view name = "w8_g32";  ///< Name in options and reports.
};
/// 8-bit weights in blocks of 128.
struct w8_g128 : weight_only_scheme<dtype::u8, 128> {
  static constexpr std::string_view name = "w8_g128";  ///< Name in options and reports.
};

}  // namespace qwq
