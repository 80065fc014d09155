// SPDX-License-Identifier: Apache-2.0
// Defines `printable` and `quote`, which make arbitrary bytes safe for one-line messages.
#pragma once

#include <string>
#include <string_view>

namespace qwq::detail {

/// Appends bytes to a std::string or a `fixed_string`, with \xNN for characters that are not printable ASCII, so that a
/// message stays on one line. Truncates after 160 characters.
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

/// `s` with \xNN for characters that are not printable ASCII, truncated after 160 characters.
inline std::string printable(std::string_view s) {
  std::string out;
  append_printable(out, s);
  return out;
}

/// `printable(s)` in double quotes.
inline std::string quote(std::string_view s) { return '"' + printable(s) + '"'; }

}  // namespace qwq::detail
