// SPDX-License-Identifier: Apache-2.0
// Defines `fidelity_report`, the results of an export or a comparison, and prints it as a table.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <map>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwq/core/written_file.hpp"
#include "qwq/report/format.hpp"
#include "qwq/report/metrics.hpp"
#include "qwq/report/resources.hpp"

namespace qwq {

/// Metrics of a quantized model relative to its float model. NaN: not measured. Shares and the PEIR are ratios, not
/// percent.
struct model_fidelity {
  double kl = detail::not_measured,    ///< Mean KL divergence of the next-token distributions, in nats.
      kl_max = detail::not_measured;   ///< Maximum of the same over positions.
  double top1 = detail::not_measured,  ///< Share of positions with the same most likely token.
      top5 =
          detail::not_measured;  ///< Mean share of the five most likely float tokens that are among the quantized five.
  // Of the logits; SQNR in dB.
  double cosine = detail::not_measured,         ///< Cosine similarity of the logits.
      sqnr_db = detail::not_measured,           ///< Signal-to-noise ratio of the logits, in dB.
      peir = detail::not_measured;              ///< Peak error of the logits, relative to their range.
  double mean_abs_diff = detail::not_measured;  ///< Of the logits.
  // exp(mean negative log-likelihood).
  double perplexity_float = detail::not_measured,   ///< Perplexity of the float model.
      perplexity_quantized = detail::not_measured;  ///< Perplexity of the quantized model.
  std::uint64_t tokens = 0;                         ///< Number of tokens.
};

/// Error of the output of one layer relative to the float model.
struct layer_fidelity {
  std::string name;                          ///< Name of the layer.
  double peir = detail::not_measured,        ///< As in `tensor_error`.
      mean_abs_diff = detail::not_measured;  ///< Mean absolute difference, as in `tensor_error`.
  double cosine = detail::not_measured,      ///< Cosine similarity, as in `tensor_error`.
      sqnr_db = detail::not_measured;        ///< As in `tensor_error`, in dB.
};

/// Number of values of a graph that the scheme must quantize, and how many of them are quantized.
struct coverage_count {
  std::uint64_t covered = 0,  ///< Values that are quantized.
      total = 0;              ///< Values that the scheme must quantize.
};

/// Values of the float and of the quantized model, in pairs.
struct value_pairs {
  std::vector<float> reference,  ///< Values of the float model, one per point.
      quantized;                 ///< Values of the quantized model, one per point.
};

/// All results for one quantized model. Fields that were not measured have their defaults.
struct fidelity_report {
  std::string model,                   ///< Name of the model.
      scheme,                          ///< Name of the scheme.
      weights,                         ///< Granularity of weight scales, in words.
      observer,                        ///< Observer of activations.
      target;                          ///< Name of the target.
  model_fidelity fidelity;             ///< Over the prefill.
  model_fidelity decode;               ///< The same metrics, token by token through the KV cache.
  std::vector<layer_fidelity> layers;  ///< In the order of the model.
  coverage_count coverage;             ///< Quantized edges.
  /// Rewrite rule -> number of applications; rules without any are included.
  std::map<std::string, std::uint64_t> rules;
  std::vector<written_file> files;   ///< The files that were written.
  greedy_divergence divergence;      ///< Length of equal continuations.
  value_pairs logits;                ///< Logits of the first tokens, for a scatter plot.
  double seconds = 0;                ///< Run time.
  std::uint64_t peak_rss_bytes = 0;  ///< Peak resident set size.
};

/// Summarizes `tokens` and `logits`, the elementwise error of the same logits.
inline model_fidelity summarize(const distribution_error& tokens, const tensor_error& logits) {
  return {.kl = tokens.kl(),
          .kl_max = tokens.kl_max(),
          .top1 = tokens.top1(),
          .top5 = tokens.top5(),
          .cosine = logits.cosine(),
          .sqnr_db = logits.sqnr_db(),
          .peir = logits.peir(),
          .mean_abs_diff = logits.mean_abs_diff(),
          .perplexity_float = tokens.perplexity_float(),
          .perplexity_quantized = tokens.perplexity_quantized(),
          .tokens = tokens.tokens()};
}

/// Summarizes the error of a layer's output.
inline layer_fidelity summarize(std::string name, const tensor_error& output) {
  return {std::move(name), output.peir(), output.mean_abs_diff(), output.cosine(), output.sqnr_db()};
}

namespace detail {

inline constexpr std::size_t table_width = 100, label_width = 12;

inline std::string decibel(double value) {
  if (value == infinity) return "exact";
  return std::isnan(value) ? "-" : fixed(value, 2) + " dB";
}

inline void print_line(std::ostream& out, std::string_view label, std::string_view content) {
  if (!content.empty()) out << left(label, label_width) << shortened(content, table_width - label_width) << '\n';
}

/// Prints "label  a, b, c", with line breaks between items.
inline void print_list(std::ostream& out, std::string_view label, const std::vector<std::string>& items) {
  if (items.empty()) return;
  std::string line = left(label, label_width);
  for (std::size_t i = 0; i < items.size(); ++i) {
    const std::string item = shortened(items[i], table_width - label_width - 1) + (i + 1 < items.size() ? "," : "");
    if (i > 0 && line.size() + 1 + item.size() > table_width) {
      out << line << '\n';
      line.assign(label_width, ' ');
    } else if (i > 0) {
      line += ' ';
    }
    line += item;
  }
  out << line << '\n';
}

inline void print_fidelity(std::ostream& out, const model_fidelity& prefill, const model_fidelity& decode) {
  if (prefill.tokens == 0 && decode.tokens == 0) return;
  const auto row = [&](std::string_view label, const std::string& a, const std::string& b) {
    out << left(label, 28) << right(a, 14) << right(b, 14) << '\n';
  };
  out << '\n';
  row("fidelity to the float model", "prefill", "decode");
  row("  KL, mean (nats)", significant(prefill.kl), significant(decode.kl));
  row("  KL, worst token", significant(prefill.kl_max), significant(decode.kl_max));
  row("  top-1 agreement", percent(prefill.top1), percent(decode.top1));
  row("  top-5 overlap", percent(prefill.top5), percent(decode.top5));
  row("  perplexity, float", fixed(prefill.perplexity_float, 4), fixed(decode.perplexity_float, 4));
  row("  perplexity, quantized", fixed(prefill.perplexity_quantized, 4), fixed(decode.perplexity_quantized, 4));
  row("  logits: cosine", fixed(prefill.cosine, 6), fixed(decode.cosine, 6));
  row("  logits: SQNR", decibel(prefill.sqnr_db), decibel(decode.sqnr_db));
  row("  logits: PEIR", percent(prefill.peir), percent(decode.peir));
  row("  logits: mean |diff|", significant(prefill.mean_abs_diff), significant(decode.mean_abs_diff));
  row("  tokens", grouped(prefill.tokens), grouped(decode.tokens));
}

inline void print_layers(std::ostream& out, const std::vector<layer_fidelity>& layers) {
  if (layers.empty()) return;
  constexpr std::size_t shown = 8;
  std::vector<const layer_fidelity*> worst;
  for (const layer_fidelity& layer : layers) worst.push_back(&layer);
  const auto badness = [](const layer_fidelity* l) { return std::isnan(l->peir) ? infinity : l->peir; };
  std::sort(worst.begin(), worst.end(),  // equally bad layers in the order of the model
            [&](auto* a, auto* b) { return badness(a) == badness(b) ? a < b : badness(a) > badness(b); });
  worst.resize(std::min(shown, worst.size()));

  const auto row = [&](std::string_view name, std::array<std::string, 4> cells) {
    out << left(shortened(name, 48), 48);
    for (const std::string& cell : cells) out << right(cell, 13);
    out << '\n';
  };
  out << '\n';
  row("layers, worst PEIR first (" + std::to_string(worst.size()) + " of " + std::to_string(layers.size()) + ")",
      {"PEIR", "mean |diff|", "cosine", "SQNR"});
  for (const layer_fidelity* l : worst)
    row("  " + l->name, {percent(l->peir), significant(l->mean_abs_diff), fixed(l->cosine, 6), decibel(l->sqnr_db)});
}

}  // namespace detail

/// Prints the report as an aligned table of at most 100 columns. Fields that were not measured are left out or "-".
inline void print(std::ostream& out, const fidelity_report& report) {
  detail::print_line(out, "model", report.model);
  detail::print_line(out, "scheme", report.scheme);
  detail::print_line(out, "weights", report.weights);
  detail::print_line(out, "observer", report.observer);
  detail::print_line(out, "target", report.target);
  detail::print_fidelity(out, report.fidelity, report.decode);
  detail::print_layers(out, report.layers);
  out << '\n';

  const auto of = [](std::uint64_t part, std::uint64_t whole) {
    return detail::grouped(part) + " of " + detail::grouped(whole);
  };
  if (const greedy_divergence& d = report.divergence; d.prompts() > 0)
    detail::print_line(out, "greedy",
                       of(d.equal(), d.prompts()) + " continuations equal, " + detail::fixed(d.mean_tokens(), 1) +
                           " tokens before the first difference");
  if (const auto [covered, total] = report.coverage; total > 0)
    detail::print_line(out, "coverage",
                       of(covered, total) + " quantized, " + detail::grouped(total - covered) + " missing");
  std::vector<std::string> items;
  for (const auto& [rule, fired] : report.rules) items.push_back(rule + " " + detail::grouped(fired));
  detail::print_list(out, "rules", items);
  items.clear();
  for (const written_file& file : report.files) items.push_back(file.name + " " + detail::byte_text(file.bytes));
  detail::print_list(out, "files", items);
  detail::print_line(out, "time", detail::time_text(report.seconds));
  if (report.peak_rss_bytes > 0) detail::print_line(out, "peak memory", detail::byte_text(report.peak_rss_bytes));
}

/// Prints the report as a table: see `print`.
inline std::ostream& operator<<(std::ostream& out, const fidelity_report& report) {
  print(out, report);
  return out;
}

}  // namespace qwq
