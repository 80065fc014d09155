// SPDX-License-Identifier: Apache-2.0
// Defines `parse_ids` and `to_text`: token ids on the command line.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "qwq/core/error.hpp"

namespace qwq {

/// Parses token ids such as "5,17,3".
inline std::vector<std::int32_t> parse_ids(std::string_view text) {
  std::vector<std::int32_t> ids;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t comma = std::min(text.find(',', at), text.size());
    const std::string_view word = text.substr(at, comma - at);
    std::int32_t id = -1;
    const auto [end, problem] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (word.empty() || problem != std::errc{} || end != word.data() + word.size() || id < 0)
      throw error(std::string("--ids: expected token ids such as 5,17,3, found '").append(word).append("'"));
    ids.push_back(id);
    at = comma + 1;
  }
  return ids;
}

/// Formats token ids as "5,17,3".
inline std::string to_text(const std::vector<std::int32_t>& ids) {
  std::string text;
  for (const std::int32_t id : ids) text.append(text.empty() ? "" : ",").append(std::to_string(id));
  return text;
}

}  // namespace qwq
