// SPDX-License-Identifier: Apache-2.0
// Defines `write_stages`, which writes consecutive parts of a program into an ONNX model.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "qwq/compile/program.hpp"
#include "qwq/emit/onnx/onnx_graph_writer.hpp"

namespace qwq::to_onnx {

/// Naming of a layer's states as inputs and outputs of a model.
struct state_names {
  /// Name of a state before a run.
  std::string (*past)(std::int64_t layer, std::string_view state);
  /// Name of a state after a run.
  std::string (*present)(std::int64_t layer, std::string_view state);
};

/// The outputs that `write_stages` has written.
struct written_stages {
  std::vector<written_output> states;  ///< States after the run, in the order of the parts.
  /// Other outputs of the last part, by their names in it.
  std::map<std::string, written_output, std::less<>> outputs{};
};

/// Writes the parts of the stages from `first` to `last`. `values` maps names in the parts to values of the model; the
/// outputs of each part are added to it. `wanted`: names for the outputs of the last part.
inline written_stages write_stages(graph_writer& writer, const program_parts& parts, stage first, stage last,
                                   value_names& values, const value_names& wanted, const state_names& states,
                                   const activation_params* params) {
  std::size_t end = 0;
  parts.for_each(first, last, [&](std::size_t i) { end = i; });
  written_stages all;
  parts.for_each(first, last, [&](std::size_t i) {
    const part& p = parts.graph(i);
    const std::int64_t layer = parts.entries[i].layer;
    value_names inputs = values, outputs;
    for (const node& n : p.nodes)
      if (n.kind == op::state) inputs[std::string(n.name.view())] = states.past(layer, n.name);
    for (const graph_output& o : p.outputs)
      if (p.is_state(o)) outputs[std::string(o.name.view())] = states.present(layer, o.name);
    if (i == end) outputs.insert(wanted.begin(), wanted.end());
    const auto written = writer.write(p, layer, inputs, outputs, params != nullptr ? &params->at(i) : nullptr);
    for (const graph_output& o : p.outputs) {
      const written_output& result = written.at(o.name.view());
      if (p.is_state(o)) {
        all.states.push_back(result);
        continue;
      }
      values[std::string(o.name.view())] = result.name;
      if (i == end) all.outputs[std::string(o.name.view())] = result;
    }
  });
  return all;
}

}  // namespace qwq::to_onnx
