// SPDX-License-Identifier: Apache-2.0
// What an exporter does for one scheme and target. Each is compiled apart, so that no translation unit grows with their
// number; all that is the same for every pair is in exporter.hpp.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "qwq/core/written_file.hpp"
#include "qwq/emit/options.hpp"
#include "qwq/emit/program_data.hpp"
#include "qwq/model/qwen3.hpp"
#include "qwq/quant/tico_scheme.hpp"
#include "qwq/runtime/any_session.hpp"
#include "qwq/runtime/calibrate.hpp"

namespace qwq {

/// Coverage and rules of a program, counted over all of its layers.
struct program_summary {
  coverage edges;
  std::map<std::string, std::uint64_t> rules;  ///< rule -> times that it fired
};

/// Binds a checkpoint for texts of at most `positions` tokens and opens a session on it.
using session_opener = std::unique_ptr<any_session> (*)(const checkpoint&, std::int64_t positions, granularity,
                                                        const calibration_result*, executor*);

/// The model that an exporter was built for, in float.
struct exporter_model {
  qwen3_config config;
  session_opener open = nullptr;
};

/// `to_file::write_files` of a target.
using file_writer = std::vector<written_file> (*)(const to_file::program_data&, const checkpoint&,
                                                  const calibration_result*, const emit_options&,
                                                  const std::filesystem::path&);

/// A scheme and target that an exporter was built for. Both `calibrate` and `uncalibrated` are null when there is
/// nothing to calibrate, `open` and `weights` when nothing is quantized: the target's graph then computes what the model's
/// own does.
struct exporter_part {
  std::string_view scheme, target;
  placement types;
  std::int64_t longest = 0;  ///< tokens that a text can have
  /// What shares a scale in weights, given the user's choice, as words: "per tensor", "per channel", "in blocks of 32";
  /// of a mixed scheme several.
  std::string (*weights)(granularity chosen) = nullptr;
  calibration_result (*calibrate)(const checkpoint&, std::span<const token_text>, const calibration_options&,
                                  const std::function<void(std::size_t)>& done) = nullptr;
  /// As if every activation had the same range: with it, files have the sizes that they will have.
  calibration_result (*uncalibrated)() = nullptr;
  session_opener open = nullptr;
  /// What files are written from.
  to_file::program_data (*data)() = nullptr;
  file_writer files = nullptr;
  program_summary (*summarize)() = nullptr;
};

namespace detail {

/// One block for each layer; parts that both graphs of a target share count once.
template <class Model, target Target, quantization_scheme Scheme>
program_summary summarize_program() {
  program_summary out;
  const auto add = [&]<class Part>(std::type_identity<Part>) {
    if (quantizes<Scheme>()) {
      out.edges.covered += Part::covered.covered;
      out.edges.total += Part::covered.total;
    }
    const auto count = [&](const auto& rules) {
      for (const rule& r : rules) out.rules[std::string(r.name)] += Part::fired.count(r.name);
    };
    if constexpr (requires { Target::first_rules; }) count(Target::first_rules);
    count(Target::rules);
  };
  program<Model, Target, Scheme, prompt_rows<Target>()>::for_each_part(
      [&]<class Part>(std::type_identity<Part> part, std::size_t) { add(part); });
  if (is_one_graph<Target>) return out;
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

template <qwen3_config C>
exporter_model make_exporter_model() {
  return {C, &open_session<qwen3<C>>};
}

/// The part of `Scheme` and `Target`, whose files `files` writes.
template <qwen3_config C, target Target, quantization_scheme Scheme>
exporter_part make_exporter_part(file_writer files) {
  using model = qwen3<C>;
  exporter_part part{Scheme::name, Target::name, Scheme::types, longest_text<model, Target>()};
  part.data = &to_file::program_data::of<model, Target, Scheme>;
  part.files = files;
  if constexpr (quantizes_activations<Scheme>()) {
    part.uncalibrated = &detail::uncalibrated<model, Target, Scheme>;
    part.calibrate = [](const checkpoint& from, std::span<const token_text> texts, const calibration_options& o,
                        const std::function<void(std::size_t)>& done) {
      return calibrate<model, Target, Scheme>(from, texts, o, done);
    };
  }
  if constexpr (quantizes<Scheme>()) {
    part.open = &open_session<model, Target, Scheme>;
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
  part.summarize = &detail::summarize_program<model, Target, Scheme>;
  return part;
}

}  // namespace qwq
