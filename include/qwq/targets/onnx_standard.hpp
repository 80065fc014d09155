// SPDX-License-Identifier: Apache-2.0
// ONNX without contrib operators: RMSNormalization, RotaryEmbedding and Attention, or all of them decomposed.
#pragma once

#include <array>
#include <string_view>

#include "qwq/quant/placement.hpp"
#include "qwq/rules/mlp_rules.hpp"

namespace qwq {

/// ai.onnx 23 and nothing else: the whole model in one file for prompts and tokens of any length, with an f32 cache that
/// grows. Embedding and head stay in float: no operator looks up rows of a quantized table, and where they are tied one
/// table serves both.
struct onnx_standard {
  static constexpr std::string_view name = "onnx_standard";
  static constexpr dtype cache = dtype::f32;
  static constexpr bool single_graph = true;

  static constexpr std::array rules{rules::split_silu};

  static constexpr bool quantizes(op kind) { return kind == op::linear; }

  /// int8 weights, or 4 and 8 bits in blocks, with activations in uint8, uint16 or, over blocks, float. Norms
  /// and attention stay in float.
  static constexpr bool takes(placement types) {
    const bool activations = types.activation == dtype::u8 || types.activation == dtype::u16;
    const bool blocks = types.block > 0 && (activations || !types.quantizes_activations());
    return !types.quantizes() ||
           (types.edges == extent::products && (blocks || (activations && types.weight == dtype::i8)));
  }

  static constexpr bool supports(op kind) {
    switch (kind) {
      case op::input:
      case op::state:
      case op::weight:
      case op::rope_cos:
      case op::rope_sin:
      case op::add:
      case op::mul:
      case op::sigmoid:
      case op::rms_norm:
      case op::linear:
      case op::reshape:
      case op::embedding:
      case op::table_rows:
      case op::rope:
      case op::kv_cache_update:
      case op::attention:
      case op::quantize:
      case op::dequantize:
        return true;
      default:
        return false;
    }
  }
};

/// The same graph in operators of ai.onnx 21.
struct onnx_standard_21 : onnx_standard {
  static constexpr std::string_view name = "onnx_standard_21";
};

}  // namespace qwq
