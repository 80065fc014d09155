// SPDX-License-Identifier: Apache-2.0
// Defines `slot`, a place of quantization parameters, and `slot_list`, those of a graph.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "qwq/graph/graph.hpp"
#include "qwq/quant/number_format.hpp"

namespace qwq {

enum class slot_kind : std::uint8_t {
  activation,  // its range is observed during calibration, unless its format is dynamic
  weight,      // a matrix of a product, in the scheme's weight format
  constant,    // any other constant: its range is known when it is bound
};

/// Place of one scale and zero_point (or of one per output channel). Values that layout operators merely rearrange
/// share a slot.
struct slot {
  slot_kind kind = slot_kind::activation;
  number_format format{};
  fixed_string<95> name{};
  /// Number of parameters (scale and zero point) of an activation: one, or one for each expert. They are those from
  /// `first` on, and nodes name a slot by its first one.
  std::int32_t count = 1;
  std::int16_t first = 0;  ///< Index of its first parameters among those of all slots.
};

/// The slots of a graph.
struct slot_list : fixed_vector<slot, 96> {
  /// Number of parameters of all slots.
  constexpr std::size_t parameters() const {
    return empty() ? 0 : static_cast<std::size_t>(back().first + back().count);
  }
  /// The slot whose parameters begin at `first`.
  constexpr const slot& starting_at(std::int16_t first) const {
    std::size_t i = 0;
    while (items[i].first != first) ++i;
    return items[i];
  }
};

/// The slot of the dequantize node that reads leaf `id` of a graph; null when the leaf holds floats.
constexpr const slot* slot_of_leaf(std::span<const node> nodes, const slot_list& slots, std::size_t id) {
  for (const node& n : nodes)
    if (n.kind == op::dequantize && n.args[0] == id) return &slots.starting_at(n.slot);
  return nullptr;
}

}  // namespace qwq
