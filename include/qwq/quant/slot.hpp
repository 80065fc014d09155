// SPDX-License-Identifier: Apache-2.0
// Defines `slot`, a quantization site with its parameters, and `slot_list`, the slots of a graph.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "qwq/graph/graph.hpp"
#include "qwq/quant/number_format.hpp"

namespace qwq {

/// Kind of a slot's value.
enum class slot_kind : std::uint8_t {
  activation,  ///< An activation; its range is observed during calibration, unless its format is dynamic.
  weight,      ///< A GEMM weight, in the scheme's weight format.
  constant,    ///< Any other constant; its range is known when it is bound.
};

/// A quantization site: one scale and zero_point (or one per output channel). Values that layout operators only
/// rearrange share a slot.
struct slot {
  slot_kind kind = slot_kind::activation;  ///< Kind of value.
  number_format format{};                  ///< Format of the codes.
  fixed_string<95> name{};                 ///< Name in messages and files, derived from the module and the operator.
  /// Number of parameters (pairs of scale and zero point) of an activation: one, or one per expert. They are contiguous
  /// from index `first`; nodes refer to a slot by `first`.
  std::int32_t count = 1;
  std::int16_t first = 0;  ///< Index of the slot's first parameter among those of all slots.
};

/// The slots of a graph.
struct slot_list : fixed_vector<slot, 96> {
  /// Number of parameters of all slots.
  constexpr std::size_t parameters() const {
    return empty() ? 0 : static_cast<std::size_t>(back().first + back().count);
  }
  /// The slot whose parameters begin at index `first`, which must exist.
  constexpr const slot& starting_at(std::int16_t first) const {
    std::size_t i = 0;
    while (items[i].first != first) ++i;
    return items[i];
  }
};

/// The slot of the dequantize node that reads leaf `id`; null if the leaf holds floats.
constexpr const slot* slot_of_leaf(std::span<const node> nodes, const slot_list& slots, std::size_t id) {
  for (const node& n : nodes)
    if (n.kind == op::dequantize && n.args[0] == id) return &slots.starting_at(n.slot);
  return nullptr;
}

}  // namespace qwq
