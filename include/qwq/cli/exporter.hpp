// SPDX-License-Identifier: Apache-2.0
// Defines `exporter`, one run of the program that qwq_add_exporter() builds for one model config.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "qwq/cli/arguments.hpp"
#include "qwq/cli/exporter_part.hpp"
#include "qwq/cli/ids.hpp"
#include "qwq/cli/signal_guard.hpp"
#include "qwq/cli/usage_error.hpp"
#include "qwq/io/atomic_file.hpp"
#include "qwq/io/io_error.hpp"
#include "qwq/io/mapped_file.hpp"
#include "qwq/io/presence.hpp"
#include "qwq/io/safetensors_writer.hpp"
#include "qwq/io/special_tokens.hpp"
#include "qwq/report/compare.hpp"
#include "qwq/report/json_report.hpp"
#include "qwq/report/progress.hpp"
#include "qwq/report/scatter.hpp"
#include "qwq/text/data_set.hpp"
#include "qwq/text/stream_decoder.hpp"

namespace qwq {

namespace detail {

/// The message if writing to standard output fails.
inline constexpr const char* no_standard_output = "standard output: cannot write";

/// One run of an exporter that was built for `model`, with one of its parts.
class exporter {
 public:
  exporter(const exporter_model& model, const exporter_part& part, const exporter_arguments& a)
      : model_(model.sizes),
        open_float_(model.open),
        part_(part),
        a_(a),
        folder_(a.checkpoint),
        tokens_(checked_tokens(model)),
        weights_(checkpoint::open(folder_)),
        threads_(a.threads) {
    if (!is_present(folder_ / "tokenizer.json")) return;
    tokenizer_ = tokenizer::open(folder_);
    if (a_.command == "export" && tokenizer_->vocab_size() > model_.vocab_size)
      std::cerr << one_line((folder_ / "tokenizer.json").string()) << ": warning: expected token ids below vocab_size "
                << model_.vocab_size << ", found ids up to " << tokenizer_->vocab_size() - 1
                << "; the model has no embedding for them\n";
  }

  void run_command() {
    const auto start = std::chrono::steady_clock::now();
    check_outputs();
    if (a_.command == "generate") return generate_text();
    if (a_.command == "run") return dump();
    fidelity_report report;
    report.model = std::string(model_.model_type) + " " + folder_.string();
    report.scheme = part_.scheme;
    report.target = part_.target;
    if (a_.dry_run) return dry_run(report);
    try_to_write();
    const auto eval = a_.eval.empty() ? std::vector<token_sequence>{} : texts(a_.eval);
    tune();
    if (tuned_) report.observer = a_.observer;
    if (part_.weights != nullptr) report.weights = part_.weights(shared());
    const program_summary program = part_.summarize();
    report.coverage = {program.edges.covered, program.edges.total};
    report.rules = program.rules;
    if (a_.command == "export") report.files = write_files();
    if (!eval.empty()) measure(report, eval);
    report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    report.peak_rss_bytes = peak_rss_bytes();
    if (!a_.json.empty()) write_file(a_.json, to_json(report).dump(2) + "\n");
    if (!a_.scatter_svg.empty())
      write_file(a_.scatter_svg, scatter_svg(report.logits.reference, report.logits.quantized,
                                             "logits, " + report.scheme + " over float"));
    std::cout << report;
    if (a_.scatter)
      std::cout << "\nlogits, " << report.scheme << " over float\n"
                << scatter(report.logits.reference, report.logits.quantized);
  }

 private:
  /// The special tokens of the checkpoint, after checking that its config is the model's.
  special_tokens checked_tokens(const exporter_model& model) const {
    const auto file = folder_ / "config.json";
    model.check(mapped_file(file).text(), file.string());
    return read_special_tokens(folder_, model.sizes.vocab_size);
  }

  static constexpr const char* nothing_written = "interrupted: nothing was written";
  static constexpr const char* all_written = "interrupted after the files were written";
  /// Memory that an export needs in addition to a dry run: a row block of codes, and the buffers of files and threads.
  static constexpr std::uint64_t writing_memory = std::uint64_t{24} << 20;

  granularity shared() const { return a_.per_channel ? granularity::row : granularity::tensor; }

  std::vector<written_file> emit(const calibration_result* tuned, const file_handling& how,
                                 std::ostream* notes = nullptr) {
    emit_options o;
    o.weights = shared();
    o.accuracy_level = a_.accuracy_level;
    o.threads = &threads_;
    o.files = how;
    o.notes = notes;
    return part_.files(part_.data(), weights_, tuned, o, a_.out);
  }

