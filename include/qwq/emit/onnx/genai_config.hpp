// SPDX-License-Identifier: Apache-2.0
// Defines `genai_config`, the genai_config.json by which onnxruntime-genai combines the models of a folder.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <onnx/onnx_pb.h>

#include "qwq/emit/program_data.hpp"
#include "qwq/io/json.hpp"
#include "qwq/io/special_tokens.hpp"

namespace qwq::to_onnx {

/// The JSON type of config files.
using json = qwq::detail::json;

/// Names of a model's inputs or outputs.
template <class ValueInfos>
std::vector<std::string> names(const ValueInfos& values) {
  std::vector<std::string> result;
  for (const auto& v : values) result.push_back(v.name());
  return result;
}

/// A pipeline stage: its model and when it runs. Inputs and outputs are listed from the model itself.
inline json pipeline_stage(const std::string& name, const std::string& file, const ::onnx::ModelProto& model,
                           bool on_prompt, bool on_token) {
  return {{name,
           {{"filename", file},
            {"inputs", names(model.graph().input())},
            {"outputs", names(model.graph().output())},
            {"run_on_prompt", on_prompt},
            {"run_on_token_gen", on_token}}}};
}

/// The sections that every layout has: the model without its decoder's inputs, outputs and files, and greedy search.
/// `type`: onnxruntime-genai's name of the layout. `max_length`: capacity of the KV cache in tokens, at most the
/// model's positions. `folder`: the checkpoint's folder. Token ids that none of its files define are left out; the
/// padding id defaults to the end-of-text id.
inline json genai_config(const to_file::model_sizes& c, std::string_view type, std::int64_t max_length,
                         const std::string& folder) {
  const special_tokens tokens = read_special_tokens(folder, c.vocab_size);
  json model{{"type", type}};
  if (tokens.bos_token_id) model["bos_token_id"] = *tokens.bos_token_id;
  if (!tokens.eos_token_ids.empty()) model["eos_token_id"] = tokens.eos_token_ids;
  if (tokens.pad_token_id)
    model["pad_token_id"] = *tokens.pad_token_id;
  else if (!tokens.eos_token_ids.empty())
    model["pad_token_id"] = tokens.eos_token_ids.front();
  model["vocab_size"] = c.vocab_size;
  model["context_length"] = c.max_position_embeddings;
  model["decoder"] = {{"hidden_size", c.hidden_size},
                      {"num_attention_heads", c.num_attention_heads},
                      {"num_key_value_heads", c.num_key_value_heads},
                      {"num_hidden_layers", c.num_hidden_layers},
                      {"head_size", c.head_dim}};
  return {{"model", model},
          {"search",
           {{"max_length", std::min(max_length, c.max_position_embeddings)},
            {"min_length", 0},
            {"do_sample", false},
            {"past_present_share_buffer", true}}}};
}

}  // namespace qwq::to_onnx
