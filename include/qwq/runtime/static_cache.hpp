// SPDX-License-Identifier: Apache-2.0
// Defines `cache_host`, the host-side inputs of graphs with a static cache: masks and RoPE rows.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <string_view>
#include <vector>

#include "qwq/compile/program.hpp"
#include "qwq/core/view.hpp"
#include "qwq/kernel/rope.hpp"

namespace qwq {

/// Slots of a part whose values belong to state `name`: cached values, new ones, and both concatenated.
template <class Part>
constexpr auto state_slots(std::string_view name) {
  constexpr auto& g = Part::emitted::value;
  bool holds[g.size()]{};
  for (const graph_output& o : g.outputs) holds[o.id] = o.name.view() == name;
  fixed_vector<std::int16_t, 4> slots;
  for (std::size_t i = 0; i < g.size(); ++i) {
    const node& n = g[i];
    holds[i] = holds[i] || (n.kind == op::state && n.name.view() == name);
    if (schema(n).is(trait::moves) && !schema(n).is(trait::layout))
      for (node_id a : n.args) holds[i] = holds[i] || holds[a];
    if (holds[i] && n.slot >= 0 && std::find(slots.begin(), slots.end(), n.slot) == slots.end())
      slots.push_back(n.slot);
  }
  return slots;
}

/// Host-side inputs of a target. The primary template is for targets that need none.
template <class Target, std::int64_t Rotary>
struct cache_host {
  explicit cache_host(double) {}                                      ///< No inputs are needed.
  static constexpr bool provides(std::string_view) { return false; }  ///< False for every input.
};

/// Inputs of the layer graphs that all layers of a run share. `Rotary`: rotated channels of each head. A prompt with
/// fewer tokens than the graph has rows is padded with its last token, so that unused rows hold only values that the
/// text has.
template <leaves_cache_to_host Target, std::int64_t Rotary>
class cache_host<Target, Rotary> {
 public:
  // Rows of the prefill graph, and the maximum number of tokens in a text.
  static constexpr std::int64_t prompt = Target::options.prompt,  ///< Tokens of the prefill graph.
      length = Target::options.length;                            ///< Maximum number of tokens in a text.
  /// Rows of the cache of one head, as a graph input: the last token of a text needs none.
  static constexpr std::int64_t cache_rows = length - 1;
  static_assert(0 < prompt && prompt <= length, "qwq: a static cache must hold the prompt of the prefill graph");

  /// `theta`: base of the rotary embedding.
  explicit cache_host(double theta)
      : mask_(static_cast<std::size_t>(std::max(prompt * prompt, length))),
        cos_(static_cast<std::size_t>((length + prompt) * Rotary)),
        sin_(cos_.size()) {
    std::vector<std::int64_t> positions(static_cast<std::size_t>(length));
    std::iota(positions.begin(), positions.end(), 0);
    // Each half of a row is the table's row; the rows of a prompt follow those of the positions.
    const auto half = [](std::vector<float>& x) { return matrix_view<float>{x.data(), length, Rotary / 2, Rotary}; };
    kernel::rope_table(half(cos_), half(sin_), positions, static_cast<float>(theta));
    for (float* x : {cos_.data(), sin_.data()})
      for (std::int64_t i = 0; i < length; ++i) std::copy_n(x + i * Rotary, Rotary / 2, x + i * Rotary + Rotary / 2);
  }

  /// Pads `x`, [prompt, width], after its first `count` rows, with the last of them.
  static void fill_up(float* x, std::int64_t count, std::int64_t width) {
    for (std::int64_t i = count; i < prompt; ++i) std::copy_n(x + (count - 1) * width, width, x + i * width);
  }

  /// Prepares a run of the prefill graph on the first `count` tokens of a text.
  void begin_prompt(std::int64_t count) {
    for (std::int64_t i = 0; i < prompt; ++i)
      for (std::int64_t j = 0; j < prompt; ++j) mask_[at(i * prompt + j)] = j <= std::min(i, count - 1) ? 0.0f : fill;
    for (float* x : {cos_.data(), sin_.data()}) {
      std::copy_n(x, count * Rotary, x + length * Rotary);
      fill_up(x + length * Rotary, count, Rotary);
    }
    table_row_ = length;
  }

  /// Prepares a run of the decode graph on the token at `position`.
  void begin_token(std::int64_t position) {
    for (std::int64_t j = 0; j < cache_rows; ++j) mask_[at(j)] = j < position ? 0.0f : fill;
    mask_[at(cache_rows)] = 0;  // the token itself
    table_row_ = position;
  }

  /// True if the host provides this input.
  static constexpr bool provides(std::string_view input) {
    return input == "attention_mask" || input == "cos" || input == "sin";
  }
  /// Address of a provided input.
  void* address(std::string_view input) {
    return input == "attention_mask" ? mask_.data() : (input == "cos" ? cos_ : sin_).data() + table_row_ * Rotary;
  }

 private:
  static constexpr auto fill = static_cast<float>(Target::options.mask_fill);
  static std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

  std::vector<float> mask_, cos_, sin_;
  std::int64_t table_row_ = 0;
};

}  // namespace qwq