  /// The files that an export would write: runs the same code with a writer that only counts bytes.
  const std::vector<written_file>& planned_files() {
    if (planned_.empty()) {
      std::optional<calibration_result> any;
      if (part_.uncalibrated != nullptr) any = part_.uncalibrated();
      planned_ = emit(any ? &*any : nullptr, {file_use::count});
    }
    return planned_;
  }

  static std::uint64_t total(const std::vector<written_file>& files) {
    std::uint64_t bytes = 0;
    for (const written_file& f : files) bytes += f.bytes;
    return bytes;
  }

  /// Throws if an output would replace a file that is read, or that the export writes for another purpose.
  void check_outputs() {
    const std::pair<const char*, const std::string&> outputs[] = {
        {"--json", a_.json}, {"--scatter-svg", a_.scatter_svg}, {"--dump", a_.dump}};
    std::vector<std::string> inputs = weights_.files();
    for (const char* name : {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",
                             "model.safetensors.index.json"})
      inputs.push_back((folder_ / name).string());
    for (const std::string& file : {a_.calibration, a_.eval})
      if (!file.empty()) inputs.push_back(file);
    std::error_code ignored;
    const auto full = [&](const std::filesystem::path& p) {
      return std::filesystem::weakly_canonical(std::filesystem::absolute(p, ignored), ignored);
    };
    const auto same = [&](const std::filesystem::path& a, const std::filesystem::path& b) {
      if (std::filesystem::equivalent(a, b, ignored)) return true;
      const auto path = full(a);
      return !path.empty() && path == full(b);
    };
    const auto refuse = [](const char* option, const std::string& file, const char* use) {
      throw usage_error(std::string(option) + ": expected a file of its own, found " + file + ", which " + use);
    };
    for (const auto& [option, file] : outputs) {
      if (file.empty()) continue;
      for (const std::string& input : inputs)
        if (same(file, input)) refuse(option, file, "is read");
      for (const auto& [other, file_of_other] : outputs)
        if (&file != &file_of_other && !file_of_other.empty() && same(file, file_of_other))
          refuse(option, file, (std::string("is that of ") + other).c_str());
    }
    if (a_.command != "export") return;
    for (const written_file& f : planned_files()) {
      const auto written = std::filesystem::path(a_.out) / f.name;
      for (const auto& [option, file] : outputs)
        if (!file.empty() && same(file, written)) refuse(option, file, "the export writes");
      for (const std::string& input : {a_.calibration, a_.eval})
        if (!input.empty() && same(input, written)) refuse("--out", written.string(), "is read");
    }
  }

  /// Detects before the run files that cannot be written and insufficient disk space. Leaves no files.
  void try_to_write() {
    const signal_guard guard;
    for (const std::string& file : {a_.json, a_.scatter_svg})
      if (!file.empty() && !in_out(file)) atomic_file{file};
    if (a_.command == "export") {
      const std::vector<written_file>& files = planned_files();
      file_set set(a_.out);
      for (const written_file& f : files) set.add(f.name);
      std::error_code unknown;
      const std::uint64_t needed = total(files), free = std::filesystem::space(a_.out, unknown).available;
      if (!unknown && needed > free)
        throw error(a_.out + ": expected " + std::to_string(needed) + " bytes of free space for the files, found " +
                    std::to_string(free));
    }
    signal_guard::check(nothing_written);
  }

  std::vector<written_file> write_files() {
    const signal_guard guard;
    const std::uint64_t bytes = total(planned_files());
    const auto go_through = [&](const char* label, const char* if_ended, file_use use, std::ostream* notes) {
      progress bar(label, bytes, a_.quiet, stderr, progress_unit::bytes);
      const auto watcher = [&](std::uint64_t count) {
        signal_guard::check(if_ended);
        if (count == 0) weights_.check_unchanged();  // just before the files are renamed
        bar.tick(count);
      };
      return emit(tuned(), {use, watcher}, notes);
    };
    auto files = go_through("writing", nothing_written, file_use::write, &std::cout);
    signal_guard::check(all_written);
    if (a_.verify) go_through("verifying", all_written, file_use::compare, nullptr);
    return files;
  }

  /// Prints the files that an export would write; with --json, writes the report of an export without measurements.
  void dry_run(fidelity_report& report) {
    report.files = planned_files();
    if (part_.weights != nullptr) report.weights = part_.weights(shared());
    report.peak_rss_bytes = peak_rss_bytes() + writing_memory;
    for (const written_file& f : report.files)
      std::cout << detail::right(std::to_string(f.bytes), 14) << "  " << f.name << '\n';
    std::cout << detail::right(std::to_string(total(report.files)), 14) << "  in all, with about "
              << detail::byte_text(report.peak_rss_bytes)
              << " of memory beside the mapped weights; calibration takes more\n";
    if (!a_.json.empty()) write_file(a_.json, to_json(report).dump(2) + "\n");
  }

