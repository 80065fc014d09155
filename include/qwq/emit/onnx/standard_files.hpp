// SPDX-License-Identifier: Apache-2.0
// Defines the `format_variant` of targets onnx_standard and onnx_standard_21.
#pragma once

#include <string>
#include <vector>

#include "qwq/emit/onnx/whole_model_files.hpp"
#include "qwq/targets/onnx_standard.hpp"

namespace qwq::to_onnx {

namespace detail {

/// Range of the new tokens' positions: after those in the cache.
struct token_range {
  std::string first, end;
};
inline token_range new_tokens(model_builder& m, const std::string& cache) {
  if (cache.empty()) throw error("emit: expected a KV cache in some layer, by which tokens are counted, found none");
  const std::string past = extent(m, cache, 4, 2), rows = extent(m, whole_names::ids, 2, 1);
  return {past, m.once("Add", "total", std::vector{past, rows}, {dtype::i64, {}})};
}

}  // namespace detail

/// Writes position_ids: positions are counted from the number of tokens in the cache.
inline value_names write_positions(model_builder& m, const std::string& cache) {
  const auto [first, end] = detail::new_tokens(m, cache);
  const dim rows{prefill_rows, "sequence_length"};
  const std::string counted = m.once("Range", "positions", std::vector{first, end, m.int64(1)}, {dtype::i64, {rows}});
  m.result(m.node("Unsqueeze", position_ids, std::vector{counted, m.int64s({0})}), position_ids,
           {dtype::i64, {1, rows}});
  return {{"last_position", position_ids}};
}

/// Writes position_ids and causal_mask: a token attends to positions up to its own.
inline value_names write_positions_and_mask(model_builder& m, const std::string& cache) {
  value_names names = write_positions(m, cache);
  const dim rows{prefill_rows, "sequence_length"}, total{prefill_rows, total_length};
  const std::string end = detail::new_tokens(m, cache).end;
  const std::string all =
      m.once("Range", "all_positions", std::vector{m.int64(0), end, m.int64(1)}, {dtype::i64, {total}});
  const std::string column =
      m.once("Transpose", "positions_column", std::vector{position_ids}, {dtype::i64, {rows, 1}});
  // No type is declared: bool is not an element type of qwq's graphs.
  m.node("LessOrEqual", causal_mask, std::vector{all, column}).add_output(causal_mask);
  return names;
}

/// Files of onnx_standard: opset 23, with operators for norm, rotation and attention.
template <>
struct format_variant<onnx_standard> {
  /// Opset 23, com.microsoft 1, IR 11.
  static constexpr opset_versions versions{23, 1, 11};
  /// Op map.
  static constexpr auto& ops = opset23_ops;
  /// Past and present have separate buffers.
  static constexpr bool cache_in_place = false;
  /// Writes the inputs that all layers share.
  static constexpr auto shared_inputs = write_positions;
};

/// Files of onnx_standard_21: opset 21, with norm, rotation and attention decomposed.
template <>
struct format_variant<onnx_standard_21> {
  /// Opset 21, com.microsoft 1, IR 10.
  static constexpr opset_versions versions{21, 1, 10};
  /// Op map.
  static constexpr auto& ops = opset21_ops;
  /// Past and present have separate buffers.
  static constexpr bool cache_in_place = false;
  /// Writes the inputs that all layers share.
  static constexpr auto shared_inputs = write_positions_and_mask;
};

}  // namespace qwq::to_onnx
