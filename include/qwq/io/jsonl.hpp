// SPDX-License-Identifier: Apache-2.0
// Calibration and evaluation texts: one JSON object per line.
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

#include <qwq/core/error.hpp>
#include <qwq/io/json.hpp>
#include <qwq/io/mapped_file.hpp>
#include <qwq/io/message.hpp>

namespace qwq {

/// One row. Only the fields of its kind are set; they are never empty (the content of a message may be).
struct sample {
  enum class kind { qa, text, messages, ids };
  kind type = kind::text;
  std::string question, answer;              ///< {"question", "answer"}
  std::string text;                          ///< {"text"}
  std::vector<message> messages;             ///< {"messages": [{"role", "content"}, ...]}
  std::vector<std::int32_t> ids;             ///< {"ids"}: token ids >= 0
  std::optional<std::size_t> answer_start;   ///< {"ids", "answer_start"}: index in `ids` where the answer begins

  bool operator==(const sample&) const = default;
};

namespace detail {

inline std::string parse_string(const json& row, const char* key, const std::string& where) {
  const auto at = row.find(key);
  if (at == row.end()) throw error(where + ": " + key + ": expected text, found no such field");
  if (!at->is_string()) throw error(where + ": " + key + ": expected text, found " + describe(*at));
  return at->get<std::string>();
}

inline std::string parse_text(const json& row, const char* key, const std::string& where) {
  std::string text = parse_string(row, key, where);
  if (text.empty()) throw error(where + ": " + key + ": expected text, found \"\"");
  return text;
}

/// The list under `key`, which must have elements.
inline const json& parse_list(const json& row, const char* key, const std::string& where) {
  const json& list = row.at(key);
  if (!list.is_array() || list.empty())
    throw error(where + ": " + key + ": expected a list that is not empty, found " + describe(list));
  return list;
}

inline message parse_message(const json& row, const std::string& where) {
  if (!row.is_object()) throw error(where + ": messages: expected objects, found " + describe(row));
  message turn{parse_text(row, "role", where), parse_string(row, "content", where)};
  if (turn.role != "system" && turn.role != "user" && turn.role != "assistant")
    throw error(where + ": role: expected system, user or assistant, found " + quote(turn.role));
  return turn;
}

inline sample parse_sample(std::string_view line, const std::string& where) {
  const json row = parse_object(line, where);
  sample result;
  std::size_t kinds = 0;
  const auto is = [&](const char* key, sample::kind kind) {
    if (!row.contains(key)) return;
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
      result.question = parse_text(row, "question", where);
      result.answer = parse_text(row, "answer", where);
      break;
    case sample::kind::text:
      result.text = parse_text(row, "text", where);
      break;
    case sample::kind::messages:
      for (const json& turn : parse_list(row, "messages", where)) result.messages.push_back(parse_message(turn, where));
      break;
    case sample::kind::ids:
      for (const json& id : parse_list(row, "ids", where)) {
        if (!id.is_number_unsigned() || id.get<std::uint64_t>() > std::numeric_limits<std::int32_t>::max())
          throw error(where + ": ids: expected token ids >= 0, found " + describe(id));
        result.ids.push_back(id.get<std::int32_t>());
      }
      if (const auto start = row.find("answer_start"); start != row.end()) {
        if (!start->is_number_unsigned() || start->get<std::uint64_t>() >= result.ids.size())
          throw error(where + ": answer_start: expected an index below " + std::to_string(result.ids.size()) +
                      ", found " + describe(*start));
        result.answer_start = start->get<std::size_t>();
      }
      break;
  }
  return result;
}

}  // namespace detail

/// Parses the text of a JSONL file; `file` names it in messages. A line ends at \n and nowhere else: strings may hold
/// U+0085 or U+2028 as they are. Each row is exactly one of the kinds of `sample`; other keys are ignored. Blank lines
/// may follow the last row. Throws `error` naming file:line and what is wrong there, or the file when it has no row.
inline std::vector<sample> parse_jsonl(std::string_view text, const std::string& file) {
  std::vector<sample> rows;
  const auto last = text.find_last_not_of(" \t\r\n");
  if (last == text.npos) throw error(file + ": expected at least one row, found none");
  text = text.substr(0, last + 1);
  for (std::size_t line = 1, begin = 0; begin <= text.size(); ++line) {
    const auto end = std::min(text.find('\n', begin), text.size());
    rows.push_back(detail::parse_sample(text.substr(begin, end - begin), file + ':' + std::to_string(line)));
    begin = end + 1;
  }
  return rows;
}

/// Reads a JSONL file: see `parse_jsonl`.
inline std::vector<sample> read_jsonl(const std::filesystem::path& path) {
  const mapped_file file(path);
  return parse_jsonl(file.text(), path.string());
}

}  // namespace qwq