  /// True if a file of the report is written to the folder of the export, which does not exist yet.
  bool in_out(const std::filesystem::path& file) const {
    const auto folder = [](const std::filesystem::path& p) { return absolute(p).lexically_normal().parent_path(); };
    return a_.command == "export" && folder(file) == folder(std::filesystem::path(a_.out) / "report");
  }

  std::vector<token_sequence> texts(const std::string& file) const {
    auto rows = read_texts(file, tokenizer_ ? &*tokenizer_ : nullptr, a_.chat ? qa_style::chat : qa_style::plain,
                           static_cast<std::size_t>(part_.longest));
    for (std::size_t i = 0; i < rows.size(); ++i)
      for (const std::int32_t id : rows[i].ids)
        if (id >= model_.vocab_size)
          throw error(file + ": row " + std::to_string(i + 1) + ": expected token ids below " +
                      std::to_string(model_.vocab_size) + ", found " + std::to_string(id));
    return rows;
  }

  void tune() {
    if (part_.calibrate == nullptr) return;
    if (a_.calibration.empty())
      throw error("--calibration: scheme " + std::string(part_.scheme) + " needs a file of calibration texts");
    const auto rows = texts(a_.calibration);
    progress bar("calibrating", rows.size(), a_.quiet);
    calibration_options o;
    o.observer = any_observer::parse(a_.observer, bits(part_.spec.activation.element));
    o.decode_steps = a_.decode_steps;
    o.eos = tokens_.eos_token_ids;
    o.threads = &threads_;
    tuned_ = part_.calibrate(weights_, rows, o, [&](std::size_t) { bar.tick(); });
  }

  const calibration_result* tuned() const { return tuned_ ? &*tuned_ : nullptr; }

  std::unique_ptr<session_interface> open(std::int64_t positions) {
    const session_opener open = part_.open != nullptr ? part_.open : open_float_;
    return open(weights_, positions, shared(), tuned(), &threads_);
  }

  void measure(fidelity_report& report, const std::vector<token_sequence>& eval) {
    constexpr std::int64_t new_tokens = 32;
    std::int64_t longest = 0;
    for (const token_sequence& t : eval) longest = std::max(longest, static_cast<std::int64_t>(t.ids.size()));
    const std::int64_t positions = std::min(part_.longest, longest + new_tokens);
    const auto reference = open_float_(weights_, positions, granularity::tensor, nullptr, &threads_);
    const auto quantized = open(positions);
    progress bar("comparing", eval.size(), a_.quiet);
    compare(report, *reference, *quantized, eval, new_tokens, tokens_.eos_token_ids, [&](std::size_t) { bar.tick(); });
  }

  /// Name of the limit on the tokens of a text, for messages.
  const char* limit_name() const {
    return part_.longest == model_.max_position_embeddings ? "max_position_embeddings" : "the target's static length";
  }

  /// Opens a session of the scheme for a prompt and `more` tokens, up to the model's positions. Throws if the prompt is
  /// too long; `option` names it.
  std::unique_ptr<session_interface> open_for(const char* option, std::size_t prompt, std::int64_t more) {
    const std::int64_t most = part_.longest;
    if (prompt > static_cast<std::size_t>(most))
      throw error(std::string(option) + ": expected at most " + std::to_string(most) + " tokens (" + limit_name() +
                  "), found " + std::to_string(prompt));
    tune();
    return open(std::min(most, static_cast<std::int64_t>(prompt) + std::min(most, more)));
  }

  void generate_text() {
    if (!tokenizer_) throw error((folder_ / "tokenizer.json").string() + ": no such file; generate needs a tokenizer");
    std::string prompt = a_.prompt;
    if (a_.chat) prompt = apply_chat_template(std::vector<message>{{"user", prompt}}, true, false);
    const auto ids = tokenizer_->encode(prompt);
    if (ids.empty()) throw error("--prompt: expected a text, found none");
    const auto s = open_for("--prompt", ids.size(), a_.max_new);
    sampler choose(a_.sample, static_cast<std::size_t>(model_.vocab_size));
    stream_decoder text(*tokenizer_, true);
    const auto show = [](std::string_view piece) {
      if (std::fwrite(piece.data(), 1, piece.size(), stdout) != piece.size() || std::fflush(stdout) != 0)
        throw error(no_standard_output);
    };
    std::int64_t said = 0;
    bool ended = false;
    generate(*s, s->prefill(ids), a_.max_new, choose, tokens_.eos_token_ids, [&](std::int32_t id) {
      ++said;
      ended = std::ranges::find(tokens_.eos_token_ids, id) != tokens_.eos_token_ids.end();
      show(text.push(id));
      return true;
    });
    show(text.finish());
    show("\n");
    if (!ended && said < a_.max_new && !a_.quiet)
      std::cerr << "stopped after " << said << " new tokens: the text has all of the " << part_.longest
                << " positions (" << limit_name() << ")\n";
  }

