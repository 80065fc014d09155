// SPDX-License-Identifier: Apache-2.0
// Circle and its TFLite twin: static shapes, plain operators, and a KV cache that the host keeps.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "qwq/quant/quant_spec.hpp"
#include "qwq/rules/decompose_rules.hpp"
#include "qwq/rules/layout_rules.hpp"
#include "qwq/rules/mlp_rules.hpp"

namespace qwq {

/// What a Circle file is made for; files have no dynamic extents.
struct circle_options {
  std::int64_t prompt = 64;  ///< Tokens of the prefill graph: the first ones of a text, filled up by the host.
  /// Tokens of a text at most; the decode graph reads length - 1 cached ones. 2048 is usual.
  std::int64_t length = 256;
  /// What the host's mask adds where a token must not look. -infinity, or a number near it, would take all codes of an
  /// 8-bit logit; exp(-120) is 0 already.
  int mask_fill = -120;
  bool per_head = false;    ///< Attention is written head by head, instead of as batches of products.
  bool fused_norm = false;  ///< Keeps RMS_NORM, an operator of Circle that TFLite lacks and few readers run.
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

/// What the targets below share: everything but the form of their files.
template <circle_options O>
struct circle_graphs {
  static constexpr dtype cache = dtype::f32;
  static constexpr std::array first_rules{rules::fold_scale_into_k_norm};
  static constexpr auto rules = circle_rules<O.fused_norm>(rules::attention_to_matmuls<O.length>);
  /// Embedding and head are the target's own, quantized like the rest.
  static constexpr bool includes_embedding_and_head = true;
  /// What a host needs to know: `runtime/static_cache.hpp` is one.
  static constexpr circle_options options = O;

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

  /// All edges in int16 or uint8, with one weight scale for the tensor or for each row: these files have no float
  /// operators that were left out on purpose.
  static constexpr bool accepts(const quant_spec& spec) {
    const dtype activation = spec.activation.element;
    return !spec.quantizes() ||
           (spec.scope == quant_scope::all && spec.weight.is_static_integer() && spec.weight.block == 0 &&
            spec.activation.is_static_integer() && (activation == dtype::i16 || activation == dtype::u8));
  }

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

/// Samsung's Circle (CIR0). Quantized schemes become integer tensors with QUANTIZE where types meet: what TICO exports.
template <circle_options O = circle_options{}>
struct circle : detail::circle_graphs<O> {
  static constexpr std::string_view name = "circle";
};

/// The same with float operators between QUANTIZE/DEQUANTIZE pairs, which engines without integer kernels execute.
template <circle_options O = circle_options{}>
struct circle_qdq : detail::circle_graphs<O> {
  static constexpr std::string_view name = "circle_qdq";
};

/// TFLite's file (TFL3) of the same graphs, with QUANTIZE/DEQUANTIZE pairs.
template <circle_options O = circle_options{}>
struct tflite : detail::circle_graphs<O> {
  static_assert(!O.fused_norm, "qwq::tflite has no RMS_NORM");
  static constexpr std::string_view name = "tflite";
};

}  // namespace qwq
