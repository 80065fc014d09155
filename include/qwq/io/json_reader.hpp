// SPDX-License-Identifier: Apache-2.0
// Defines `json_reader`, which reads JSON sequentially, without building a tree, for the headers of weight files.
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "qwq/core/error.hpp"
#include "qwq/core/quote.hpp"
#include "qwq/core/utf8.hpp"

namespace qwq::detail {

/// Reads one value after another from untrusted text. Strict: throws `error`, with the byte position (counted from 1),
/// for everything that RFC 8259 forbids, and for ill-formed UTF-8, unpaired surrogates, duplicate keys, of which a
/// reader would silently keep one, and nesting deeper than 64.
class json_reader {
 public:
  /// `where` (a file) begins the messages. `text` must outlive the reader.
  json_reader(std::string_view text, std::string where) : text_(text), where_(std::move(where)) {}

  /// The first character of the next value: '{', '[', '"', 't', 'f', 'n', or the first character of a number.
  char peek() {
    skip_space();
    if (at_ == text_.size()) fail("a value");
    return text_[at_];
  }

  /// Reads an object: calls `member(key)` for each key, which must read the value.
  template <class F>
  void object(F&& member) {
    std::set<std::string> keys;
    elements('{', '}', [&] {
      if (peek() != '"') fail("a key");
      std::string key = string();
      if (!keys.insert(key).second) throw error(where_ + ": key " + quote(key) + ": expected once, found twice");
      if (!take(':')) fail("':'");
      member(std::move(key));
    });
  }

  /// Reads a list: calls `element()` for each element, which must read it.
  template <class F>
  void list(F&& element) {
    elements('[', ']', element);
  }

  /// Reads a string, which must be next.
  std::string string() {
    if (!take('"')) fail("a string");
    std::string out;
    for (;;) {
      if (at_ == text_.size()) fail("'\"'");
      const char c = text_[at_];
      if (c == '"') return ++at_, out;
      if (c == '\\') {
        append_utf8(out, escape());
        continue;
      }
      if (static_cast<unsigned char>(c) < 0x20) fail("an escape for a control character");
      const std::string_view rest = text_.substr(at_);
      const utf8_step step = read_utf8(rest);
      if (!is_well_formed(step, rest)) fail("UTF-8");
      out += rest.substr(0, step.length);
      at_ += step.length;
    }
  }

  /// Reads any value and returns its source text.
  std::string_view skip() {
    const char c = peek();
    const std::size_t begin = at_;
    if (c == '{')
      object([&](const std::string&) { skip(); });
    else if (c == '[')
      list([&] { skip(); });
    else if (c == '"')
      string();
    else if (c == '-' || is_digit(c))
      number();
    else if (!word("true") && !word("false") && !word("null"))
      fail("a value");
    return text_.substr(begin, at_ - begin);
  }

  /// Reads any value and describes it, for "found ..." in a message.
  std::string found() {
    const char c = peek();
    if (c == '{') return skip(), "an object";
    if (c == '"') return quote(string());
    if (c != '[') return printable(skip());
    std::size_t count = 0;
    list([&] {
      skip();
      ++count;
    });
    return "a list of " + std::to_string(count);
  }

  /// Checks that only white space follows.
  void end() {
    skip_space();
    if (at_ != text_.size()) fail("nothing more");
  }

 private:
  static constexpr int max_depth = 64;

  static bool is_digit(char c) { return c >= '0' && c <= '9'; }

  [[noreturn]] void fail(const char* expected) const {
    throw error(where_ + ": invalid JSON at byte " + std::to_string(at_ + 1) + ": expected " + expected + ", found " +
                (at_ == text_.size() ? "the end" : quote(text_.substr(at_, 1))));
  }

  /// The next character; '\0' at the end, which no grammar rule accepts.
  char next() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  void skip_space() {
    while (next() == ' ' || next() == '\t' || next() == '\r' || next() == '\n') ++at_;
  }

  /// Consumes `c` if it is next; returns whether it was.
  bool take(char c) {
    skip_space();
    if (next() != c) return false;
    ++at_;
    return true;
  }

  template <class F>
  void elements(char open, char close, F&& element) {
    if (!take(open)) fail(open == '{' ? "an object" : "a list");
    if (++depth_ > max_depth)
      throw error(where_ + ": invalid JSON: expected at most " + std::to_string(max_depth) +
                  " levels of nesting, found more");
    if (!take(close)) {
      do element();
      while (take(','));
      if (!take(close)) fail(open == '{' ? "',' or '}'" : "',' or ']'");
    }
    --depth_;
  }

  bool word(std::string_view w) {
    if (!text_.substr(at_).starts_with(w)) return false;
    at_ += w.size();
    return true;
  }

  void number() {
    const auto digits = [&] {
      if (!is_digit(next())) fail("a digit");
      while (is_digit(next())) ++at_;
    };
    if (next() == '-') ++at_;
    if (next() == '0')
      ++at_;  // no digit may follow a leading zero
    else
      digits();
    if (next() == '.') {
      ++at_;
      digits();
    }
    if (next() == 'e' || next() == 'E') {
      ++at_;
      if (next() == '+' || next() == '-') ++at_;
      digits();
    }
  }

  /// Reads the code point of an escape, whose backslash is next.
  char32_t escape() {
    constexpr std::string_view names = "\"\\/bfnrt", values = "\"\\/\b\f\n\r\t";
    ++at_;
    if (next() == 'u') {
      ++at_;
      const char32_t unit = hex();
      if (unit < 0xD800 || unit > 0xDFFF) return unit;
      if (unit > 0xDBFF || !word("\\u")) fail("both halves of a surrogate pair");
      const char32_t low = hex();
      if (low < 0xDC00 || low > 0xDFFF) fail("both halves of a surrogate pair");
      return 0x10000 + ((unit & 0x3FF) << 10 | (low & 0x3FF));
    }
    const auto known = at_ < text_.size() ? names.find(text_[at_]) : names.npos;
    if (known == names.npos) fail("an escape");
    ++at_;
    return static_cast<unsigned char>(values[known]);
  }

  char32_t hex() {
    std::uint32_t unit = 0;
    const std::string_view digits = text_.substr(at_, 4);
    const auto end = digits.data() + digits.size();
    if (digits.size() < 4 || std::from_chars(digits.data(), end, unit, 16).ptr != end) fail("four hexadecimal digits");
    at_ += 4;
    return unit;
  }

  std::string_view text_;
  std::string where_;
  std::size_t at_ = 0;
  int depth_ = 0;
};

/// The value of the JSON text `number`, if it is an integer >= 0 that fits.
inline std::optional<std::uint64_t> unsigned_integer(std::string_view number) {
  std::uint64_t value = 0;
  const auto end = number.data() + number.size();
  const auto [ptr, code] = std::from_chars(number.data(), end, value);
  if (ptr != end || code != std::errc{}) return std::nullopt;  // from_chars accepts no sign for unsigned types
  return value;
}

}  // namespace qwq::detail
