// SPDX-License-Identifier: Apache-2.0
// An exporter: the program that qwq_add_exporter() builds for one model config.
#pragma once

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include <boost/hana/accessors.hpp>
#include <boost/hana/core/to.hpp>
#include <boost/hana/for_each.hpp>

#include "qwq/emit/options.hpp"
#include "qwq/io/atomic_file.hpp"
#include "qwq/io/hf_config.hpp"
#include "qwq/io/safetensors_writer.hpp"
#include "qwq/io/stream_decoder.hpp"
#include "qwq/model/qwen3.hpp"
#include "qwq/report/compare.hpp"
#include "qwq/report/json.hpp"
#include "qwq/report/progress.hpp"
#include "qwq/runtime/calibrate.hpp"
#include "qwq/tool/arguments.hpp"
#include "qwq/tool/ids.hpp"

namespace qwq {

namespace detail {

/// Refuses a checkpoint whose config differs from the compiled one, and names the field.
template <qwen3_config C>
void check_config(const hf_config& found, const std::string& file) {
  const qwen3_config in_file{
      found.vocab_size,          found.hidden_size,         found.intermediate_size,  found.num_hidden_layers,
      found.num_attention_heads, found.num_key_value_heads, found.head_dim,           found.max_position_embeddings,
      found.rms_norm_eps,        found.rope_theta,          found.tie_word_embeddings};
  boost::hana::for_each(boost::hana::accessors<qwen3_config>(), [&](auto field) {
    const auto get = boost::hana::second(field);
    if (get(C) == get(in_file)) return;
    std::ostringstream text;
    text << file << ": " << boost::hana::to<const char*>(boost::hana::first(field)) << ": this exporter was built for "
         << get(C) << ", found " << get(in_file);
    throw error(text.str());
  });
}

/// One run of an exporter.
template <qwen3_config C, target Target, quantization_scheme Scheme>
class exporter {
 public:
  using model = qwen3<C>;

  explicit exporter(const exporter_arguments& a)
      : a_(a),
        folder_(a.checkpoint),
        config_(read_config(folder_ / "config.json")),
        weights_((check_config<C>(config_, (folder_ / "config.json").string()), checkpoint::open(folder_))),
        threads_(a.threads) {
    if (std::filesystem::exists(folder_ / "tokenizer.json")) tokenizer_ = tokenizer::open(folder_);
  }

  void run_command() {
    const auto start = std::chrono::steady_clock::now();
    if (a_.command == "generate") return generate_text();
    if (a_.command == "run") return dump();
    fidelity_report report;
    report.model = std::string(model::model_type) + " " + folder_.string();
    report.scheme = Scheme::name;
    report.target = Target::name;
    std::optional<atomic_file> json;  // opened before the work, unless in a folder that the work creates
    if (!a_.json.empty() && !json_in_out()) json.emplace(a_.json);
    const auto eval = a_.eval.empty() ? std::vector<token_text>{} : texts(a_.eval);
    const std::optional<calibration_result> tuned = tune();
    if (tuned) report.observer = a_.observer + (a_.per_channel ? ", weights per channel" : ", weights per tensor");
    describe(report);
    if (a_.command == "export")
      report.files =
          emit<model, Target, Scheme>(weights_, tuned ? &*tuned : nullptr, emit_options{.weights = shared()}, a_.out);
    if (!eval.empty()) measure(report, eval, tuned);
    report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    report.peak_rss_bytes = peak_rss_bytes();
    if (!a_.json.empty()) {
      if (!json) json.emplace(a_.json);
      json->write(to_json(report).dump(2) + "\n");
      json->commit();
    }
    std::cout << report;
  }

 private:
  granularity shared() const { return a_.per_channel ? granularity::row : granularity::tensor; }

  bool json_in_out() const {
    const auto folder = [](const std::filesystem::path& file) {
      return absolute(file).lexically_normal().parent_path();
    };
    return a_.command == "export" && folder(a_.json) == folder(std::filesystem::path(a_.out) / "report");
  }

  std::vector<token_text> texts(const std::string& file) const {
    auto rows = read_texts(file, tokenizer_ ? &*tokenizer_ : nullptr, a_.chat ? qa_style::chat : qa_style::plain,
                           static_cast<std::size_t>(longest_text<model, Target>()));
    for (std::size_t i = 0; i < rows.size(); ++i)
      for (const std::int32_t id : rows[i].ids)
        if (id >= C.vocab_size)
          throw error(file + ": row " + std::to_string(i + 1) + ": expected token ids below " +
                      std::to_string(C.vocab_size) + ", found " + std::to_string(id));
    return rows;
  }

