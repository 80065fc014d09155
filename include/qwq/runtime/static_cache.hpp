// SPDX-License-Identifier: Apache-2.0
// What the host of a graph with a static cache does around each run: masks, RoPE rows, and new rows into the cache.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <numeric>
#include <string_view>
#include <vector>

#include "qwq/core/view.hpp"
#include "qwq/kernel/rope.hpp"
#include "qwq/lower/steps.hpp"

namespace qwq {

/// Targets whose graphs leave the cache to whoever runs them: the prefill graph takes the first `options.prompt` tokens
/// of a text, all further ones go through the decode graph one by one, and a text has `options.length` tokens at most.
template <class Target>
concept leaves_cache_to_host = requires {
  { Target::options.prompt } -> std::convertible_to<std::int64_t>;
  { Target::options.length } -> std::convertible_to<std::int64_t>;
  { Target::options.mask_fill } -> std::convertible_to<float>;
};

/// Slots of a layer that hold keys, or values, of tokens: of those in the cache, of new ones, and of both together.
template <class Layer>
constexpr auto cache_slots(std::string_view kind) {
  constexpr auto& g = Layer::emitted::value;
  const text<31> past = text<31>{"past_"}.append(kind), made = text<31>{"new_"}.append(kind);
  bool holds[g.size()]{};
  for (const graph_output& o : g.outputs) holds[o.id] = o.name == made;
  fixed_vector<std::int16_t, 4> slots;
  for (std::size_t i = 0; i < g.size(); ++i) {
    const node& n = g[i];
    holds[i] = holds[i] || (n.kind == op::input && n.name == past);
    if (n.kind == op::concat || n.kind == op::quantize || n.kind == op::dequantize)
      for (node_id a : n.args) holds[i] = holds[i] || holds[a];
    if (holds[i] && n.slot >= 0 && std::find(slots.begin(), slots.end(), n.slot) == slots.end())
      slots.push_back(n.slot);
  }
  return slots;
}

/// What a session has beside its graphs: nothing, unless their cache is left to the host.
template <class Target, std::int64_t HeadDim>
struct cache_host {
  explicit cache_host(double) {}  ///< Other targets leave nothing to the host.
};

/// Inputs of the layer graphs that are the same for all layers of a run, for heads of `HeadDim` channels. A prompt with
/// fewer tokens than the graph has rows is filled up with its last token: rows that nobody reads then hold nothing that
/// the text has not.
template <leaves_cache_to_host Target, std::int64_t HeadDim>
class cache_host<Target, HeadDim> {
 public:
  /// Tokens of the prefill graph, and of a text at most.
  static constexpr std::int64_t prompt = Target::options.prompt, length = Target::options.length;
  /// Rows of the cache of one head, as graphs read it: the last token of a text needs none.
  static constexpr std::int64_t cache_rows = length - 1;
  static_assert(0 < prompt && prompt <= length, "qwq: a static cache must hold the prompt of the prefill graph");

  /// `theta`: base of the rotary embedding.
  explicit cache_host(double theta)
      : mask_(static_cast<std::size_t>(std::max(prompt * prompt, length))),
        cos_(static_cast<std::size_t>((length + prompt) * HeadDim)),
        sin_(cos_.size()) {
    std::vector<std::int64_t> positions(static_cast<std::size_t>(length));
    std::iota(positions.begin(), positions.end(), 0);
    // Each half of a row is the row of the table; the rows of a prompt follow behind those of the positions.
    const auto half = [](std::vector<float>& x) { return matrix_view<float>{x.data(), length, HeadDim / 2, HeadDim}; };
    kernel::rope_table(half(cos_), half(sin_), positions, static_cast<float>(theta));
    for (float* x : {cos_.data(), sin_.data()})
      for (std::int64_t i = 0; i < length; ++i)
        std::copy_n(x + i * HeadDim, HeadDim / 2, x + i * HeadDim + HeadDim / 2);
  }

  /// Fills `x`, [prompt, width], up from its first `count` rows.
  static void fill_up(float* x, std::int64_t count, std::int64_t width) {
    for (std::int64_t i = count; i < prompt; ++i) std::copy_n(x + (count - 1) * width, width, x + i * width);
  }

  /// Before a run of the prefill graph on the first `count` tokens of a text.
  void begin_prompt(std::int64_t count) {
    for (std::int64_t i = 0; i < prompt; ++i)
      for (std::int64_t j = 0; j < prompt; ++j) mask_[at(i * prompt + j)] = j <= std::min(i, count - 1) ? 0.0f : fill;
    for (float* x : {cos_.data(), sin_.data()}) {
      std::copy_n(x, count * HeadDim, x + length * HeadDim);
      fill_up(x + length * HeadDim, count, HeadDim);
    }
    table_row_ = length;
  }

  /// Before a run of the decode graph on the token at `position`.
  void begin_token(std::int64_t position) {
    for (std::int64_t j = 0; j < cache_rows; ++j) mask_[at(j)] = j < position ? 0.0f : fill;
    mask_[at(cache_rows)] = 0;  // the token itself
    table_row_ = position;
  }

  /// Addresses for the inputs of the layer graph `G`, in its order.
  template <class G>
  auto inputs(float* hidden, float* past_key, float* past_value) {
    constexpr auto& wanted = planned<G>::layout.inputs;
    std::array<void*, wanted.capacity()> out{};
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      const std::string_view name = G::value[wanted[i]].name;
      out[i] = name == "attention_mask" ? mask_.data()
               : name == "cos"          ? cos_.data() + table_row_ * HeadDim
               : name == "sin"          ? sin_.data() + table_row_ * HeadDim
               : name == "past_key"     ? past_key
               : name == "past_value"   ? past_value
                                        : hidden;
    }
    return out;
  }

  /// After a run of `G`: puts the keys and values of `count` tokens into the cache, [kv_heads, cache_rows, HeadDim],
  /// from `position` on.
  template <class G>
  static void keep(const frame& f, float* key, float* value, std::int64_t position, std::int64_t count) {
    constexpr shape dims = G::value[G::value.outputs[output_index<G>("new_key")].id].dims();
    const auto copy = [&](float* to, const float* from) {
      for (std::int64_t head = 0; head < dims[1].extent; ++head)
        std::copy_n(from + head * dims[2].extent * HeadDim, std::min(count, cache_rows - position) * HeadDim,
                    to + (head * cache_rows + position) * HeadDim);
    };
    copy(key, output_address<G, output_index<G>("new_key")>(f));
    copy(value, output_address<G, output_index<G>("new_value")>(f));
  }

 private:
  static constexpr auto fill = static_cast<float>(Target::options.mask_fill);
  static std::size_t at(std::int64_t i) { return static_cast<std::size_t>(i); }

  std::vector<float> mask_, cos_, sin_;
  std::int64_t table_row_ = 0;
};

}  // namespace qwq