  /// Records the hidden states of all chunks, in order.
  struct hidden_recorder final : layer_hook {
    std::vector<std::vector<float>> rows;
    explicit hidden_recorder(std::int64_t layers) : rows(static_cast<std::size_t>(layers) + 2) {}
    void hidden_states(std::int64_t layer, matrix_view<const float> x) override {
      keep(static_cast<std::size_t>(layer), x);
    }
    void final_norm(matrix_view<const float> x) override { keep(rows.size() - 1, x); }
    void keep(std::size_t i, matrix_view<const float> x) {
      rows[i].insert(rows[i].end(), x.data, x.data + x.rows * x.cols);
    }
  };

  struct named_tensor {
    std::string name;
    dtype type;
    std::vector<std::int64_t> shape;
    std::vector<std::byte> bytes;
  };
  template <class T>
  static named_tensor tensor(std::string name, std::vector<std::int64_t> shape, const std::vector<T>& values) {
    const auto bytes = std::as_bytes(std::span(values));
    return {std::move(name), qwq::dtype_of<T>, std::move(shape), {bytes.begin(), bytes.end()}};
  }

  void add_cache(std::vector<named_tensor>& out, const std::string& when, const session_interface& s) const {
    for (const session_interface::state_copy& state : s.states())
      out.push_back(tensor("kv." + when + "." + std::to_string(state.layer) + "." + state.name,
                           {1, state.outer, state.rows, state.inner}, state.data));
  }

  void dump() {
    const auto ids = parse_ids(a_.ids);
    const auto rows = static_cast<std::int64_t>(ids.size());
    const std::int64_t vocab = model_.vocab_size;
    if (a_.decode > std::max(part_.longest - rows, std::int64_t{0}))
      throw error("--ids and --decode: expected at most " + std::to_string(part_.longest) + " tokens in all (" +
                  limit_name() + "), found " + std::to_string(rows) + " and " + std::to_string(a_.decode));
    safetensors_writer file(a_.dump);  // opened before the computation, so that errors are found early
    std::vector<named_tensor> out;
    const auto s = open_for("--ids", ids.size(), a_.decode);
    hidden_recorder hidden(model_.num_hidden_layers);
    s->set_hook(&hidden);
    std::vector<float> logits;
    s->prefill(ids, [&](std::int64_t, matrix_view<const float> x) {
      logits.insert(logits.end(), x.data, x.data + x.rows * x.cols);
    });
    s->set_hook(nullptr);
    out.push_back(tensor("logits", {1, rows, vocab}, logits));
    for (std::size_t i = 0; i + 1 < hidden.rows.size(); ++i)
      out.push_back(tensor("hidden." + std::to_string(i), {1, rows, model_.hidden_size}, hidden.rows[i]));
    out.push_back(tensor("final_norm", {1, rows, model_.hidden_size}, hidden.rows.back()));
    add_cache(out, "prefill", *s);
    if (a_.decode > 0) {
      std::span<const float> next(logits.data() + (rows - 1) * vocab, static_cast<std::size_t>(vocab));
      std::vector<std::int64_t> said;
      std::vector<float> decoded;
      for (std::int64_t i = 0; i < a_.decode; ++i) {
        said.push_back(argmax(next));
        next = s->decode(static_cast<std::int32_t>(said.back()));
        decoded.insert(decoded.end(), next.begin(), next.end());
      }
      out.push_back(tensor("decode.input_ids", {1, a_.decode}, said));
      out.push_back(tensor("decode.logits", {1, a_.decode, vocab}, decoded));
      add_cache(out, "final", *s);
    }
    for (const named_tensor& t : out) file.declare(t.name, t.type, t.shape);
    for (const named_tensor& t : out) file.write(t.name, t.bytes);
    file.commit();
  }

  const to_file::model_sizes& model_;
  session_opener open_float_;
  const exporter_part& part_;
  const exporter_arguments& a_;
  std::filesystem::path folder_;
  special_tokens tokens_;
  checkpoint weights_;
  std::optional<tokenizer> tokenizer_;
  thread_pool threads_;
  std::optional<calibration_result> tuned_;
  std::vector<written_file> planned_;  // files of an export
};

}  // namespace detail

}  // namespace qwq