  std::optional<calibration_result> tune() {
    if constexpr (Scheme::types.quantizes_activations()) {
      if (a_.calibration.empty())
        throw error("--calibration: scheme " + std::string(Scheme::name) + " needs a file of calibration texts");
      const auto rows = texts(a_.calibration);
      progress bar("calibrating", rows.size(), a_.quiet);
      calibration_options o;
      o.observer = any_observer::parse(a_.observer, bits(Scheme::types.activation));
      o.decode_steps = a_.decode_steps;
      o.eos = config_.eos_token_ids;
      o.threads = &threads_;
      return calibrate<model, Target, Scheme>(weights_, rows, o, [&](std::size_t) { bar.tick(); });
    } else {
      return std::nullopt;
    }
  }

  /// Coverage and rules, from the compiled graphs: one block for each layer, and the final norm.
  static void describe(fidelity_report& report) {
    const auto add = [&](auto part, std::uint64_t times) {
      using compiled_part = typename decltype(part)::type;
      if (Scheme::types.quantizes()) {
        report.coverage.covered += times * compiled_part::covered.covered;
        report.coverage.total += times * compiled_part::covered.total;
      }
      for (const rule& r : Target::rules)
        report.rules[std::string(r.name)] += times * compiled_part::fired.count(r.name);
    };
    const auto layers = static_cast<std::uint64_t>(C.num_hidden_layers);
    using prefill = program<model, Target, Scheme, prompt_rows<Target>()>;
    using decode = program<model, Target, Scheme, 1>;
    add(boost::hana::type_c<typename prefill::embedding>, 1);
    add(boost::hana::type_c<typename prefill::layer>, layers);
    add(boost::hana::type_c<typename prefill::norm>, 1);
    add(boost::hana::type_c<typename prefill::head>, 1);
    if (is_one_graph<Target>) return;
    add(boost::hana::type_c<typename decode::layer>, layers);
    add(boost::hana::type_c<typename decode::norm>, 1);
  }

  void measure(fidelity_report& report, const std::vector<token_text>& eval,
               const std::optional<calibration_result>& tuned) {
    constexpr std::int64_t new_tokens = 32;
    std::int64_t longest = 0;
    for (const token_text& t : eval) longest = std::max(longest, static_cast<std::int64_t>(t.ids.size()));
    const std::int64_t positions = std::min(longest_text<model, Target>(), longest + new_tokens);
    const bound_model<model> float_weights(weights_, {.positions = positions});
    const bound_model<model, Target, Scheme> quantized_weights(weights_, {.positions = positions, .weights = shared()});
    session<model> reference(float_weights, nullptr, &threads_);
    session<model, Target, Scheme> quantized(quantized_weights, tuned ? &*tuned : nullptr, &threads_);
    progress bar("comparing", eval.size(), a_.quiet);
    compare(report, reference, quantized, eval, new_tokens, config_.eos_token_ids, [&](std::size_t) { bar.tick(); });
  }

  /// Calls f(session) with a session of the scheme that holds a prompt and what follows, as far as the model's
  /// positions reach; f32 runs the model's own graph.
  template <class F>
  void with_session(std::size_t prompt, std::int64_t more, F&& f) {
    constexpr std::int64_t most = longest_text<model, Target>();
    const std::int64_t positions =
        std::min(most, std::min(most, static_cast<std::int64_t>(prompt)) + std::min(most, more));
    if constexpr (Scheme::types.quantizes()) {
      const auto tuned = tune();
      const bound_model<model, Target, Scheme> bound(weights_, {.positions = positions, .weights = shared()});
      session<model, Target, Scheme> s(bound, tuned ? &*tuned : nullptr, &threads_);
      f(s);
    } else {
      const bound_model<model> bound(weights_, {.positions = positions});
      session<model> s(bound, nullptr, &threads_);
      f(s);
    }
  }

