// SPDX-License-Identifier: Apache-2.0
// Transformer-only ONNX for NPUs: GroupQueryAttention, LpNormalization, 1x1 Conv.
#pragma once

#include <array>
#include <string_view>

#include "qwq/quant/quant_spec.hpp"
#include "qwq/rules/attention_rules.hpp"
#include "qwq/rules/layout_rules.hpp"
#include "qwq/rules/mlp_rules.hpp"
#include "qwq/rules/norm_rules.hpp"

namespace qwq {

/// ai.onnx 21 and com.microsoft 1, as winml-cli's transformer-only Qwen3 has them: embeddings, prefill (64 tokens),
/// decode (1 token) and lm_head as four files. The KV cache is f16 and belongs to the caller.
struct onnx_winml {
  static constexpr std::string_view name = "onnx_winml";
  static constexpr dtype cache = dtype::f16;

  static constexpr std::array rules{rules::norm_to_lp_norm,      rules::split_silu,           rules::linear_to_conv1x1,
                                    rules::attention_to_gqa,     rules::merge_reshapes,       rules::drop_reshape,
                                    rules::reshape_fill,         rules::sink_squeeze_add,     rules::sink_squeeze_mul,
                                    rules::sink_squeeze_sigmoid, rules::sink_squeeze_lp_norm, rules::sink_squeeze_slice,
                                    rules::sink_squeeze_concat};

  /// ONNX Runtime's get_qdq_config quantizes what these make and read; Cast and GroupQueryAttention stay in f16.
  static constexpr bool quantizes(op kind) {
    switch (kind) {
      case op::add:
      case op::mul:
      case op::sigmoid:
      case op::lp_norm:
      case op::conv1x1:
      case op::reshape:
      case op::transpose:
      case op::concat:
      case op::slice:
        return true;
      default:
        return false;
    }
  }

  /// int8 weights, or int4 in blocks, with uint8 or uint16 activations. Embedding and head stay in float.
  static constexpr bool accepts(const quant_spec& spec) {
    const dtype activation = spec.activation.element, weight = spec.weight.element;
    return !spec.quantizes() ||
           (spec.activation.is_static_integer() && spec.weight.is_static_integer() &&
            (activation == dtype::u8 || activation == dtype::u16) && (weight == dtype::i8 || weight == dtype::i4));
  }

  static constexpr bool supports(op kind) {
    switch (kind) {
      case op::input:
      case op::state:
      case op::weight:
      case op::splat:
      case op::rope_cos:
      case op::rope_sin:
      case op::cast:
      case op::gqa:
      case op::get_tuple_element:
      case op::quantize:
      case op::dequantize:
        return true;
      default:
        return quantizes(kind);
    }
  }
};

}  // namespace qwq
