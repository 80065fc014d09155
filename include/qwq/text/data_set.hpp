// SPDX-License-Identifier: Apache-2.0
// Defines `read_texts`, which converts rows of a calibration or evaluation set to token ids.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwq/text/chat_template.hpp"
#include "qwq/text/sample.hpp"
#include "qwq/text/token_sequence.hpp"
#include "qwq/text/tokenizer.hpp"

namespace qwq {

/// How question/answer rows are formatted as text.
enum class qa_style : std::uint8_t {
  plain,  ///< "Question: {q}\nAnswer: {a}<|endoftext|>"
  chat,   ///< A user turn and an assistant turn of the chat template.
};

namespace detail {

/// Ids of prompt + continuation. The prompt ends after the longest common prefix of both encodings.
inline token_sequence encode_with_prompt(const tokenizer& t, const std::string& prompt, const std::string& whole) {
  token_sequence text{t.encode(whole), 0};
  const auto head = t.encode(prompt);
  text.prompt = static_cast<std::size_t>(
      std::mismatch(head.begin(), head.end(), text.ids.begin(), text.ids.end()).first - head.begin());
  return text;
}

inline token_sequence encode_chat(const tokenizer& t, std::vector<message> messages) {
  const std::string whole = apply_chat_template(messages, false, std::nullopt);
  if (!messages.empty() && messages.back().role == "assistant") messages.pop_back();
  return encode_with_prompt(t, apply_chat_template(messages, true, std::nullopt), whole);
}

}  // namespace detail

/// Token ids of a row, truncated to `capacity`. Rows of ids need no tokenizer. The first half of plain texts, and of
/// ids without `answer_start`, is the prompt. Throws `error` if a row needs a tokenizer and `t` is null, or if it has
/// fewer than two tokens; `where` names the row.
inline token_sequence encode_sample(const sample& s, const tokenizer* t, qa_style style, std::size_t capacity,
                                    const std::string& where) {
  if (s.type != sample::kind::ids && t == nullptr)
    throw error(where + ": the row is text and the checkpoint has no tokenizer.json; rows of \"ids\" need none");
  token_sequence text;
  switch (s.type) {
    case sample::kind::ids:
      text = {s.ids, s.answer_start.value_or(s.ids.size() / 2)};
      break;
    case sample::kind::text:
      text.ids = t->encode(s.text);
      text.prompt = text.ids.size() / 2;
      break;
    case sample::kind::messages:
      text = detail::encode_chat(*t, s.messages);
      break;
    case sample::kind::qa:
      if (style == qa_style::chat) {
        text = detail::encode_chat(*t, {{"user", s.question}, {"assistant", s.answer}});
      } else {
        const std::string prompt = "Question: " + s.question + "\nAnswer:";
        text = detail::encode_with_prompt(*t, prompt, prompt + " " + s.answer + "<|endoftext|>");
      }
      break;
  }
  if (text.ids.size() < 2)
    throw error(where + ": expected at least two tokens, found " + std::to_string(text.ids.size()));
  if (text.ids.size() > capacity) text.ids.resize(capacity);
  text.prompt = std::clamp<std::size_t>(text.prompt, 1, text.ids.size());
  return text;
}

/// All rows of a JSONL file as token ids.
inline std::vector<token_sequence> read_texts(const std::filesystem::path& file, const tokenizer* t, qa_style style,
                                              std::size_t capacity) {
  std::vector<token_sequence> texts;
  for (const sample& s : read_jsonl(file))
    texts.push_back(encode_sample(s, t, style, capacity, file.string() + ": row " + std::to_string(texts.size() + 1)));
  return texts;
}

}  // namespace qwq
