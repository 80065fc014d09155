// SPDX-License-Identifier: Apache-2.0
// Chat prompts against those of the transformers library.
#include <qwq/text/chat_template.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include <qwq/text/tokenizer.hpp>

#include "scratch.hpp"

TEST_CASE("prompts and their ids are those of transformers") {
  const auto tokenizer = qwq::tokenizer::open(QWQ_TEST_DATA "/tinyqwen");
  std::istringstream rows(slurp(QWQ_TEST_DATA "/text/chat.jsonl"));
  int count = 0;
  for (std::string line; std::getline(rows, line); ++count) {
    const auto row = qwq::detail::parse_object(line, "chat.jsonl");
    std::vector<qwq::message> messages;
    for (const auto& m : row["messages"]) messages.push_back({m["role"], m["content"]});
    std::optional<bool> enable_thinking;
    if (row.contains("enable_thinking")) enable_thinking = row["enable_thinking"].get<bool>();
    const std::string prompt =
        qwq::apply_chat_template(messages, row.value("add_generation_prompt", false), enable_thinking);
    CHECK(prompt == row["text"].get<std::string>());
    CHECK(tokenizer.encode(prompt) == row["ids"].get<std::vector<std::int32_t>>());
  }
  CHECK(count == 8);
}

TEST_CASE("no messages") {
  CHECK(qwq::apply_chat_template({}, false).empty());
  CHECK(qwq::apply_chat_template({}, true, true) == "<|im_start|>assistant\n");
}

TEST_CASE("content is not touched") {
  const std::vector<qwq::message> turns{{"assistant", "<think>\nhm\n</think>\n\nyes"}, {"user", ""}};
  CHECK(qwq::apply_chat_template(turns, false) ==
        "<|im_start|>assistant\n<think>\nhm\n</think>\n\nyes<|im_end|>\n<|im_start|>user\n<|im_end|>\n");
}

TEST_CASE("a role that the format does not have is refused") {
  const std::vector<qwq::message> turns{{"user", "hi"}, {"tool", "{}"}};
  CHECK(complaint([&] { qwq::apply_chat_template(turns, true); }) ==
        "messages[1].role: expected \"system\", \"user\" or \"assistant\", found \"tool\"");
}
