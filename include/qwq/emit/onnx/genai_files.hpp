// SPDX-License-Identifier: Apache-2.0
// Defines the op map and the `format_variant` of target onnx_genai.
#pragma once

#include <string>
#include <vector>

#include "qwq/emit/onnx/whole_model_files.hpp"
#include "qwq/targets/onnx_genai.hpp"

namespace qwq::to_onnx {

/// Writes SimplifiedLayerNormalization, which ONNX Runtime provides in ai.onnx at any opset.
inline void write_simplified_layer_norm(graph_writer& w) {
  ::onnx::NodeProto& n = w.emit("SimplifiedLayerNormalization");
  set_attribute(n, "axis", std::int64_t{-1});
  set_attribute(n, "epsilon", static_cast<float>(w.self().attr.value));
  set_attribute(n, "stash_type", std::int64_t{1});
}

/// Writes the position of the last token and the number of all tokens, computed from the attention mask, whose ones are
/// tokens.
inline value_names write_lengths(model_builder& m, const std::string&) {
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
  return {{"last_position", to_i32(last, "seqlens_k", {1, 1})},
          {"total_seq_len", to_i32(extent(m, whole_names::mask, 2, 1), "total_seq_len", {})}};
}

// A blockwise matrix is written by the operators that use it, each in its own shape over the same bytes.

/// Writes a weight leaf; blockwise ones are written by the operators that use them.
inline void write_weight_or_blocks(graph_writer& w) {
  if (w.leaf_slot() == nullptr) write_weight(w);
}

namespace detail {

/// True if argument `k` is a quantized matrix.
inline bool is_quantized(graph_writer& w, std::size_t k) { return w.arg_node(k).kind == op::dequantize; }

/// Initializers of a blockwise matrix in the layout of MatMulNBits: codes [N, bytes of a row] or [N, blocks, bytes of a
/// block], scales [N, blocks].
struct block_matrix {
  std::string codes, scales;
  std::int64_t n, k, block, width, blocks;
};
inline block_matrix write_blocks(graph_writer& w, std::size_t arg, bool by_block) {
  const node& leaf = w.at(w.arg_node(arg).args[0]);
  const std::string name = w.tensor(leaf);
  const weight_source source = w.constants().find(leaf, name);
  const std::string key = source.key(), base = w.model().name_of(key, name);
  quantized_source& q = *w.constants().matrix(w.slot_at(w.arg_node(arg).slot), source);
  const std::int64_t n = leaf.dims()[0].extent, k = leaf.dims()[1].extent, block = q.block();
  const std::int64_t width = bits(leaf.type.type), blocks = (k + block - 1) / block;
  const std::vector<std::int64_t> dims =
      by_block ? std::vector{n, blocks, block * width / 8} : std::vector{n, blocks * block * width / 8};
  model_builder& m = w.model();
  return {m.initializer(base + (by_block ? "_blocks" : "_rows"), key + ":codes", dtype::u8, dims,
                        [&](const byte_sink& sink) { q.codes(sink); }),
          m.initializer(base + "_scales", key + ":scales", dtype::f32, {n, blocks},
                        [&](const byte_sink& sink) { sink(std::as_bytes(q.scales())); }),
          n,
          k,
          block,
          width,
          blocks};
}

}  // namespace detail

/// Writes com.microsoft MatMulNBits for a quantized matrix, otherwise as `write_linear`.
inline void write_matmul_nbits(graph_writer& w) {
  if (!detail::is_quantized(w, 1)) return write_linear(w);
  const auto b = detail::write_blocks(w, 1, true);
  std::vector operands{w.arg(0), b.codes, b.scales};
  if (w.self().args.size() == 3) operands.insert(operands.end(), {"", "", w.arg(2)});  // no zero points, no g_idx
  ::onnx::NodeProto& n = w.emit("MatMulNBits", operands, microsoft);
  set_attribute(n, "K", b.k);
  set_attribute(n, "N", b.n);
  set_attribute(n, "bits", b.width);
  set_attribute(n, "block_size", b.block);
  set_attribute(n, "accuracy_level", w.options().accuracy_level);
}

/// Writes com.microsoft GatherBlockQuantized for a quantized table, otherwise Gather.
inline void write_gather_block_quantized(graph_writer& w) {
  if (!detail::is_quantized(w, 0)) return write_plain<"Gather">(w);
  const auto b = detail::write_blocks(w, 0, false);
  tensor_type rows = w.self().type;
  rows.dims[2] = dim{b.blocks * b.block};
  const std::vector inputs{b.codes, w.arg(1), b.scales};
  const bool whole_blocks = rows.dims == w.self().dims();
  ::onnx::NodeProto& n = whole_blocks ? w.emit("GatherBlockQuantized", inputs, microsoft)
                                      : w.emit_helper("GatherBlockQuantized", inputs, rows, microsoft);
  set_attribute(n, "bits", b.width);
  set_attribute(n, "block_size", b.block);
  set_attribute(n, "gather_axis", std::int64_t{0});
  set_attribute(n, "quantize_axis", std::int64_t{1});
  if (!whole_blocks)
    w.emit("Slice", std::vector{n.output(0), w.model().int64s({0}), w.model().int64s({b.k}), w.model().int64s({2})});
}

/// Op map of onnx_genai: `contrib_ops` with SimplifiedLayerNormalization and the blockwise operators.
inline constexpr op_map genai_ops = contrib_ops.with(op::rms_norm, write_simplified_layer_norm)
                                        .with(op::weight, write_weight_or_blocks)
                                        .with(op::dequantize, write_with_reader)
                                        .with(op::linear, write_matmul_nbits)
                                        .with(op::embedding, write_gather_block_quantized);

/// Files of onnx_genai: opset 21 and contrib operators.
template <>
struct format_variant<onnx_genai> {
  /// Opset 21, com.microsoft 1, IR 10.
  static constexpr opset_versions versions{21, 1, 10};
  /// Op map.
  static constexpr auto& ops = genai_ops;
  /// One buffer serves as past and present.
  static constexpr bool cache_in_place = true;
  /// Writes the inputs that all layers share.
  static constexpr auto shared_inputs = write_lengths;
};

}  // namespace qwq::to_onnx
