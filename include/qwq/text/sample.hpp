// SPDX-License-Identifier: Apache-2.0
// Defines `sample` and `parse_jsonl`: calibration and evaluation texts, one JSON object per line.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "qwq/core/error.hpp"
#include "qwq/io/json.hpp"
#include "qwq/io/json_place.hpp"
#include "qwq/io/mapped_file.hpp"
#include "qwq/text/message.hpp"

namespace qwq {

/// One row. Only the fields of its kind are set, and they are never empty (the content of a message can be).
struct sample {
  /// The kinds of rows: the fields that they have.
  enum class kind { qa, text, messages, ids };
  kind type = kind::text;         ///< Kind of the row.
  std::string question,           ///< User message of a question-answer pair.
      answer;                     ///< Its answer.
  std::string text;               ///< {"text"}
  std::vector<message> messages;  ///< {"messages": [{"role", "content"}, ...]}
  std::vector<std::int32_t> ids;  ///< {"ids"}: token ids >= 0.
  /// {"ids", "answer_start"}: index in `ids` of the first token of the answer.
  std::optional<std::size_t> answer_start;

  /// Compares all members.
  bool operator==(const sample&) const = default;
};

namespace detail {

inline std::string text_of(const json_place& at) {
  if (at.string().empty()) at.refuse("text");
  return at.string();
}

/// The value, which must be a list with elements.
inline json_place list_of(const json_place& at) {
  if (at.list().empty()) at.refuse("at least one element");
  return at;
}

inline message message_of(const json_place& at) {
  const json_place role = at["role"];
  if (*role != "system" && *role != "user" && *role != "assistant")
    role.refuse("\"system\", \"user\" or \"assistant\"");
  return {role.string(), at["content"].string()};
}

/// `line` with NaN, Infinity and -Infinity outside of strings replaced by null: Python writes them, but JSON has no
/// such numbers. In a field that is used, null is rejected like them.
inline std::string without_nan(std::string_view line) {
  std::string out;
  for (bool in_string = false; !line.empty();) {
    std::size_t length = 1;
    const auto is_word = [&](std::string_view word) {
      if (!line.starts_with(word)) return false;
      length = word.size();
      return true;
    };
    if (in_string && line.front() == '\\') length = std::min<std::size_t>(2, line.size());
    if (line.front() == '"') in_string = !in_string;
    if (!in_string && (is_word("NaN") || is_word("Infinity") || is_word("-Infinity")))
      out += "null";
    else
      out += line.substr(0, length);
    line.remove_prefix(length);
  }
  return out;
}

inline sample parse_sample(std::string_view line, const std::string& where) {
  const bool extended = line.find("NaN") != line.npos || line.find("Infinity") != line.npos;
  const json parsed = parse_object(extended ? without_nan(line) : line, where);
  const auto row = json_place::root(parsed, where);
  sample result;
  std::size_t kinds = 0;
  const auto is = [&](const char* key, sample::kind kind) {
    if (row[key]->is_null()) return;
    result.type = kind;
    ++kinds;
  };
  is("question", sample::kind::qa);
  is("text", sample::kind::text);
  is("messages", sample::kind::messages);
  is("ids", sample::kind::ids);
  if (kinds != 1)
    throw error(where + ": expected one of \"question\", \"text\", \"messages\", \"ids\", found " +
                std::to_string(kinds) + " of them");

  switch (result.type) {
    case sample::kind::qa:
      result.question = text_of(row["question"]);
      result.answer = text_of(row["answer"]);
      break;
    case sample::kind::text:
      result.text = text_of(row["text"]);
      break;
    case sample::kind::messages: {
      const auto messages = list_of(row["messages"]);
      for (std::size_t i = 0; i < messages->size(); ++i) result.messages.push_back(message_of(messages[i]));
      break;
    }
    case sample::kind::ids: {
      const auto ids = list_of(row["ids"]);
      for (std::size_t i = 0; i < ids->size(); ++i) {
        const auto id = ids[i];
        if (!id->is_number_unsigned() || id->get<std::uint64_t>() > std::numeric_limits<std::int32_t>::max())
          id.refuse("a token id >= 0");
        result.ids.push_back(id->get<std::int32_t>());
      }
      if (const auto start = row["answer_start"]; !start->is_null()) {
        if (!start->is_number_unsigned() || start->get<std::uint64_t>() >= result.ids.size())
          start.refuse("an index below " + std::to_string(result.ids.size()));
        result.answer_start = start->get<std::size_t>();
      }
      break;
    }
  }
  return result;
}

}  // namespace detail

/// Parses the text of a JSONL file; `file` is its name in messages. A line ends only at \n: strings can contain U+0085
/// or U+2028. Each row is exactly one of the kinds of `sample`; other keys, and keys whose value is null, are ignored.
/// Blank lines are skipped. Throws `error` with file:line and the cause, or with the file if it has no rows.
inline std::vector<sample> parse_jsonl(std::string_view text, const std::string& file) {
  std::vector<sample> rows;
  for (std::size_t line = 1, begin = 0; begin <= text.size(); ++line) {
    const auto end = std::min(text.find('\n', begin), text.size());
    const std::string_view row = text.substr(begin, end - begin);
    if (row.find_first_not_of(" \t\r") != row.npos)
      rows.push_back(detail::parse_sample(row, file + ':' + std::to_string(line)));
    begin = end + 1;
  }
  if (rows.empty()) throw error(file + ": expected at least one row, found none");
  return rows;
}

/// Reads a JSONL file: see `parse_jsonl`.
inline std::vector<sample> read_jsonl(const std::filesystem::path& path) {
  const mapped_file file(path);
  return parse_jsonl(file.text(), path.string());
}

}  // namespace qwq
