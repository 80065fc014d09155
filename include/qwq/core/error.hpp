// SPDX-License-Identifier: Apache-2.0
// Defines `error`, the exception type of the library: invalid input, described in one line.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace qwq {

namespace detail {

/// `text` with \xNN for control characters: names of files and fields may contain line breaks, messages must not.
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

/// Invalid input. `what()` is one line that names the file, the tensor or field, the expected value and the actual one.
class error : public std::runtime_error {
 public:
  /// Replaces control characters in `message` by their codes.
  explicit error(const std::string& message) : std::runtime_error(detail::one_line(message)) {}
};

}  // namespace qwq
