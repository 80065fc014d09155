// SPDX-License-Identifier: Apache-2.0
// What a file holds, in the words of a message.
#pragma once

#include <string>
#include <string_view>

namespace qwq::detail {

/// `s` in printable ASCII, so that a message stays one line whatever a file holds; cut after 160 characters.
inline std::string printable(std::string_view s) {
  constexpr std::string_view hex = "0123456789abcdef";
  std::string out;
  for (const char c : s) {
    if (out.size() > 160) return out + "...";
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f) {
      out += c;
    } else {
      out += "\\x";
      out += hex[byte >> 4];
      out += hex[byte & 15];
    }
  }
  return out;
}

inline std::string quote(std::string_view s) { return '"' + printable(s) + '"'; }

}  // namespace qwq::detail
