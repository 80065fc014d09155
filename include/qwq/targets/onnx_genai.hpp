// SPDX-License-Identifier: Apache-2.0
// ONNX as onnxruntime-genai and transformers.js take it: one graph with GroupQueryAttention.
#pragma once

#include <array>
#include <string_view>

#include "qwq/quant/placement.hpp"
#include "qwq/rules/attention_rules.hpp"
#include "qwq/rules/layout_rules.hpp"
#include "qwq/rules/mlp_rules.hpp"

namespace qwq {

/// ai.onnx 21 and com.microsoft 1: the whole model in one file for prompts and tokens of any length, with an f32 cache.
/// Quantized matrices are those of MatMulNBits, which the embedding shares where it is tied to the head.
struct onnx_genai {
  static constexpr std::string_view name = "onnx_genai";
  static constexpr dtype cache = dtype::f32;
  static constexpr bool includes_embedding_and_head = true, single_graph = true;

  static constexpr std::array rules{rules::split_silu, rules::attention_to_gqa, rules::merge_reshapes,
                                    rules::drop_reshape};

  static constexpr bool quantizes(op kind) { return kind == op::linear || kind == op::embedding; }

  /// Weights as MatMulNBits has them, 4 or 8 bits in blocks; activations in float.
  static constexpr bool takes(placement types) {
    return !types.quantizes() || (!types.quantizes_activations() && types.block > 0);
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
