// SPDX-License-Identifier: Apache-2.0
// The one exception type: bad input, said in one line.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace qwq {

namespace detail {

/// `text` with codes for control characters: names of files and fields may hold line breaks, a message may not.
inline std::string one_line(std::string_view text) {
  constexpr std::string_view hex = "0123456789abcdef";
  std::string line;
  line.reserve(text.size());
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte != 0x7f) {
      line += c;
    } else {
      line += "\\x";
      line += hex[byte >> 4];
      line += hex[byte & 15];
    }
  }
  return line;
}

}  // namespace detail

/// Bad input. `what()` is one line that names the file, the tensor or field, what was expected and what was found.
class error : public std::runtime_error {
 public:
  /// Control characters in `message` are replaced by their codes.
  explicit error(const std::string& message) : std::runtime_error(detail::one_line(message)) {}
};

}  // namespace qwq
