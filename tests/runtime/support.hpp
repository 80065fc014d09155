// SPDX-License-Identifier: Apache-2.0
// What the tests of sessions share: the small trained model and its texts.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "qwq/model/qwen3.hpp"
#include "qwq/report/metrics.hpp"
#include "qwq/runtime/sampler.hpp"
#include "qwq/runtime/session.hpp"
#include "qwq/text/data_set.hpp"

namespace qwq::test {

inline const std::filesystem::path data = QWQ_TEST_DATA;

using tinyqwen = qwen3<qwen3_config{1280, 128, 384, 6, 4, 2, 64, 1024, 1e-6, 1e6, true}>;
inline const std::vector<std::int32_t> eos{1216, 1214};

/// Question/answer rows as token ids; `count` of them.
inline std::vector<token_sequence> texts(const std::string& file, std::size_t count) {
  const tokenizer t = tokenizer::open(data / "tinyqwen");
  auto all = read_texts(data / "text" / file, &t, qa_style::plain, 1024);
  all.resize(std::min(count, all.size()));
  return all;
}

/// Prompts that the float model continues surely.
struct prompt {
  std::vector<std::int32_t> ids, continuation;
};
inline std::vector<prompt> prompts(const std::string& model) {
  std::ifstream in(data / model / "generate.json");
  std::vector<prompt> out;
  for (const auto& row : nlohmann::json::parse(in)) {
    prompt p{row.at("prompt_ids").get<std::vector<std::int32_t>>(), {}};
    for (std::size_t i = 0; i < row.at("new_ids").size(); ++i) {
      if (row.at("margins")[i].get<double>() < 0.05) break;  // from here on either token is right
      p.continuation.push_back(row.at("new_ids")[i].get<std::int32_t>());
    }
    out.push_back(p);
  }
  return out;
}

struct against_float {
  double kl;      // mean KL of its next-token distributions from the float model's, which it follows token by token
  int continued;  // prompts that it continues by itself as the float model does, as far as that one is sure
};

/// What a session makes of prompts.
template <class Reference, class Session>
against_float follow(Reference& reference, Session& s, const std::vector<prompt>& all) {
  distribution_error error;
  int continued = 0;
  for (const prompt& p : all) {
    reference.truncate(0);
    s.truncate(0);
    auto expected = reference.prefill(p.ids), found = s.prefill(p.ids);
    for (const std::int32_t id : p.continuation) {
      error.add(expected, found);
      expected = reference.decode(id);
      found = s.decode(id);
    }
    s.truncate(0);
    found = s.prefill(p.ids);
    bool same = true;
    for (const std::int32_t id : p.continuation) {
      same = same && argmax(found) == id;
      found = s.decode(argmax(found));
    }
    continued += same ? 1 : 0;
  }
  return {error.kl(), continued};
}

}  // namespace qwq::test
