// SPDX-License-Identifier: Apache-2.0
// Defines `part` and `program_parts`, the type-erased graphs of a program that emitters write.
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

/// Maps the names of a part's inputs or outputs to their names outside of the part.
using value_names = std::map<std::string, std::string, std::less<>>;

/// One graph of a model, type-erased: code that takes it is compiled once for all models and schemes.
struct part {
  std::span<const node> nodes;            ///< Nodes in topological order.
  std::span<const graph_output> outputs;  ///< Outputs of the graph.
  const slot_list* slots = nullptr;       ///< Quantization slots of the graph.
  std::string_view prefix;                ///< Prefix of the checkpoint names of its weights.

  /// Slot of the dequantize node whose operand is leaf `id`; null if the leaf holds floats.
  const slot* leaf_slot(std::size_t id) const { return slot_of_leaf(nodes, *slots, id); }

  /// Parameters of an activation slot, out of `all`, the parameters of all slots. Throws `error` if they are missing or
  /// `all` is null (not calibrated).
  const kernel::affine& params_of(std::int16_t slot, const std::vector<kernel::affine>* all) const {
    const auto index = static_cast<std::size_t>(slot);
    if (all == nullptr || index >= all->size())
      throw error("emit: expected calibrated parameters for slot '" +
                  std::string(slots->starting_at(slot).name.view()) + "', found none");
    return (*all)[index];
  }

  /// True if output `o` is a state after the run.
  bool is_state(const graph_output& o) const { return is_state_output(nodes, o); }

  /// The emitted graph of a `compiled` part.
  template <class Compiled>
  static part of() {
    constexpr auto& g = Compiled::emitted::value;
    return {{g.nodes.begin(), g.nodes.end()}, {g.outputs.begin(), g.outputs.end()}, &Compiled::slots, Compiled::prefix};
  }
};

/// The parts of a program, in execution order.
struct program_parts {
  /// One part: its graph, which all parts of a kind share, and its layer.
  struct entry {
    stage of = stage::layers;  ///< Stage of the part.
    std::int64_t layer = -1;   ///< Layer number, or -1.
    std::size_t kind = 0;      ///< Index in `kinds`.
  };
  std::vector<part> kinds;     ///< Graphs, one per kind of part.
  std::vector<entry> entries;  ///< The parts.

  /// The graph of part i.
  const part& graph(std::size_t i) const { return kinds[entries[i].kind]; }
  /// Calls f(index) for each part of the stages from `first` to `last`.
  template <class F>
  void for_each(stage first, stage last, F&& f) const {
    for (std::size_t i = 0; i < entries.size(); ++i)
      if (first <= entries[i].of && entries[i].of <= last) f(i);
  }

  /// Makes the parts of a `program`.
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
