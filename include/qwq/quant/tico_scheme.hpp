// SPDX-License-Identifier: Apache-2.0
// Defines quantization schemes with TICO's convention on every edge, for targets without float operators.
#pragma once

#include <string_view>

#include "qwq/quant/scheme.hpp"
#include "qwq/quant/tico.hpp"
#include "qwq/quant/weights.hpp"

namespace qwq {

/// Base of schemes with TICO's affine formats: signed types symmetric, unsigned types asymmetric, and one scale per row
/// of a weight.
template <dtype Weight, dtype Activation>
struct tico_scheme {
  /// Format of weights.
  using weight_format = for_each_row<int_format<Weight, is_signed(Weight), conventions::tico>>;
  /// Format of activations.
  using activation_format = int_format<Activation, is_signed(Activation), conventions::tico>;
  /// Both formats, applied to every edge.
  static constexpr quant_spec spec{activation_format::value, weight_format::value, quant_scope::all};
};

/// uint8 weights, int16 activations.
struct tico_w8a16 : tico_scheme<dtype::u8, dtype::i16> {
  static constexpr std::string_view name = "tico_w8a16";  ///< Name in options and reports.
};
/// uint4 weights, int16 activations.
struct tico_w4a16 : tico_scheme<dtype::u4, dtype::i16> {
  static constexpr std::string_view name = "tico_w4a16";  ///< Name in options and reports.
};
/// uint8 weights and activations.
struct tico_w8a8 : tico_scheme<dtype::u8, dtype::u8> {
  static constexpr std::string_view name = "tico_w8a8";  ///< Name in options and reports.
};

/// int8 weights, and int16 activations with power-of-two scales: engines without TICO's integer kernels execute this
/// scheme, and all compute the same codes.
struct qdq_w8a16 {
  static constexpr std::string_view name = "qdq_w8a16";  ///< Name in options and reports.
  /// Symmetric int8, one scale per row.
  using weight_format = for_each_row<int_format<dtype::i8, true, conventions::tico>>;
  /// Symmetric int16 with powers of two as scales.
  using activation_format = int_format<dtype::i16, true, conventions::power_of_two<conventions::tico>>;
  /// Quantizes every edge.
  static constexpr quant_spec spec{activation_format::value, weight_format::value, quant_scope::all};
};

}  // namespace qwq
