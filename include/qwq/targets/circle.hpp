// SPDX-License-Identifier: Apache-2.0
// Defines the targets `circle`, `circle_qdq` and `tflite`: static shapes, basic operators, a cache that the host keeps.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "qwq/quant/quant_spec.hpp"
#include "qwq/rules/decompose_rules.hpp"
#include "qwq/rules/layout_rules.hpp"
#include "qwq/rules/mlp_rules.hpp"

namespace qwq {

/// Sizes and form of a Circle or TFLite file, which has no dynamic extents.
struct circle_options {
  std::int64_t prompt = 64;  ///< Tokens of the prefill graph: the first tokens of a text, padded by the host.
  /// Maximum number of tokens in a text; the decode graph reads length - 1 cached ones. 2048 is common.
  std::int64_t length = 256;
  /// Value of the host's attention mask at masked positions. A value near -infinity would use up the codes of 8-bit
  /// logits; exp(-120) is already 0.
  int mask_fill = -120;
  bool per_head = false;    ///< Write attention head by head, instead of as batched matmuls.
  bool fused_norm = false;  ///< Keep RMS_NORM, an operator of Circle that TFLite lacks and few engines execute.
};

namespace detail {

template <bool FusedNorm>
constexpr auto circle_rules(const rule& attention) {
  using namespace rules;
  if constexpr (FusedNorm)
    return std::array{attention, rope_to_products, split_silu, merge_reshapes, drop_reshape};
  else
    return std::array{attention, rope_to_products, split_silu, merge_reshapes, drop_reshape, decompose_rms_norm};
}

/// Members that the targets below share: everything except the file format.
template <circle_options O>
struct circle_graphs {
  /// Element type of the KV cache.
  static constexpr dtype cache = dtype::f32;
  /// Folds the attention scale into the norm of the keys while norms are still single operators.
  static constexpr std::array first_rules{rules::fold_scale_into_k_norm};
  /// Decomposes attention, RoPE, SiLU and (unless `fused_norm`) RMSNorm.
  static constexpr auto rules = circle_rules<O.fused_norm>(rules::attention_to_matmuls<O.length>);
  /// The embedding and the head are compiled and quantized like the layers.
  static constexpr bool includes_embedding_and_head = true;
  /// Parameters for the host, such as `runtime/static_cache.hpp`.
  static constexpr circle_options options = O;

  /// True for all operators on floats that the target supports.
  static constexpr bool quantizes(op kind) {
    switch (kind) {
      case op::add:
      case op::mul:
      case op::neg:
      case op::rsqrt:
      case op::sigmoid:
      case op::mean:
      case op::softmax:
      case op::linear:
      case op::matmul:
      case op::reshape:
      case op::transpose:
      case op::concat:
      case op::slice:
      case op::embedding:
        return true;
      case op::rms_norm:
        return O.fused_norm;
      default:
        return false;
    }
  }

  /// Accepts schemes with all edges in int16 or uint8, and one weight scale per tensor or per row: quantized files have
  /// no float operators.
  static constexpr bool accepts(const quant_spec& spec) {
    const dtype activation = spec.activation.element;
    return !spec.quantizes() ||
           (spec.scope == quant_scope::all && spec.weight.is_static_integer() && spec.weight.block == 0 &&
            spec.activation.is_static_integer() && (activation == dtype::i16 || activation == dtype::u8));
  }

  /// True for operators that the emitters can write.
  static constexpr bool supports(op kind) {
    switch (kind) {
      case op::input:
      case op::state:
      case op::weight:
      case op::splat:
      case op::quantize:
      case op::dequantize:
        return true;
      default:
        return quantizes(kind);
    }
  }
};

}  // namespace detail

/// Samsung's Circle (file identifier CIR0). Quantized schemes become integer tensors with QUANTIZE between different
/// types, as TICO exports.
template <circle_options O = circle_options{}>
struct circle : detail::circle_graphs<O> {
  /// Name in files, options and messages.
  static constexpr std::string_view name = "circle";
};

/// Circle with float operators between QUANTIZE/DEQUANTIZE pairs, for engines without integer kernels.
template <circle_options O = circle_options{}>
struct circle_qdq : detail::circle_graphs<O> {
  /// Name in files, options and messages.
  static constexpr std::string_view name = "circle_qdq";
};

/// TFLite (file identifier TFL3) with the same graphs and QUANTIZE/DEQUANTIZE pairs.
template <circle_options O = circle_options{}>
struct tflite : detail::circle_graphs<O> {
  static_assert(!O.fused_norm, "qwq::tflite has no RMS_NORM");
  /// Name in files, options and messages.
  static constexpr std::string_view name = "tflite";
};

}  // namespace qwq
