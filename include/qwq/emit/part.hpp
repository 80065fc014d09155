// SPDX-License-Identifier: Apache-2.0
// One graph of a model without its types: what the code behind all models and schemes walks.
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
#include "qwq/emit/op_map.hpp"
#include "qwq/graph/graph.hpp"
#include "qwq/kernel/operands.hpp"
#include "qwq/quant/placement.hpp"

namespace qwq::to_file {

/// Names that a part's inputs or outputs have outside of it, by the names that they have in it.
using value_names = std::map<std::string, std::string, std::less<>>;

/// One graph of a model, as the code behind all models and schemes sees it.
struct part {
  std::span<const node> nodes;
  std::span<const graph_output> outputs;
  std::span<const slot> slots;
  std::string_view prefix;

  /// The slot of the dequantize node that reads leaf `id`; null when the leaf holds floats.
  const slot* leaf_slot(std::size_t id) const {
    for (const node& n : nodes)
      if (n.kind == op::dequantize && n.args[0] == id) return &slots[static_cast<std::size_t>(n.slot)];
    return nullptr;
  }

  /// Parameters of an activation slot, from those of all slots; `all` is null when nothing was calibrated.
  const kernel::affine& params_of(std::int16_t slot, const std::vector<kernel::affine>* all) const {
    const auto index = static_cast<std::size_t>(slot);
    if (all == nullptr || index >= all->size())
      throw error("emit: expected calibrated parameters for slot '" + std::string(slots[index].name.view()) +
                  "', found none");
    return (*all)[index];
  }

  /// The graph that emitters write of a `compiled` part.
  template <class Compiled>
  static part of() {
    constexpr auto& g = Compiled::emitted::value;
    return {{g.nodes.begin(), g.nodes.end()},
            {g.outputs.begin(), g.outputs.end()},
            {Compiled::slots.begin(), Compiled::slots.end()},
            Compiled::prefix};
  }
};

/// The parts of a program. Layers that are alike are one part.
struct program_parts {
  part embedding, norm, head;
  /// The layer, once for each way in which its weights are quantized.
  std::vector<part> layer_kinds;
  std::vector<std::size_t> kind_of_layer;  ///< Which of them each layer is.

  std::int64_t layers() const { return static_cast<std::int64_t>(kind_of_layer.size()); }
  /// The graph of layer i.
  const part& layer(std::int64_t i) const { return layer_kinds[kind_of_layer[static_cast<std::size_t>(i)]]; }

  /// Refuses to compile when an operator of the program has no row in `Map`.
  template <class Program, const auto& Map>
  static program_parts of() {
    static_assert(require_rows<typename Program::embedding::emitted, Map>());
    static_assert(require_rows<typename Program::norm::emitted, Map>());
    static_assert(require_rows<typename Program::head::emitted, Map>());
    program_parts all{part::of<typename Program::embedding>(),
                      part::of<typename Program::norm>(),
                      part::of<typename Program::head>(),
                      {},
                      {}};
    qwq::detail::for_each_type(typename Program::layer_kinds{}, [&]<class Layer>(std::type_identity<Layer>) {
      static_assert(require_rows<typename Layer::emitted, Map>());
      all.layer_kinds.push_back(part::of<Layer>());
    });
    for (std::int64_t i = 0; i < Program::layer_count; ++i) all.kind_of_layer.push_back(Program::layer_kind(i));
    return all;
  }
};

}  // namespace qwq::to_file
