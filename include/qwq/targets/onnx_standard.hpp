// SPDX-License-Identifier: Apache-2.0
// Defines the targets `onnx_standard` and `onnx_standard_21`: ONNX without contrib operators.
#pragma once

#include <array>
#include <string_view>

#include "qwq/quant/quant_spec.hpp"
#include "qwq/rules/mlp_rules.hpp"

namespace qwq {

/// Opset ai.onnx 23 only, with RMSNormalization, RotaryEmbedding and Attention: the whole model in one file, for
/// prompts and tokens of any length, with a growing f32 cache. The embedding and the head stay in float: no operator
/// gathers rows of a quantized table, and a tied table serves both.
struct onnx_standard {
  /// Name in files, options and messages.
  static constexpr std::string_view name = "onnx_standard";
  /// Element type of the KV cache.
  static constexpr dtype cache = dtype::f32;
  /// One graph is used for prefill and decode.
  static constexpr bool single_graph = true;

  /// Decomposes SiLU.
  static constexpr std::array rules{rules::split_silu};

  /// True for linear.
  static constexpr bool quantizes(op kind) { return kind == op::linear; }

  /// Accepts schemes with int8 weights, or 4 and 8 bits in blocks, and with activations in uint8, uint16 or, for
  /// blocks, float. Norms and attention stay in float.
  static constexpr bool accepts(const quant_spec& spec) {
    const dtype activation = spec.activation.element;
    const bool activations =
        spec.activation.is_static_integer() && (activation == dtype::u8 || activation == dtype::u16);
    const bool blocks = spec.weight.block > 0 && (activations || !spec.quantizes_activations());
    return !spec.quantizes() || (spec.scope == quant_scope::matmuls && spec.weight.is_static_integer() &&
                                 (blocks || (activations && spec.weight.element == dtype::i8)));
  }

  /// True for operators that the emitter can write.
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

/// The same graph, written with operators of ai.onnx 21: norms, RoPE and attention are decomposed.
struct onnx_standard_21 : onnx_standard {
  /// Name in files, options and messages.
  static constexpr std::string_view name = "onnx_standard_21";
};

}  // namespace qwq
