// SPDX-License-Identifier: Apache-2.0
// Defines `program_data`, a type-erased model for one target and scheme: the input of all file writers.
#pragma once

#include <cstdint>
#include <string_view>

#include "qwq/compile/program.hpp"
#include "qwq/core/dtype.hpp"
#include "qwq/emit/constant_source.hpp"
#include "qwq/emit/program_parts.hpp"
#include "qwq/model/weight_layout.hpp"

namespace qwq::to_file {

/// Model sizes that are repeated in the config files of runtimes.
struct model_sizes {
  std::string_view model_type;  ///< The `model_type` of config.json.
  // The fields of config.json with these names.
  std::int64_t vocab_size = 0,      ///< Rows of the embedding table.
      max_position_embeddings = 0,  ///< Maximum number of tokens in a text.
      hidden_size = 0,              ///< Channels of the residual stream.
      num_attention_heads = 0,      ///< Query heads per layer.
      num_key_value_heads = 0,      ///< Key and value heads per layer.
      num_hidden_layers = 0,        ///< Number of decoder layers.
      head_dim = 0;                 ///< Channels per head.

  /// The sizes of `Model::config`.
  template <class Model>
  static constexpr model_sizes of() {
    constexpr auto& c = Model::config;
    return {Model::model_type,     c.vocab_size,          c.max_position_embeddings, c.hidden_size,
            c.num_attention_heads, c.num_key_value_heads, c.num_hidden_layers,       c.head_dim};
  }
};

/// A model for one target and scheme. Writers receive it as a value, so that they are compiled once for all models.
struct program_data {
  /// Sizes for config files.
  model_sizes sizes;
  weight_layout layout;   ///< How a checkpoint of the model stores its leaves.
  quantizer codes;        ///< The formats of the scheme.
  dtype weight;           ///< Element type of the scheme's weight matrices.
  bool quantizes;         ///< True if the scheme quantizes anything in some layer.
  program_parts prefill;  ///< Graphs for prompts; on single-graph targets, for all runs.
  program_parts decode;   ///< Graphs for single tokens; empty on single-graph targets.

  /// Makes the data of `Model` for `Target` and `Scheme`.
  template <class Model, target Target, quantization_scheme Scheme>
  static program_data of() {
    program_data all{model_sizes::of<Model>(),
                     layout_of<Model>(),
                     quantizer::of<Scheme>(),
                     Scheme::spec.weight.element,
                     qwq::quantizes<Scheme>(),
                     program_parts::of<program<Model, Target, Scheme, prompt_rows<Target>()>>(),
                     {}};
    if constexpr (!is_single_graph<Target>) all.decode = program_parts::of<program<Model, Target, Scheme, 1>>();
    return all;
  }
};

}  // namespace qwq::to_file
