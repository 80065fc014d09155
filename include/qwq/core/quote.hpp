// SPDX-License-Identifier: Apache-2.0
// Defines `printable` and `quote`: what a file holds, in the words of a message.
#pragma once

#include <string>
#include <string_view>

namespace qwq::detail {

/// Appends bytes in printable ASCII to a string or a `text`, so that a message stays one line whatever a file holds; cut
/// after 160 characters.
template <class Text, class Bytes>
constexpr void append_printable(Text& out, const Bytes& bytes) {
  constexpr std::string_view hex = "0123456789abcdef";
  const auto begin = out.size();
  for (const char c : bytes) {
    if (out.size() - begin > 160) {
      out.append(std::string_view("..."));
      return;
    }
    const auto byte = static_cast<unsigned char>(c);
    const char escape[] = {'\\', 'x', hex[byte >> 4], hex[byte & 15]};
    out.append(byte >= 0x20 && byte < 0x7f ? std::string_view(&c, 1) : std::string_view(escape, 4));
  }
}

/// `s` in printable ASCII; cut after 160 characters.
inline std::string printable(std::string_view s) {
  std::string out;
  append_printable(out, s);
  return out;
}

inline std::string quote(std::string_view s) { return '"' + printable(s) + '"'; }

}  // namespace qwq::detail
