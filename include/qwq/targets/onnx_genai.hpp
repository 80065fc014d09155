// SPDX-License-Identifier: Apache-2.0
// Defines the target `onnx_genai`: ONNX for onnxruntime-genai and transformers.js, one graph with GroupQueryAttention.
#pragma once

#include <array>
#include <string_view>

#include "qwq/quant/quant_spec.hpp"
#include "qwq/rules/attention_rules.hpp"
#include "qwq/rules/layout_rules.hpp"
#include "qwq/rules/mlp_rules.hpp"

namespace qwq {

/// Opsets ai.onnx 21 and com.microsoft 1: the whole model in one file, for prompts and tokens of any length, with an
/// f32 cache. Quantized weights are operands of MatMulNBits; a tied embedding shares them with the head.
struct onnx_genai {
  /// Name in files, options and messages.
  static constexpr std::string_view name = "onnx_genai";
  /// Element type of the KV cache.
  static constexpr dtype cache = dtype::f32;
  // The whole model is compiled for the target, as one graph for prefill and decode.
  static constexpr bool includes_embedding_and_head = true,  ///< The embedding and the head are part of the target.
      single_graph = true;                                   ///< One graph serves prefill and decode.

  /// Decomposes SiLU, and fuses attention into GroupQueryAttention.
  static constexpr std::array rules{rules::split_silu, rules::attention_to_gqa, rules::merge_reshapes,
                                    rules::drop_reshape};

  /// True for the operators with weight matrices.
  static constexpr bool quantizes(op kind) { return kind == op::linear || kind == op::embedding; }

  /// Accepts schemes with weights as in MatMulNBits, 4 or 8 bits in blocks, and float activations.
  static constexpr bool accepts(const quant_spec& spec) {
    return !spec.quantizes() ||
           (!spec.quantizes_activations() && spec.weight.is_static_integer() && spec.weight.block > 0);
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
      case op::gqa:
      case op::get_tuple_element:
      case op::dequantize:
        return true;
      default:
        return false;
    }
  }
};

}  // namespace qwq
