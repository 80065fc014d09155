// SPDX-License-Identifier: Apache-2.0
// Defines `parse_object`, which parses JSON from untrusted files with one-line errors, and `describe`.
#pragma once

#include <cstddef>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "qwq/core/error.hpp"
#include "qwq/core/quote.hpp"

namespace qwq::detail {

/// The JSON tree type.
using json = nlohmann::json;

/// Describes a value, for "found ..." in a message.
inline std::string describe(const json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return "a list of " + std::to_string(value.size());
  if (value.is_string()) return quote(value.get_ref<const std::string&>());
  return value.dump();  // a scalar
}

/// Parses a JSON object. Rejects what a hostile file could exploit: duplicate keys, of which the parser would silently
/// keep one, and nesting deeper than 64. `where` (a file, or file:line) begins the message of the error.
inline json parse_object(std::string_view text, const std::string& where) {
  // The parser would take a NUL for the end of the text and ignore the rest.
  if (const auto nul = text.find('\0'); nul != text.npos)
    throw error(where + ": invalid JSON at byte " + std::to_string(nul + 1) + ": expected text, found \"\\x00\"");
  std::vector<std::set<std::string>> keys;
  const auto check = [&](int depth, json::parse_event_t event, json& parsed) {
    if (depth > 64) throw error(where + ": invalid JSON: expected at most 64 levels of nesting, found more");
    if (event == json::parse_event_t::object_start) keys.emplace_back();
    if (event == json::parse_event_t::object_end) keys.pop_back();
    if (event == json::parse_event_t::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!keys.back().insert(key).second) throw error(where + ": key " + quote(key) + ": expected once, found twice");
    }
    return true;
  };
  try {
    json parsed = json::parse(text.begin(), text.end(), check);
    if (!parsed.is_object()) throw error(where + ": expected a JSON object, found " + describe(parsed));
    return parsed;
  } catch (const json::parse_error& e) {
    std::string_view what = e.what();  // "[json.exception...] parse error at line 1, column 2: syntax error ..."
    if (const auto at = what.find("column "); at != what.npos)
      if (const auto colon = what.find(": ", at); colon != what.npos) what.remove_prefix(colon + 2);
    throw error(where + ": invalid JSON at byte " + std::to_string(e.byte) + ": " + printable(what));
  } catch (const json::exception& e) {
    throw error(where + ": invalid JSON: " + printable(e.what()));
  }
}

}  // namespace qwq::detail
