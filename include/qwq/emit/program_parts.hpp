// SPDX-License-Identifier: Apache-2.0
// Defines `part` and `program_parts`, the graphs of a program without their types: what emitters walk.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "qwq/core/error.hpp"
#include "qwq/core/type_list.hpp"
#include "qwq/graph/graph.hpp"
#include "qwq/kernel/views.hpp"
#include "qwq/model/model_parts.hpp"
#include "qwq/quant/slot.hpp"

namespace qwq::to_file {

/// Names that a part's inputs or outputs have outside of it, by the names that they have in it.
using value_names = std::map<std::string, std::string, std::less<>>;

/// One graph of a model, as the code behind all models and schemes sees it.
struct part {
  std::span<const node> nodes;
  std::span<const graph_output> outputs;
  const slot_list* slots = nullptr;
  std::string_view prefix;

  /// The slot of the dequantize node that reads leaf `id`; null when the leaf holds floats.
  const slot* leaf_slot(std::size_t id) const { return slot_of_leaf(nodes, *slots, id); }

  /// Parameters of an activation slot, from those of all slots; `all` is null when nothing was calibrated.
  const kernel::affine& params_of(std::int16_t slot, const std::vector<kernel::affine>* all) const {
    const auto index = static_cast<std::size_t>(slot);
    if (all == nullptr || index >= all->size())
      throw error("emit: expected calibrated parameters for slot '" +
                  std::string(slots->starting_at(slot).name.view()) + "', found none");
    return (*all)[index];
  }

  /// Whether an output is a state after the run.
  bool is_state(const graph_output& o) const { return is_state_output(nodes, o); }

  /// The graph that emitters write of a `compiled` part.
  template <class Compiled>
  static part of() {
    constexpr auto& g = Compiled::emitted::value;
    return {{g.nodes.begin(), g.nodes.end()}, {g.outputs.begin(), g.outputs.end()}, &Compiled::slots, Compiled::prefix};
  }
};

/// The parts of a program, in the order in which a text passes them.
struct program_parts {
  /// A part: its graph, which all parts of a kind share, and its number among the layers.
  struct entry {
    stage of = stage::layers;  ///< What it is for.
    std::int64_t layer = -1;   ///< Number of the layer, or -1.
    std::size_t kind = 0;      ///< Index in `kinds`.
  };
  std::vector<part> kinds;     ///< Graphs, one for each kind of part.
  std::vector<entry> entries;  ///< The parts.

  /// The graph of part i.
  const part& graph(std::size_t i) const { return kinds[entries[i].kind]; }
  /// Calls f(index) for the parts of the stages from `first` to `last`.
  template <class F>
  void for_each(stage first, stage last, F&& f) const {
    for (std::size_t i = 0; i < entries.size(); ++i)
      if (first <= entries[i].of && entries[i].of <= last) f(i);
  }

  /// Those of a `program`.
  template <class Program>
  static program_parts of() {
    program_parts all;
    qwq::detail::for_each_type(typename Program::kinds{},
                               [&]<class Part>(std::type_identity<Part>) { all.kinds.push_back(part::of<Part>()); });
    for (std::size_t i = 0; i < Program::parts.size(); ++i)
      all.entries.push_back({Program::parts[i].of, Program::parts[i].layer, Program::kind_of(i)});
    return all;
  }
};

}  // namespace qwq::to_file
