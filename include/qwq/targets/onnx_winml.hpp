// SPDX-License-Identifier: Apache-2.0
// Defines the target `onnx_winml`, transformer-only ONNX for NPUs: GroupQueryAttention, LpNormalization, 1x1 Conv.
#pragma once

#include <array>
#include <string_view>

#include "qwq/quant/quant_spec.hpp"
#include "qwq/rules/attention_rules.hpp"
#include "qwq/rules/layout_rules.hpp"
#include "qwq/rules/mlp_rules.hpp"
#include "qwq/rules/norm_rules.hpp"

namespace qwq {

/// Opsets ai.onnx 21 and com.microsoft 1, in the form of winml-cli's transformer-only Qwen3: embeddings, prefill (64
/// tokens), decode (1 token) and lm_head as four files. The KV cache is f16; the caller owns it.
struct onnx_winml {
  /// Name in files, options and messages.
  static constexpr std::string_view name = "onnx_winml";
  /// Element type of the KV cache.
  static constexpr dtype cache = dtype::f16;

  /// Replaces norms, SiLU, linear and attention by operators of the target, and removes redundant reshapes.
  static constexpr std::array rules{rules::norm_to_lp_norm,      rules::split_silu,           rules::linear_to_conv1x1,
                                    rules::attention_to_gqa,     rules::merge_reshapes,       rules::drop_reshape,
                                    rules::reshape_fill,         rules::sink_squeeze_add,     rules::sink_squeeze_mul,
                                    rules::sink_squeeze_sigmoid, rules::sink_squeeze_lp_norm, rules::sink_squeeze_slice,
                                    rules::sink_squeeze_concat};

  /// True for the operators whose operands and results ONNX Runtime's get_qdq_config quantizes. Cast and
  /// GroupQueryAttention stay in f16.
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

  /// Accepts schemes with int8 weights, or int4 in blocks, and uint8 or uint16 activations. The embedding and the head
  /// stay in float.
  static constexpr bool accepts(const quant_spec& spec) {
    const dtype activation = spec.activation.element;
    const bool weight = (spec.weight.element == dtype::i8 && spec.weight.block == 0) ||
                        (spec.weight.element == dtype::i4 && spec.weight.block > 0);
    return !spec.quantizes() ||
           (spec.activation.is_static_integer() && (activation == dtype::u8 || activation == dtype::u16) &&
            spec.weight.is_static_integer() && weight);
  }

  /// True for operators that the emitter can write.
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
