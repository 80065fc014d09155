// SPDX-License-Identifier: Apache-2.0
// Defines the `writer` of target onnx_winml: embeddings, prefill, decode and lm_head, and the pipeline that joins them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "qwq/emit/emit.hpp"
#include "qwq/emit/onnx/contrib_ops.hpp"
#include "qwq/emit/onnx/export_folder.hpp"
#include "qwq/emit/onnx/genai_config.hpp"
#include "qwq/emit/onnx/stages.hpp"
#include "qwq/targets/onnx_winml.hpp"

namespace qwq {

namespace to_onnx {

/// Names of the values between the stages, those of winml-cli.
namespace winml_names {
inline const std::string ids = "input_ids";                     ///< Token ids.
inline const std::string embedded = "input_hidden_states";      ///< Hidden states before the layers.
inline const std::string transformed = "output_hidden_states";  ///< Hidden states after the final norm.
inline const std::string logits = "logits";                     ///< Logits.
inline const std::string last_position = "past_seq_len";        ///< Position of the last token of a run.
inline const std::string total = "total_seq_len";               ///< Number of tokens, cached ones included.
/// Names of a layer's states before and after a run, such as "past_keys_3".
inline constexpr state_names states{[](std::int64_t layer, std::string_view state) {
                                      return std::string("past_").append(state).append("s_") + std::to_string(layer);
                                    },
                                    [](std::int64_t layer, std::string_view state) {
                                      return std::string("present_").append(state).append("s_") + std::to_string(layer);
                                    }};
}  // namespace winml_names

/// Writes a model of one stage, the embedding or the head. `input` and `output` are names inside its parts.
inline void write_single(model_builder& model, tensor_source& constants, const program_parts& parts, stage only,
                         const char* input, const std::string& in, const char* output, const std::string& out) {
  graph_writer writer(model, constants, contrib_ops);
  value_names values{{input, in}};
  const auto written = write_stages(writer, parts, only, only, values, {{output, out}}, winml_names::states, nullptr);
  model.output(out, written.outputs.at(output).type);
}

/// Writes all layers and the final norm, for chunks of a fixed number of tokens.
inline void write_transformer(model_builder& model, tensor_source& constants, const program_parts& parts,
                              const activation_params* params) {
  using namespace winml_names;
  graph_writer writer(model, constants, contrib_ops);
  value_names values{{"hidden_states", embedded}, {"last_position", last_position}, {"total_seq_len", total}};
  const auto written =
      write_stages(writer, parts, stage::layers, stage::norm, values, {{"hidden_states", transformed}}, states, params);
  model.output(transformed, written.outputs.at("hidden_states").type);
  for (const written_output& c : written.states) model.output(c.name, c.type);
}

}  // namespace to_onnx

/// embeddings.onnx, prefill.onnx (64 tokens), decode.onnx (1 token) and lm_head.onnx, which share model.data;
/// genai_config.json and the tokenizer's files.
template <>
struct to_file::writer<onnx_winml> {
  /// Op map of the target.
  static constexpr auto& ops = to_onnx::contrib_ops;
  /// Writes the files; the arguments are those of `write_files`.
  static std::vector<written_file> write(const program_data& data, const checkpoint& from,
                                         const calibration_result* tuned, const emit_options& options,
                                         const std::filesystem::path& out);
};

inline std::vector<written_file> to_file::writer<onnx_winml>::write(const program_data& data, const checkpoint& from,
                                                                    const calibration_result* tuned,
                                                                    const emit_options& options,
                                                                    const std::filesystem::path& out) {
  using namespace to_onnx;
  using namespace winml_names;
  export_folder folder(out, options.files, "model.data");
  tensor_source constants(from, data.codes, options, false, data.layout);
  json config = genai_config(data.sizes, "decoder-pipeline", options.max_length, from.folder());
  json& decoder = config["model"]["decoder"];
  decoder["sliding_window"] = {{"window_size", prefill_rows},
                               {"pad_value", 0},
                               {"alignment", "left"},
                               {"slide_inputs", true},
                               {"slide_key_value_cache", false}};
  decoder["inputs"] = {{"input_ids", ids},
                       {"past_sequence_length", last_position},
                       {"total_sequence_length", total},
                       {"past_key_names", "past_keys_%d"},
                       {"past_value_names", "past_values_%d"}};
  decoder["outputs"] = {
      {"logits", logits}, {"present_key_names", "present_keys_%d"}, {"present_value_names", "present_values_%d"}};
  json& pipeline = decoder["pipeline"] = json::array();
  const auto add = [&](const char* name, bool on_prompt, bool on_token, std::vector<std::string_view> fixed,
                       auto&& write) {
    model_builder model(name, folder.data(), {}, std::move(fixed));
    write(model);
    const std::string file = std::string(name) + ".onnx";
    const ::onnx::ModelProto& whole = model.finish();
    folder.add(file, whole);
    pipeline.push_back(pipeline_stage(name, file, whole, on_prompt, on_token));
  };
  add("embeddings", true, true, {}, [&](model_builder& m) {
    write_single(m, constants, data.prefill, stage::embedding, "input_ids", ids, "hidden_states", embedded);
  });
  add("prefill", true, false, {"sequence_length"}, [&](model_builder& m) {
    write_transformer(m, constants, data.prefill, tuned != nullptr ? &tuned->prefill : nullptr);
  });
  add("decode", false, true, {"sequence_length"}, [&](model_builder& m) {
    write_transformer(m, constants, data.decode, tuned != nullptr ? &tuned->decode : nullptr);
  });
  add("lm_head", true, true, {}, [&](model_builder& m) {
    write_single(m, constants, data.prefill, stage::head, "hidden_states", transformed, "logits", logits);
  });
  constants.account();
  pipeline.back()["lm_head"]["is_lm_head"] = true;
  folder.copy_from(from.folder(), tokenizer_files);
  folder.copy_from(from.folder(), config_files);
  folder.add("genai_config.json", config.dump(2) + "\n");
  return folder.commit();
}

}  // namespace qwq