  void generate_text() {
    if (!tokenizer_) throw error((folder_ / "tokenizer.json").string() + ": no such file; generate needs a tokenizer");
    std::string prompt = a_.prompt;
    if (a_.chat) prompt = apply_chat_template(std::vector<message>{{"user", prompt}}, true, false);
    const auto ids = tokenizer_->encode(prompt);
    if (ids.empty()) throw error("--prompt: expected a text, found none");
    with_session(ids.size(), a_.max_new, [&](auto& s) {
      sampler choose(a_.sample, static_cast<std::size_t>(C.vocab_size));
      stream_decoder text(*tokenizer_, true);
      const auto show = [](const std::string& piece) {
        std::fwrite(piece.data(), 1, piece.size(), stdout);
        std::fflush(stdout);
      };
      generate(s, s.prefill(ids), a_.max_new, choose, config_.eos_token_ids, [&](std::int32_t id) {
        show(text.push(id));
        return true;
      });
      show(text.finish() + "\n");
    });
  }

  /// Hidden states of every chunk, one after the other.
  struct hidden_recorder final : layer_listener {
    std::vector<std::vector<float>> rows =
        std::vector<std::vector<float>>(static_cast<std::size_t>(C.num_hidden_layers) + 2);
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

  template <class Session>
  static void add_cache(std::vector<named_tensor>& out, const std::string& when, const Session& s) {
    for (std::int64_t l = 0; l < C.num_hidden_layers; ++l)
      for (const bool key : {true, false}) {
        const auto view = key ? s.keys(l) : s.values(l);
        std::vector<float> x;
        for (std::int64_t h = 0; h < view.kv_heads; ++h)
          for (std::int64_t i = 0; i < s.position() * view.head_dim; ++i)
            x.push_back(static_cast<float>(view.at(h, 0)[i]));
        out.push_back(tensor("kv." + when + "." + std::to_string(l) + (key ? ".key" : ".value"),
                             {1, view.kv_heads, s.position(), view.head_dim}, x));
      }
  }

  void dump() {
    const auto ids = parse_ids(a_.ids);
    const auto rows = static_cast<std::int64_t>(ids.size());
    safetensors_writer file(a_.dump);  // before the work
    std::vector<named_tensor> out;
    with_session(ids.size(), a_.decode, [&](auto& s) {
      hidden_recorder hidden;
      s.listen(&hidden);
      std::vector<float> logits;
      s.prefill(ids, [&](std::int64_t, matrix_view<const float> x) {
        logits.insert(logits.end(), x.data, x.data + x.rows * x.cols);
      });
      s.listen(static_cast<layer_listener*>(nullptr));
      out.push_back(tensor("logits", {1, rows, C.vocab_size}, logits));
      for (std::size_t i = 0; i + 1 < hidden.rows.size(); ++i)
        out.push_back(tensor("hidden." + std::to_string(i), {1, rows, C.hidden_size}, hidden.rows[i]));
      out.push_back(tensor("final_norm", {1, rows, C.hidden_size}, hidden.rows.back()));
      add_cache(out, "prefill", s);
      if (a_.decode == 0) return;
      std::span<const float> next(logits.data() + (rows - 1) * C.vocab_size, static_cast<std::size_t>(C.vocab_size));
      std::vector<std::int64_t> said;
      std::vector<float> decoded;
      for (std::int64_t i = 0; i < a_.decode; ++i) {
        said.push_back(argmax(next));
        next = s.decode(static_cast<std::int32_t>(said.back()));
        decoded.insert(decoded.end(), next.begin(), next.end());
      }
      out.push_back(tensor("decode.input_ids", {1, a_.decode}, said));
      out.push_back(tensor("decode.logits", {1, a_.decode, C.vocab_size}, decoded));
      add_cache(out, "final", s);
    });
    for (const named_tensor& t : out) file.declare(t.name, t.type, t.shape);
    for (const named_tensor& t : out) file.write(t.name, t.bytes);
    file.commit();
  }

  const exporter_arguments& a_;
  std::filesystem::path folder_;
  hf_config config_;
  checkpoint weights_;
  std::optional<tokenizer> tokenizer_;
  thread_pool threads_;
};

}  // namespace detail

/// Carries out a command for one scheme and target. The parts of an exporter that are compiled apart, so that no
/// translation unit grows with their number. `emit` of the target is declared by its own header.
template <qwen3_config C, target Target, quantization_scheme Scheme>
void run_exporter(const exporter_arguments& a) {
  if constexpr (Target::takes(Scheme::types))
    detail::exporter<C, Target, Scheme>(a).run_command();
  else  // the other pairs of an exporter's schemes and targets may well be possible
    throw error(std::string("--scheme ") + a.scheme + ": expected one that target " + a.target + " takes" +
                detail::targets_to_text(detail::targets_that<detail::takes_types<Scheme::types>>{}));
}

}  // namespace qwq
