// SPDX-License-Identifier: Apache-2.0
// Defines `byte_alphabet`, the byte-level alphabet of GPT-2: how a vocabulary spells bytes as printable characters.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

#include "qwq/core/utf8.hpp"

namespace qwq::detail {

/// Printable Latin-1 bytes map to themselves; the 68 others, in order, to U+0100 and up (a space to U+0120).
struct byte_alphabet {
  /// Character of each byte.
  std::array<char32_t, 256> character{};
  std::array<int, 0x100 + 68> byte{};  ///< Byte of each character; -1 if it has none.

  constexpr byte_alphabet() {
    byte.fill(-1);
    char32_t next = 0x100;
    for (std::size_t b = 0; b < 256; ++b) {
      const bool printable = (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b != 0xAD);
      character[b] = printable ? static_cast<char32_t>(b) : next++;
      byte[character[b]] = static_cast<int>(b);
    }
  }
};

/// The alphabet.
inline constexpr byte_alphabet alphabet;

/// Spells `bytes` in the alphabet, as UTF-8.
inline std::string spell(std::string_view bytes) {
  std::string out;
  for (const char b : bytes) append_utf8(out, alphabet.character[static_cast<unsigned char>(b)]);
  return out;
}

/// The bytes that `token` spells. A token with a character outside the alphabet represents its own UTF-8.
inline std::string unspell(std::string_view token) {
  std::string out;
  for (std::string_view rest = token; !rest.empty();) {
    const utf8_step step = read_utf8(rest);
    const int byte = step.code_point < alphabet.byte.size() ? alphabet.byte[step.code_point] : -1;
    if (byte < 0) return std::string(token);
    out += static_cast<char>(byte);
    rest.remove_prefix(step.length);
  }
  return out;
}

}  // namespace qwq::detail
