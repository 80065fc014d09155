// SPDX-License-Identifier: Apache-2.0
// Defines `exporter_model` and `exporter_part`, the type-erased operations of an exporter.
// Each part is its own translation unit; exporter.hpp has the code that all parts share.
#pragma once

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "qwq/cli/same_config.hpp"
#include "qwq/core/written_file.hpp"
#include "qwq/emit/options.hpp"
#include "qwq/emit/program_data.hpp"
#include "qwq/quant/tico_scheme.hpp"
#include "qwq/runtime/calibrate.hpp"
#include "qwq/runtime/session_interface.hpp"

namespace qwq {

/// Coverage and applied rules of a program, over all of its layers.
struct program_summary {
  coverage edges;                              ///< Quantized edges.
  std::map<std::string, std::uint64_t> rules;  ///< Rule -> number of applications.
};

/// Binds a checkpoint for texts of at most `positions` tokens and opens a session on it.
using session_opener = std::unique_ptr<session_interface> (*)(const checkpoint&, std::int64_t positions, granularity,
                                                              const calibration_result*, executor*);

/// The model that an exporter was built for, in float.
struct exporter_model {
  to_file::model_sizes sizes;  ///< Sizes that the command line and the files need.
  /// Throws `error` unless `json`, the text of a checkpoint's config.json, has the compiled config. `file`: its name in
  /// messages.
  void (*check)(std::string_view json, const std::string& file) = nullptr;
  /// Opens a float session.
  session_opener open = nullptr;
};

/// `to_file::write_files` of a target.
using file_writer = std::vector<written_file> (*)(const to_file::program_data&, const checkpoint&,
                                                  const calibration_result*, const emit_options&,
                                                  const std::filesystem::path&);

/// A scheme and target that an exporter was built for. Both `calibrate` and `uncalibrated` are null if no activations
/// are quantized; `open` and `weights` are null if nothing is quantized: the target's graph then computes the same as
/// the model's own.
struct exporter_part {
  std::string_view scheme,   ///< Name of the scheme.
      target;                ///< Name of the target.
  quant_spec spec;           ///< The quantization of the scheme.
  std::int64_t longest = 0;  ///< Maximum number of tokens in a text.
  /// What shares a scale in weights, given the user's choice, as text: "per tensor", "per channel", "in blocks of 32";
  /// several for a mixed scheme.
  std::string (*weights)(granularity chosen) = nullptr;
  /// Calibrates the scheme; see `qwq::calibrate`.
  calibration_result (*calibrate)(const checkpoint&, std::span<const token_sequence>, const calibration_options&,
                                  const std::function<void(std::size_t)>& done) = nullptr;
  /// Parameters as if every activation had the same range: files written with them have the final sizes.
  calibration_result (*uncalibrated)() = nullptr;
  session_opener open = nullptr;  ///< Opens a session of the scheme.
  /// The model data for file writers.
  to_file::program_data (*data)() = nullptr;
  file_writer files = nullptr;               ///< Writes the files of the target.
  program_summary (*summarize)() = nullptr;  ///< Coverage and applied rules.
};

/// Maximum number of tokens in files without dynamic extents: `wanted`, or the model's positions if fewer.
template <class Model>
constexpr std::int64_t static_length(std::int64_t wanted) {
  return std::min<std::int64_t>(wanted, Model::config.max_position_embeddings);
}

namespace detail {

/// Counts every layer; parts that both graphs of a target share count once.
template <class Model, target Target, quantization_scheme Scheme>
program_summary summarize_program() {
  program_summary out;
  const auto add = [&]<class Part>(std::type_identity<Part>) {
    if (quantizes<Scheme>()) {
      out.edges.covered += Part::covered.covered;
      out.edges.total += Part::covered.total;
    }
    const auto count = [&](const auto& rules) {
      for (const rule& r : rules) out.rules[std::string(r.name)] += Part::log.count(r.name);
    };
    if constexpr (requires { Target::first_rules; }) count(Target::first_rules);
    count(Target::rules);
  };
  program<Model, Target, Scheme, prompt_rows<Target>()>::for_each_part(
      [&]<class Part>(std::type_identity<Part> part, std::size_t) { add(part); });
  if (is_single_graph<Target>) return out;
  program<Model, Target, Scheme, 1>::for_each_part([&]<class Part>(std::type_identity<Part> part, std::size_t) {
    if (Part::of != stage::embedding && Part::of != stage::head) add(part);
  });
  return out;
}

template <class Program>
activation_params default_params() {
  activation_params out;
  Program::for_each_part(
      [&]<class Part>(std::type_identity<Part>, std::size_t) { out.emplace_back(Part::slots.parameters()); });
  return out;
}

template <class Model, target Target, quantization_scheme Scheme>
calibration_result uncalibrated() {
  return {default_params<program<Model, Target, Scheme, prompt_rows<Target>()>>(),
          default_params<program<Model, Target, Scheme, 1>>()};
}

}  // namespace detail

/// The operations of an exporter for `Model`.
template <class Model>
exporter_model make_exporter_model() {
  return {to_file::model_sizes::of<Model>(),
          [](std::string_view json, const std::string& file) {
            using config = std::remove_const_t<decltype(Model::config)>;
            detail::require_same_fields(Model::config, from_json<config>(json, file), file + ": ");
          },
          &open_session<Model>};
}

/// The part of `Scheme` and `Target`; `files` writes its files.
template <class Model, target Target, quantization_scheme Scheme>
exporter_part make_exporter_part(file_writer files) {
  exporter_part part{Scheme::name, Target::name, Scheme::spec, longest_text<Model, Target>()};
  part.data = &to_file::program_data::of<Model, Target, Scheme>;
  part.files = files;
  if constexpr (quantizes_activations<Scheme>()) {
    part.uncalibrated = &detail::uncalibrated<Model, Target, Scheme>;
    part.calibrate = [](const checkpoint& from, std::span<const token_sequence> texts, const calibration_options& o,
                        const std::function<void(std::size_t)>& done) {
      return calibrate<Model, Target, Scheme>(from, texts, o, done);
    };
  }
  if constexpr (quantizes<Scheme>()) {
    part.open = &open_session<Model, Target, Scheme>;
    part.weights = [](granularity chosen) -> std::string {
      std::string words;
      detail::for_each_type(all_weight_formats<Scheme>{}, [&]<class Format>(std::type_identity<Format>) {
        if (!words.empty()) words += ", ";
        if constexpr (blockwise_format<Format>)
          words += "in blocks of " + std::to_string(Format::block);
        else
          words += shared_in<Format>(chosen) == granularity::row ? "per channel" : "per tensor";
      });
      return words;
    };
  }
  part.summarize = &detail::summarize_program<Model, Target, Scheme>;
  return part;
}

}  // namespace qwq
