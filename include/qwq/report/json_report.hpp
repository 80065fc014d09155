// SPDX-License-Identifier: Apache-2.0
// Defines `to_json`, which converts a report to JSON.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include <nlohmann/json.hpp>

#include "qwq/report/report.hpp"

namespace qwq {

namespace detail {

/// JSON has neither NaN nor infinity. A value that was not measured is null. An infinity (the SQNR of equal tensors,
/// the KL of a model that returns NaN) is the largest double, so that comparisons with a threshold have the same
/// result.
inline nlohmann::ordered_json json_number(double value) {
  if (std::isnan(value)) return nullptr;
  constexpr double largest = std::numeric_limits<double>::max();
  return std::clamp(value, -largest, largest);
}

inline nlohmann::ordered_json json_fidelity(const model_fidelity& f) {
  return {{"kl", json_number(f.kl)},
          {"kl_max", json_number(f.kl_max)},
          {"top1", json_number(f.top1)},
          {"top5", json_number(f.top5)},
          {"cosine", json_number(f.cosine)},
          {"sqnr_db", json_number(f.sqnr_db)},
          {"peir", json_number(f.peir)},
          {"mean_abs_diff", json_number(f.mean_abs_diff)},
          {"perplexity_float", json_number(f.perplexity_float)},
          {"perplexity_quantized", json_number(f.perplexity_quantized)},
          {"tokens", f.tokens}};
}

}  // namespace detail

/// An object with the fields of the report, with their names, order and units. Numbers that were not measured are null,
/// infinities are the largest double; bytes of names that are not UTF-8 become U+FFFD.
inline nlohmann::ordered_json to_json(const fidelity_report& report) {
  using json = nlohmann::ordered_json;
  json layers = json::array();
  for (const layer_fidelity& l : report.layers)
    layers.push_back({{"name", l.name},
                      {"peir", detail::json_number(l.peir)},
                      {"mean_abs_diff", detail::json_number(l.mean_abs_diff)},
                      {"cosine", detail::json_number(l.cosine)},
                      {"sqnr_db", detail::json_number(l.sqnr_db)}});
  json rules = json::object();
  for (const auto& [rule, fired] : report.rules) rules[rule] = fired;
  json files = json::array();
  for (const written_file& file : report.files) files.push_back({{"name", file.name}, {"bytes", file.bytes}});

  const json whole = {{"model", report.model},
                      {"scheme", report.scheme},
                      {"weights", report.weights},
                      {"observer", report.observer},
                      {"target", report.target},
                      {"fidelity", detail::json_fidelity(report.fidelity)},
                      {"decode", detail::json_fidelity(report.decode)},
                      {"layers", layers},
                      {"coverage", {{"covered", report.coverage.covered}, {"total", report.coverage.total}}},
                      {"rules", rules},
                      {"files", files},
                      {"divergence",
                       {{"prompts", report.divergence.prompts()},
                        {"equal", report.divergence.equal()},
                        {"mean_tokens", detail::json_number(report.divergence.mean_tokens())}}},
                      {"seconds", detail::json_number(report.seconds)},
                      {"peak_rss_bytes", report.peak_rss_bytes}};
  // A path can contain any bytes; a string that is not UTF-8 would throw only when the caller serializes it.
  return json::parse(whole.dump(-1, ' ', false, json::error_handler_t::replace));
}

}  // namespace qwq
