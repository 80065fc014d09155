// SPDX-License-Identifier: Apache-2.0
// Defines `exporter_arguments` and `parse_arguments`: the command line of an exporter.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "qwq/core/version.hpp"
#include "qwq/emit/options.hpp"
#include "qwq/quant/any_observer.hpp"
#include "qwq/runtime/sampler.hpp"

namespace qwq {

/// The parsed command line.
struct exporter_arguments {
  std::string command;  ///< Name of the subcommand.
  // Paths and inputs; empty: not given.
  std::string checkpoint,  ///< Path of the checkpoint folder.
      calibration,         ///< Path of the calibration texts; empty if none.
      eval,                ///< Path of the evaluation texts; empty if none.
      json,                ///< Path of the JSON report; empty for none.
      scatter_svg,         ///< Path of the scatter plot; empty for none.
      out,                 ///< Path of the output folder.
      dump,                ///< Path of the tensor dump of `run`.
      prompt,              ///< Prompt to continue, as text.
      ids,                 ///< Token ids, separated by commas.
      text;                ///< Text to tokenize.
  // Chosen scheme and target (filled in by default), and the observer's name.
  std::string scheme,       ///< Name of the scheme.
      target,               ///< Name of the target.
      observer = "minmax";  ///< Observer of activations, with its options.
  // Flags.
  bool per_channel = false,  ///< One weight scale per row instead of one per tensor.
      chat = false,          ///< Wraps prompts in the chat template.
      quiet = false,         ///< Suppresses progress output.
      scatter = false,       ///< Prints a scatter plot of logits.
      dry_run = false,       ///< Only reports the sizes of files and of memory.
      verify = false;        ///< Compares the written files with a second pass.
  // Numbers of tokens, and the accuracy level of MatMulNBits.
  std::int64_t decode = 0,                             ///< Number of tokens that `run` decodes.
      max_new = 64,                                    ///< Maximum number of generated tokens.
      decode_steps = 32,                               ///< Number of decoded tokens per calibration text.
      accuracy_level = emit_options{}.accuracy_level;  ///< Accuracy level of MatMulNBits.
  std::size_t threads = 0;                             ///< Number of threads; 0: one per core.
  sampling sample{};                                   ///< Parameters of sampling.
};

namespace detail {

/// A path must not be empty.
inline std::string check_path(const std::string& text) { return text.empty() ? "expected a path, found none" : ""; }

/// An observer name is valid if the observer can be made.
inline std::string check_observer(const std::string& text) {
  try {
    any_observer::parse(text);
    return {};
  } catch (const error& e) {
    return e.what();
  }
}

}  // namespace detail

/// A scheme and target that an executable was built for.
struct scheme_and_target {
  std::string scheme,  ///< Name of the scheme.
      target;          ///< Name of the target.
};

namespace detail {

/// Sets scheme and target where they were not chosen: to the first pair that matches the choice, or with `last` to the
/// last pair with the target of the first. Throws a usage error if no pair matches.
inline void choose_pair(const std::vector<scheme_and_target>& pairs, bool last, exporter_arguments& a) {
  const scheme_and_target* chosen = nullptr;
  std::string built_for;
  for (const scheme_and_target& p : pairs) {
    built_for.append(built_for.empty() ? "" : ", ").append(p.scheme).append(" on ").append(p.target);
    const bool agrees = (a.scheme.empty() || a.scheme == p.scheme) && (a.target.empty() || a.target == p.target);
    if (agrees && (chosen == nullptr || (last && chosen->target == p.target))) chosen = &p;
  }
  if (chosen == nullptr)
    throw CLI::ValidationError("--scheme " + a.scheme + " --target " + a.target + ": this exporter was built for " +
                               built_for);
  a.scheme = chosen->scheme;
  a.target = chosen->target;
}

inline std::vector<std::string> distinct(const std::vector<scheme_and_target>& pairs,
                                         std::string scheme_and_target::*member) {
  std::vector<std::string> out;
  for (const scheme_and_target& p : pairs)
    if (std::find(out.begin(), out.end(), p.*member) == out.end()) out.push_back(p.*member);
  return out;
}

}  // namespace detail

/// Parses the command line. Returns the exit status if the program is to end (0 after --help, 2 after a usage error),
/// otherwise nothing. `pairs`: the pairs that the executable was built for. The default scheme is the first one for
/// `run` and `generate`, and the last one of the first target for `export` and `evaluate`.
inline std::optional<int> parse_arguments(int argc, char** argv, const std::vector<scheme_and_target>& pairs,
                                          exporter_arguments& a) {
  const auto schemes = detail::distinct(pairs, &scheme_and_target::scheme);
  const auto targets = detail::distinct(pairs, &scheme_and_target::target);
  CLI::App app{"Quantizes, exports and runs Qwen3 checkpoints of one size (qwq " QWQ_VERSION_STRING ")."};
  app.set_version_flag("--version", QWQ_VERSION_STRING);
  app.require_subcommand(1);
  app.footer("Example:\n  " + std::string(argc > 0 ? argv[0] : "exporter") +
             " export --checkpoint DIR --calibration calib.jsonl --scheme " + pairs.back().scheme + " --target " +
             pairs.back().target + " --out DIR");

  const CLI::Validator path(detail::check_path, "PATH");
  const auto common = [&](CLI::App* c, bool last) {
    c->add_option("--checkpoint", a.checkpoint, "folder with config.json and safetensors")->required()->check(path);
    c->add_option("--scheme", a.scheme, "quantization scheme")->check(CLI::IsMember(schemes));
    c->add_option("--target", a.target, "target whose graph is quantized")->check(CLI::IsMember(targets));
    c->add_option("--threads", a.threads, "threads, 0 for one a core")->check(CLI::Range(0, 1024));
    c->add_flag("--quiet", a.quiet, "no progress on standard error");
    c->callback([&a, &pairs, c, last] {
      a.command = c->get_name();
      detail::choose_pair(pairs, last, a);
    });
  };
  const auto quantization = [&](CLI::App* c) {
    c->add_option("--calibration", a.calibration, "JSONL rows: question/answer, text, messages or ids")->check(path);
    c->add_option("--observer", a.observer, "minmax, moving_average, percentile:P, entropy or mse")
        ->check(CLI::Validator(detail::check_observer, "OBSERVER"));
    c->add_flag("--per-channel", a.per_channel, "one weight scale per output channel");
    c->add_option("--decode-steps", a.decode_steps, "tokens that each prompt is continued by")
        ->check(CLI::Range(1, 1 << 20));
    c->add_flag("--chat", a.chat, "put prompts and question/answer rows into the chat template");
  };

  const auto reports = [&](CLI::App* c) {
    c->add_option("--json", a.json, "file for the report")->check(path);
    c->add_flag("--scatter", a.scatter, "plot quantized over float logits")->needs("--eval");
    c->add_option("--scatter-svg", a.scatter_svg, "SVG file for that plot")->needs("--eval")->check(path);
  };

  CLI::App* e = app.add_subcommand("export", "calibrate and write the target's files");
  common(e, true);
  quantization(e);
  e->add_option("--out", a.out, "folder for the files")->required()->check(path);
  e->add_flag("--dry-run", a.dry_run,
              "say which files would be written, with their bytes, and what memory that takes; reads no weights and "
              "needs no --calibration");
  e->add_flag("--verify", a.verify,
              "afterwards read the files back from the disk, check each model's structure, and compare every byte with "
              "what the checkpoint, quantized a second time, says it must be");
  e->add_option("--accuracy-level", a.accuracy_level, "of MatMulNBits: 0 for float activations, 4 for int8")
      ->check(CLI::IsMember({0, 1, 4}));
  e->add_option("--eval", a.eval, "JSONL rows to report the fidelity on")->check(path);
  reports(e);

  CLI::App* v = app.add_subcommand("evaluate", "calibrate and compare with the float model");
  common(v, true);
  quantization(v);
  v->add_option("--eval", a.eval, "JSONL rows to report the fidelity on")->required()->check(path);
  reports(v);

  CLI::App* r = app.add_subcommand("run", "compute logits, hidden states and the KV cache for token ids");
  common(r, false);
  quantization(r);
  r->add_option("--ids", a.ids, "comma-separated token ids")->required();
  r->add_option("--decode", a.decode, "greedy tokens after the prompt")->check(CLI::NonNegativeNumber);
  r->add_option("--dump", a.dump, "safetensors file for the results")->required()->check(path);

  CLI::App* g = app.add_subcommand("generate", "continue a prompt");
  common(g, false);
  quantization(g);
  g->add_option("--prompt", a.prompt, "text to continue")->required();
  g->add_option("--max-new", a.max_new, "tokens to generate at most")->check(CLI::NonNegativeNumber);
  g->add_option("--temperature", a.sample.temperature, "0: greedy")->check(CLI::NonNegativeNumber);
  g->add_option("--top-k", a.sample.top_k, "0: all tokens")->check(CLI::NonNegativeNumber);
  g->add_option("--top-p", a.sample.top_p, "share of the probability to draw from")->check(CLI::Range(0.0, 1.0));
  g->add_option("--seed", a.sample.seed, "seed of the sampler");

  CLI::App* t = app.add_subcommand("tokens", "show the token ids of a text, or the text of token ids");
  t->add_option("--checkpoint", a.checkpoint, "folder with tokenizer.json")->required()->check(path);
  CLI::Option* text = t->add_option("--text", a.text, "text to encode");
  t->add_option("--ids", a.ids, "comma-separated token ids to decode")->excludes(text);
  t->require_option(2);
  t->callback([&a] { a.command = "tokens"; });

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& problem) {
    return app.exit(problem) == 0 ? 0 : 2;
  }
  return std::nullopt;
}

}  // namespace qwq
