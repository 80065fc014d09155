// SPDX-License-Identifier: Apache-2.0
// How the files of target onnx_genai are written.
#pragma once

#include <string>
#include <vector>

#include "qwq/emit/onnx/whole_model.hpp"
#include "qwq/target/onnx_genai.hpp"

namespace qwq::to_onnx {

/// An operator that ONNX Runtime has in ai.onnx at any opset.
inline void write_simplified_layer_norm(graph_writer& w) {
  ::onnx::NodeProto& n = w.emit("SimplifiedLayerNormalization");
  set_attribute(n, "axis", std::int64_t{-1});
  set_attribute(n, "epsilon", static_cast<float>(w.self().attr.value));
  set_attribute(n, "stash_type", std::int64_t{1});
}

/// Position of the last token and number of all tokens, from the attention mask, whose ones are tokens.
inline value_names write_lengths(model_builder& m) {
  const dim total{prefill_rows, total_length};
  m.input(whole_names::mask, {dtype::i64, {1, total}});
  const auto to_i32 = [&](const std::string& x, const std::string& name, const shape& dims) {
    ::onnx::NodeProto& n = m.node("Cast", name, std::vector{x});
    set_attribute(n, "to", std::int64_t{element_type(dtype::i32)});
    return m.result(n, name, {dtype::i32, dims});
  };
  const tensor_type count{dtype::i64, {1, 1}};
  const std::string tokens = m.once("ReduceSum", "tokens", std::vector{whole_names::mask, m.int64s({1})}, count);
  const std::string last = m.once("Sub", "last", std::vector{tokens, m.int64(1)}, count);
  const std::string all = m.once("Shape", "mask_shape", std::vector{whole_names::mask}, {dtype::i64, {2}});
  const std::string length = m.once("Gather", "mask_length", std::vector{all, m.int64s({1})}, {dtype::i64, {1}});
  return {{"last_position", to_i32(last, "seqlens_k", {1, 1})},
          {"total_seq_len", to_i32(length, "total_seq_len", {1})}};
}

inline constexpr op_map genai_ops = contrib_ops.with(op::rms_norm, write_simplified_layer_norm);

template <>
struct flavour<onnx_genai> {
  static constexpr dialect versions{21, 1, 10};
  static constexpr auto& ops = genai_ops;
  static constexpr bool cache_in_place = true;
  static constexpr auto prelude = write_lengths;
};

}  // namespace qwq::to_onnx
