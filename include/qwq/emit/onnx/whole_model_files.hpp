// SPDX-License-Identifier: Apache-2.0
// Defines the layout of targets with one model file, for ONNX Runtime, onnxruntime-genai and transformers.js.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "qwq/emit/emit.hpp"
#include "qwq/emit/onnx/export_folder.hpp"
#include "qwq/emit/onnx/genai_config.hpp"
#include "qwq/emit/onnx/stages.hpp"
#include "qwq/emit/onnx/standard_ops.hpp"

namespace qwq::to_onnx {

/// How files of a target are written; a specialization is all that a target adds to this layout.
template <class Target>
struct format_variant;

/// A `format_variant`, type-erased: the layout is compiled once.
struct whole_model_writer {
  opset_versions versions;          ///< Versions that the files declare.
  const op_map<graph_writer>& ops;  ///< One row per operator.
  bool cache_in_place;              ///< The runtime can pass one buffer as past and present.
  /// Writes the inputs that all layers share, except states, and returns their names by the layers' input names.
  /// `cache`: model input of the first state that grows with the sequence; empty if there is none.
  value_names (*shared_inputs)(model_builder&, const std::string& cache);

  /// The writer of a target.
  template <class Target>
  static constexpr whole_model_writer of() {
    using f = format_variant<Target>;
    return {f::versions, f::ops, f::cache_in_place, f::shared_inputs};
  }
};

/// Names of the model's inputs and outputs that both runtimes expect.
namespace whole_names {
inline const std::string ids = "input_ids";        ///< Token ids.
inline const std::string mask = "attention_mask";  ///< 1 for each token, cached ones included.
inline const std::string logits = "logits";        ///< Logits.
/// Name of a layer's state as a model input.
inline std::string past(std::string_view layer, std::string_view state) {
  return std::string("past_key_values.").append(layer).append(".").append(state);
}
/// Name of a layer's state as a model output.
inline std::string present(std::string_view layer, std::string_view state) {
  return std::string("present.").append(layer).append(".").append(state);
}
/// Both, for `write_stages`.
inline constexpr state_names states{
    [](std::int64_t layer, std::string_view state) { return past(std::to_string(layer), state); },
    [](std::int64_t layer, std::string_view state) { return present(std::to_string(layer), state); }};
}  // namespace whole_names

/// Extent `axis` of a value with `rank` axes, as an i64 scalar.
inline std::string extent(model_builder& m, const std::string& value, std::int64_t rank, std::int64_t axis) {
  const std::string all = m.once("Shape", value + "/Shape", std::vector{value}, {dtype::i64, {rank}});
  return m.once("Gather", value + "/extent", std::vector{all, m.int64(axis)}, {dtype::i64, {}});
}

/// Suffix of the file name, by the bits of the weight matrices: transformers.js names the dtypes fp32, q8 and q4.
constexpr std::string_view file_suffix(dtype weight) {
  return is_plain_float(weight) ? "" : bits(weight) == 4 ? "_q4" : "_quantized";
}
/// The dtype of transformers.js, by the bits of the weight matrices.
constexpr std::string_view file_dtype(dtype weight) {
  return is_plain_float(weight) ? "fp32" : bits(weight) == 4 ? "q4" : "q8";
}

/// Type of a state outside of the graphs; the row axis of a growing state is named `length`.
inline tensor_type outside_type(const node& state, std::string_view length) {
  tensor_type type = state.type;
  if (update_of(state) == state_update::append) type.dims[2].symbol = length;
  return type;
}

/// Writes all parts into one graph.
inline void write_whole(model_builder& model, tensor_source& constants, const whole_model_writer& how,
                        const program_parts& parts, const activation_params* params, const emit_options& options) {
  using namespace whole_names;
  graph_writer writer(model, constants, how.ops, options);
  const auto for_each_state = [&](auto&& f) {
    parts.for_each(stage::embedding, stage::head, [&](std::size_t i) {
      for (const node& n : parts.graph(i).nodes)
        if (n.kind == op::state) f(parts.entries[i].layer, n);
    });
  };
  value_names values{{"input_ids", ids}};
  write_stages(writer, parts, stage::embedding, stage::embedding, values, {}, states, params);
  for_each_state([&](std::int64_t layer, const node& n) {
    model.input(states.past(layer, n.name), outside_type(n, past_length));
  });
  std::string first_cache;
  for_each_state([&](std::int64_t layer, const node& n) {
    if (first_cache.empty() && update_of(n) == state_update::append) first_cache = states.past(layer, n.name);
  });
  values.merge(how.shared_inputs(model, first_cache));
  write_stages(writer, parts, stage::layers, stage::norm, values, {}, states, params);
  const written_stages head =
      write_stages(writer, parts, stage::head, stage::head, values, {{"logits", logits}}, states, params);
  model.output(logits, head.outputs.at("logits").type);
  for_each_state([&](std::int64_t layer, const node& n) {
    model.output(states.present(layer, n.name), outside_type(n, total_length));
  });
}

/// Writes all files of an export.
inline std::vector<written_file> write_whole_folder(const whole_model_writer& how, const to_file::program_data& data,
                                                    const checkpoint& from, const activation_params* tuned,
                                                    const emit_options& options, const std::filesystem::path& out) {
  using namespace whole_names;
  const std::string file = "onnx/model" + std::string(file_suffix(data.weight)) + ".onnx";
  export_folder folder(out, options.files, file + "_data");
  tensor_source constants(from, data.codes, options, false, data.layout);
  model_builder model("model", folder.data(), how.versions);
  write_whole(model, constants, how, data.prefill, tuned, options);
  constants.account();
  const ::onnx::ModelProto& whole = model.finish();
  folder.add(file, whole);

  json config = genai_config(data.sizes, data.sizes.model_type, options.max_length, from.folder());
  json& decoder = config["model"]["decoder"];
  decoder["session_options"] = {{"log_id", "onnxruntime-genai"}, {"provider_options", json::array()}};
  decoder["filename"] = file;
  decoder["inputs"] = {
      {"input_ids", ids}, {"past_key_names", past("%d", "key")}, {"past_value_names", past("%d", "value")}};
  if (std::ranges::count(names(whole.graph().input()), mask) > 0) decoder["inputs"]["attention_mask"] = mask;
  decoder["outputs"] = {
      {"logits", logits}, {"present_key_names", present("%d", "key")}, {"present_value_names", present("%d", "value")}};
  config["search"]["past_present_share_buffer"] = how.cache_in_place;
  folder.add("genai_config.json", config.dump(2) + "\n");

  const std::string config_file = from.folder() + "/config.json";
  json described = qwq::detail::parse_object(mapped_file(config_file).text(), config_file);
  described["transformers.js_config"] = {{"use_external_data_format", true}, {"dtype", file_dtype(data.weight)}};
  folder.add("config.json", described.dump(2) + "\n");
  folder.copy_from(from.folder(), tokenizer_files);
  folder.copy_from(from.folder(), {"generation_config.json"});
  return folder.commit();
}

}  // namespace qwq::to_onnx

/// One model: onnx/model.onnx, model_q4.onnx or model_quantized.onnx with its data file; next to the folder onnx, the
/// configs of onnxruntime-genai and transformers.js and the tokenizer's files. Several schemes can be written to one
/// folder; the configs then refer to the last one.
template <class Target>
requires requires { qwq::to_onnx::format_variant<Target>::versions; }
struct qwq::to_file::writer<Target> {
  /// Op map of the target.
  static constexpr auto& ops = to_onnx::format_variant<Target>::ops;
  /// Writes the files; the arguments are those of `write_files`.
  static std::vector<written_file> write(const program_data& data, const checkpoint& from,
                                         const calibration_result* tuned, const emit_options& options,
                                         const std::filesystem::path& out) {
    return to_onnx::write_whole_folder(to_onnx::whole_model_writer::of<Target>(), data, from,
                                       tuned != nullptr ? &tuned->prefill : nullptr, options, out);
  }
};
