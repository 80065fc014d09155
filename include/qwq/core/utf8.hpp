// SPDX-License-Identifier: Apache-2.0
// Defines UTF-8 decoding, which repairs ill-formed input, and conversions between UTF-8 and UTF-16.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace qwq::detail {

/// Replacement for ill-formed sequences, U+FFFD.
inline constexpr char32_t replacement_character = 0xFFFD;

/// A decoded code point and the number of its bytes.
struct utf8_step {
  char32_t code_point = replacement_character;
  std::size_t length = 1;
  bool cut_off = false;  ///< The text ends within a sequence that more bytes could complete.
};

/// Decodes the first code point of `s`, which must not be empty. An ill-formed sequence yields U+FFFD for its maximal
/// subpart (The Unicode Standard 15.0, section 3.9, table 3-7), like Python's errors="replace" and Rust's
/// from_utf8_lossy.
constexpr utf8_step read_utf8(std::string_view s) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(s[i]); };
  const unsigned lead = byte(0);
  if (lead < 0x80) return {lead, 1, false};
  if (lead < 0xC2 || lead > 0xF4) return {};
  const std::size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  unsigned low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;   // no overlong forms
  unsigned high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;  // no surrogates, nothing above U+10FFFF
  char32_t code_point = lead & (0x7FU >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if (i == s.size()) return {replacement_character, i, true};
    if (byte(i) < low || byte(i) > high) return {replacement_character, i, false};
    code_point = code_point << 6 | (byte(i) & 0x3FU);
    low = 0x80;
    high = 0xBF;
  }
  return {code_point, length, false};
}

/// True if `step`, decoded from `s`, is a code point of `s`, not a replacement for ill-formed bytes.
constexpr bool is_well_formed(utf8_step step, std::string_view s) {
  return step.code_point != replacement_character || s.starts_with("\xEF\xBF\xBD");
}

/// Calls `put_char` with each UTF-8 byte of a code point.
template <class Put>
constexpr void write_utf8(char32_t c, Put&& put_char) {
  const auto put = [&](char32_t byte) { put_char(static_cast<char>(byte)); };
  if (c < 0x80) return put(c);
  if (c < 0x800) {
    put(0xC0 | c >> 6);
  } else {
    if (c < 0x10000) {
      put(0xE0 | c >> 12);
    } else {
      put(0xF0 | c >> 18);
      put(0x80 | (c >> 12 & 0x3F));
    }
    put(0x80 | (c >> 6 & 0x3F));
  }
  put(0x80 | (c & 0x3F));
}

/// Appends a code point as UTF-8.
inline void append_utf8(std::string& out, char32_t c) {
  write_utf8(c, [&](char byte) { out += byte; });
}

/// Appends well-formed UTF-16 as UTF-8.
inline void append_utf8(std::string& out, std::u16string_view units) {
  for (std::size_t i = 0; i < units.size(); ++i) {
    char32_t c = units[i];
    if (c >= 0xD800 && c < 0xDC00) c = 0x10000 + ((c & 0x3FF) << 10 | (units[++i] & 0x3FF));
    append_utf8(out, c);
  }
}

/// Appends `bytes` with U+FFFD for ill-formed sequences, up to a sequence that the end of `bytes` cuts off. Returns the
/// length of that rest: 0 to 3 bytes.
inline std::size_t append_repaired(std::string& out, std::string_view bytes) {
  while (!bytes.empty()) {
    const utf8_step step = read_utf8(bytes);
    if (step.cut_off) break;
    append_utf8(out, step.code_point);
    bytes.remove_prefix(step.length);
  }
  return bytes.size();
}

/// Converts `bytes` to well-formed UTF-16, with U+FFFD for ill-formed sequences.
inline std::u16string to_utf16(std::string_view bytes) {
  std::u16string out;
  out.reserve(bytes.size());
  while (!bytes.empty()) {
    const auto [c, length, cut_off] = read_utf8(bytes);
    if (c < 0x10000) {
      out += static_cast<char16_t>(c);
    } else {
      out += static_cast<char16_t>(0xD7C0 + (c >> 10));
      out += static_cast<char16_t>(0xDC00 | (c & 0x3FF));
    }
    bytes.remove_prefix(length);
  }
  return out;
}

}  // namespace qwq::detail
