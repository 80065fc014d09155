// SPDX-License-Identifier: Apache-2.0
// Defines the `writer` of targets circle, circle_qdq and tflite: one file per stage, as in TICO, and one with all.
#pragma once

#include <concepts>
#include <cstdint>
#include <filesystem>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "qwq/emit/circle/circle_check.hpp"
#include "qwq/emit/circle/circle_ops.hpp"
#include "qwq/emit/emit.hpp"
#include "qwq/emit/sidecar_files.hpp"
#include "qwq/io/file_set.hpp"
#include "qwq/quant/tico_scheme.hpp"
#include "qwq/targets/circle.hpp"

namespace qwq {

namespace to_circle {

/// The reader of a target's files, and the form of quantization in them.
struct file_kind {
  file_format reader;  ///< Circle or TFLite.
  qdq_mode quantized;  ///< How quantized values are written.
  bool per_head;       ///< Attention is written head by head.
};

/// The `file_kind` of a target; `false` for other targets.
template <class Target>
inline constexpr bool kind_of = false;  // no target of ours
/// Kind of target circle.
template <circle_options O>
inline constexpr file_kind kind_of<circle<O>>{file_format::circle, qdq_mode::integer, O.per_head};
/// Kind of target circle_qdq.
template <circle_options O>
inline constexpr file_kind kind_of<circle_qdq<O>>{file_format::circle, qdq_mode::qdq, O.per_head};
/// Kind of target tflite.
template <circle_options O>
inline constexpr file_kind kind_of<tflite<O>>{file_format::tflite, qdq_mode::qdq, O.per_head};

/// True for the targets that this header writes.
template <class Target>
concept circle_target = std::same_as<decltype(kind_of<Target>), const file_kind>;

/// One of the two modes of a model, prefill or decode: its graphs and the parameters of their activations.
struct mode {
  std::string name;                          ///< "prefill" or "decode".
  program_parts parts;                       ///< Its graphs.
  const activation_params* tuned = nullptr;  ///< Parameters of the activations; null: they stay in float.
};

/// A value that a part has written, with its name.
using named_value = std::pair<std::string, written_value>;

/// Writes a part: binds its inputs by name, and binds its outputs. A state is named past_<state> and new_<state>, with
/// `suffix`. Returns the new rows of its states.
inline std::vector<named_value> write_part(graph_writer& w, const mode& m, std::size_t i, const std::string& suffix) {
  const part& p = m.parts.graph(i);
  value_names states;
  for (const node& n : p.nodes)
    if (n.kind == op::state) states[std::string(n.name.view())] = past_name(n.name) + suffix;
  const auto results = w.write(p, m.parts.entries[i].layer, states, m.tuned != nullptr ? &m.tuned->at(i) : nullptr);
  std::vector<named_value> rows;
  for (const graph_output& o : p.outputs) {
    const std::string name(o.name.view());
    // Prefill graphs have no state inputs; they output the rows of those that decode graphs read.
    if (m.parts.entries[i].of == stage::layers && name != "hidden_states")
      rows.emplace_back(new_name(name) + suffix, results.at(name));
    else
      w.bind(name, results.at(name));
  }
  return rows;
}

/// Writes the parts of the stages from `first` to `last`. Returns the new rows of their states.
inline std::vector<named_value> write_parts(graph_writer& w, const mode& m, stage first, stage last) {
  std::vector<named_value> rows;
  m.parts.for_each(first, last, [&](std::size_t i) {
    for (named_value& row : write_part(w, m, i, '_' + std::to_string(m.parts.entries[i].layer)))
      rows.push_back(std::move(row));
  });
  return rows;
}

/// Writes all parts: input_ids [1,S], cos, sin, attention_mask, and for decode the states -> logits [1,S,V] and the new
/// rows of the states.
inline void write_model(graph_writer& w, const mode& m) {
  const auto rows = write_parts(w, m, stage::embedding, stage::head);
  w.output("logits", w.bound("logits"));
  for (const auto& [name, value] : rows) w.output(name, value);
}

/// Writes all files; checks each as a whole before any is renamed. `suffix`: follows the stage in file names.
/// `missing`: receives the number of values without quantization parameters; can be null.
inline std::vector<written_file> write_stages(const checkpoint& from, tensor_source& constants, const mode& prefill,
                                              const mode& decode, file_kind kind, const op_map<graph_writer>& ops,
                                              const std::string& suffix, std::int64_t* missing,
                                              const file_handling& how, const std::filesystem::path& out) {
  file_set files(out, how);
  const auto add_graph = [&](model_builder& m, const std::string& name, auto&& write) {
    m.begin(name);
    graph_writer w(m, constants, ops, kind.quantized, kind.per_head);
    write(w);
    w.finish();
  };
  const auto save = [&](model_builder& m, const std::string& name) {
    output_file& file = files.add(name + suffix);
    m.write(file);
    const auto whole = file.whole();
    if (!whole) return;
    check_file(whole->bytes(), kind.reader, file.name());
    if (missing != nullptr) *missing += count_missing_qparams(whole->bytes());
  };
  const auto add_stage = [&](const std::string& name, bool dynamic, auto&& write) {
    model_builder m(kind.reader, dynamic);
    add_graph(m, name, write);
    save(m, name);
  };

  add_stage("token_embedding", true, [&](graph_writer& w) {
    write_parts(w, prefill, stage::embedding, stage::embedding);
    w.output("hidden_states", w.bound("hidden_states"));
  });
  for (const mode& m : {prefill, decode})
    m.parts.for_each(stage::layers, stage::layers, [&](std::size_t i) {
      const std::string number = std::to_string(m.parts.entries[i].layer);
      add_stage("decoder_layer_" + m.name + '_' + number, false, [&](graph_writer& w) {
        const auto rows = write_part(w, m, i, "");
        w.output("hidden_states", w.bound("hidden_states"));
        for (const auto& [name, value] : rows) w.output(name, value);
      });
    });
  add_stage("lm_head", false, [&](graph_writer& w) {
    write_parts(w, decode, stage::norm, stage::head);
    w.output("logits", w.bound("logits"));
  });

  model_builder whole(kind.reader);
  for (const mode& m : {prefill, decode}) add_graph(whole, m.name, [&](graph_writer& w) { write_model(w, m); });
  save(whole, "model");
  constants.account();
  copy_files(files, from.folder(), tokenizer_files);
  copy_files(files, from.folder(), config_files);
  return files.commit();
}

/// Writes all files of an export: those of the stages and the tokenizer's.
inline std::vector<written_file> write_folder(file_kind kind, const to_file::program_data& data, const checkpoint& from,
                                              const calibration_result* tuned, const emit_options& options,
                                              const std::filesystem::path& out) {
  const bool is_circle = kind.reader == file_format::circle;
  tensor_source constants(from, data.codes, options, true, data.layout);
  const std::string type = data.quantizes ? ".q" : ".f32";
  const bool only_integers = data.quantizes && kind.quantized == qdq_mode::integer;
  std::int64_t missing = 0;
  auto written = write_stages(from, constants, {"prefill", data.prefill, tuned != nullptr ? &tuned->prefill : nullptr},
                              {"decode", data.decode, tuned != nullptr ? &tuned->decode : nullptr}, kind,
                              is_circle ? circle_ops : shared_ops, type + (is_circle ? ".circle" : ".tflite"),
                              only_integers ? &missing : nullptr, options.files, out);
  if (only_integers && options.notes != nullptr)
    *options.notes << "[QuantCheck] " << missing << " nodes without qparam detected.\n";
  return written;
}

}  // namespace to_circle

/// token_embedding (any number of tokens), decoder_layer_prefill_i, decoder_layer_decode_i, lm_head (one token; with
/// the final norm), and `model`, which contains everything as two subgraphs, prefill and decode; with endings such as
/// .f32.circle and .q.circle; and the tokenizer's files.
template <to_circle::circle_target Target>
struct to_file::writer<Target> {
  /// Op map of the target's graphs.
  static constexpr auto& ops = to_circle::kind_of<Target>.reader == to_circle::file_format::circle
                                   ? to_circle::circle_ops
                                   : to_circle::shared_ops;
  /// Writes the files; the arguments are those of `write_files`.
  static std::vector<written_file> write(const program_data& data, const checkpoint& from,
                                         const calibration_result* tuned, const emit_options& options,
                                         const std::filesystem::path& out) {
    return to_circle::write_folder(to_circle::kind_of<Target>, data, from, tuned, options, out);
  }
};

}  // namespace qwq
