// SPDX-License-Identifier: Apache-2.0
// Defines `program_data`, a model for one target and scheme without its types: all that the writers of files read.
#pragma once

#include <cstdint>
#include <string_view>

#include "qwq/compile/program.hpp"
#include "qwq/core/dtype.hpp"
#include "qwq/emit/constant_source.hpp"
#include "qwq/emit/program_parts.hpp"
#include "qwq/model/weight_layout.hpp"

namespace qwq::to_file {

/// Sizes of a model that the configs of runtimes repeat.
struct model_sizes {
  std::string_view model_type;  ///< As config.json has it.
  std::int64_t vocab_size = 0, max_position_embeddings = 0, hidden_size = 0, num_attention_heads = 0,
               num_key_value_heads = 0, num_hidden_layers = 0, head_dim = 0;

  /// Those of `Model::config`.
  template <class Model>
  static constexpr model_sizes of() {
    constexpr auto& c = Model::config;
    return {Model::model_type,     c.vocab_size,          c.max_position_embeddings, c.hidden_size,
            c.num_attention_heads, c.num_key_value_heads, c.num_hidden_layers,       c.head_dim};
  }
};

/// A model for one target and scheme. Writers take it as a value, so that they are compiled once for all models.
struct program_data {
  model_sizes sizes;
  weight_layout layout;   ///< How a checkpoint of the model stores its leaves.
  quantizer codes;        ///< The formats of the scheme.
  dtype weight;           ///< Type of the scheme's matrices.
  program_parts prefill;  ///< For prompts; of a target with one graph, for all.
  program_parts decode;   ///< For single tokens; of a target with one graph, empty.

  /// Whether the scheme quantizes anything.
  bool quantizes() const { return !is_plain_float(weight); }

  /// `Model` for `Target` and `Scheme`.
  template <class Model, target Target, quantization_scheme Scheme>
  static program_data of() {
    program_data all{model_sizes::of<Model>(),
                     layout_of<Model>(),
                     quantizer::of<Scheme>(),
                     Scheme::spec.weight.element,
                     program_parts::of<program<Model, Target, Scheme, prompt_rows<Target>()>>(),
                     {}};
    if constexpr (!is_single_graph<Target>) all.decode = program_parts::of<program<Model, Target, Scheme, 1>>();
    return all;
  }
};

}  // namespace qwq::to_file
