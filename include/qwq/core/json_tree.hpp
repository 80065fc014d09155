// SPDX-License-Identifier: Apache-2.0
// Defines `json_tree`, a JSON parser, and `json_value`, usable in constant expressions and at run time.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "qwq/core/fixed_string.hpp"
#include "qwq/core/quote.hpp"
#include "qwq/core/utf8.hpp"

namespace qwq {

/// Reason why a JSON file was refused. It does not allocate, so constant expressions can hold it.
struct json_problem {
  /// Field, such as rope_parameters.rope_theta, or position in the file; empty for the whole file.
  fixed_string<191> where{};
  fixed_string<191> expected{};  ///< Expected value; empty if there is no problem.
  fixed_string<191> found{};     ///< Actual value.

  /// True if there is no problem.
  constexpr bool ok() const { return expected.empty(); }

  /// The problem in one line, which starts with the name of the file.
  std::string message(std::string_view file) const {
    std::string line(file);
    if (!where.empty()) line.append(": ").append(where.view());
    return line.append(": expected ").append(expected.view()).append(", found ").append(found.view());
  }
};

/// Type of a JSON value.
enum class json_kind : std::uint8_t { null, boolean, number, string, list, object };

namespace detail {

/// The double nearest to a JSON number, ties to even; none if it is out of range or has more than 400 digits. Same
/// result as std::from_chars, which is not constexpr.
constexpr std::optional<double> nearest_double(std::string_view number) {
  const bool negative = number.starts_with('-');
  if (negative) number.remove_prefix(1);
  const std::size_t mark = std::min(number.find('e'), number.find('E'));
  std::int64_t exponent = 0;
  if (mark != number.npos) {
    std::string_view digits = number.substr(mark + 1);
    const bool down = digits.starts_with('-');
    if (down || digits.starts_with('+')) digits.remove_prefix(1);
    for (const char c : digits) exponent = std::min<std::int64_t>(exponent * 10 + (c - '0'), 1'000'000);
    if (down) exponent = -exponent;
    number = number.substr(0, mark);
  }
  std::uint64_t small = 0;
  std::int64_t digits = 0;  // without leading zeros
  bool fraction = false;
  for (const char c : number) {
    if (c == '.') {
      fraction = true;
      continue;
    }
    if (fraction) --exponent;
    if (digits == 0 && c == '0') continue;
    if (++digits <= 19) small = small * 10 + static_cast<std::uint64_t>(c - '0');
  }
  if (digits == 0) return negative ? -0.0 : 0.0;
  constexpr std::int64_t exact = 22;  // 10^22 is a double
  if (digits <= 19 && small < std::uint64_t{1} << 53 && exponent >= -exact && exponent <= exact) {
    double power = 1;
    for (std::int64_t i = 0; i < (exponent < 0 ? -exponent : exponent); ++i) power *= 10;
    const double value = exponent < 0 ? static_cast<double>(small) / power : static_cast<double>(small) * power;
    return negative ? -value : value;
  }
  if (digits > 400 || digits + exponent > 310) return std::nullopt;
  if (digits + exponent < -330) return negative ? -0.0 : 0.0;

  // The number is the integer `limbs` * 2^-shift, plus a remainder.
  std::array<std::uint32_t, 96> limbs{};
  std::size_t used = 0;
  const auto multiply = [&](std::uint32_t factor, std::uint64_t carry) {
    for (std::size_t i = 0; i < used; ++i) {
      carry += std::uint64_t{limbs[i]} * factor;
      limbs[i] = static_cast<std::uint32_t>(carry);
      carry >>= 32;
    }
    if (carry != 0) limbs[used++] = static_cast<std::uint32_t>(carry);
  };
  const auto power_of_ten = [](std::int64_t n) {
    std::uint32_t power = 1;
    while (n-- > 0) power *= 10;
    return power;
  };
  const auto bit = [&](std::int64_t i) { return (limbs[static_cast<std::size_t>(i / 32)] >> (i % 32) & 1) != 0; };
  constexpr std::int64_t step = 9;  // digits that fit in a limb
  for (const char c : number)
    if (c != '.') multiply(10, static_cast<std::uint64_t>(c - '0'));
  for (std::int64_t left = exponent; left > 0; left -= step) multiply(power_of_ten(std::min(left, step)), 0);
  bool remainder = false;
  std::int64_t shift = 0;
  if (exponent < 0) {
    const auto wanted = static_cast<std::size_t>(-exponent * 10 / 96 + 4);  // leaves at least 64 bits
    const std::size_t moved = wanted > used ? wanted - used : 0;
    for (std::size_t i = used; i-- > 0;) limbs[i + moved] = limbs[i];
    for (std::size_t i = 0; i < moved; ++i) limbs[i] = 0;
    used += moved;
    shift = 32 * static_cast<std::int64_t>(moved);
    for (std::int64_t left = -exponent; left > 0; left -= step) {
      const std::uint32_t divisor = power_of_ten(std::min(left, step));
      std::uint64_t rest = 0;
      for (std::size_t i = used; i-- > 0;) {
        rest = rest << 32 | limbs[i];
        limbs[i] = static_cast<std::uint32_t>(rest / divisor);
        rest %= divisor;
      }
      remainder = remainder || rest != 0;
      while (limbs[used - 1] == 0) --used;
    }
  }
  std::int64_t bits = 32 * static_cast<std::int64_t>(used);
  while (!bit(bits - 1)) --bits;
  std::int64_t power = bits - 1 - shift;  // exponent of the leading bit
  const std::int64_t precision = power >= -1022 ? 53 : 53 - (-1022 - power);
  if (precision < 0) return negative ? -0.0 : 0.0;
  std::uint64_t significand = 0;
  for (std::int64_t i = bits - 1; i >= bits - precision; --i) significand = significand << 1 | (bit(i) ? 1 : 0);
  for (std::int64_t i = 0; i < bits - precision - 1; ++i) remainder = remainder || bit(i);
  if (bit(bits - precision - 1) && (remainder || (significand & 1) != 0)) ++significand;
  if (precision == 53) {
    if (significand == std::uint64_t{1} << 53) {
      significand >>= 1;
      ++power;
    }
    if (power > 1023) return std::nullopt;
    significand = (significand & ((std::uint64_t{1} << 52) - 1)) | static_cast<std::uint64_t>(power + 1023) << 52;
  }
  const double value = std::bit_cast<double>(significand);
  return negative ? -value : value;
}

/// Value of a JSON number without fraction and exponent, if it fits in 64 bits.
constexpr std::optional<std::int64_t> exact_integer(std::string_view number) {
  const bool negative = number.starts_with('-');
  std::int64_t value = 0;
  for (const char c : number.substr(negative ? 1 : 0)) {
    if (c < '0' || c > '9') return std::nullopt;
    const std::int64_t digit = c - '0';
    constexpr auto least = std::numeric_limits<std::int64_t>::min();
    if (value < (least + digit) / 10) return std::nullopt;
    value = value * 10 - digit;  // negative, because that range is larger by one
  }
  if (negative) return value;
  if (value == std::numeric_limits<std::int64_t>::min()) return std::nullopt;
  return -value;
}

inline constexpr std::string_view json_escapes = "\"\\/bfnrt", json_escaped = "\"\\/\b\f\n\r\t";

/// Value of a hexadecimal digit; negative for other characters.
constexpr int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}
/// Value of hexadecimal digits.
constexpr char32_t hex_number(std::string_view digits) {
  char32_t value = 0;
  for (const char c : digits) value = value * 16 + static_cast<char32_t>(hex_digit(c));
  return value;
}

/// The bytes of a valid JSON string, given the source text between its quotes. Not a std::string, which constant
/// expressions of g++ 12 and clang 19 cannot move.
class json_string {
 public:
  constexpr explicit json_string(std::string_view source) : source_(source) {}

  /// Iterates over the bytes, decoding one escape at a time.
  class iterator {
   public:
    constexpr explicit iterator(std::string_view rest) : rest_(rest) { decode(); }
    constexpr char operator*() const { return bytes_[at_]; }
    constexpr iterator& operator++() {
      if (++at_ == count_) decode();
      return *this;
    }
    /// True if there is a current byte.
    constexpr explicit operator bool() const { return count_ > 0; }
    constexpr bool operator!=(std::nullptr_t) const { return count_ > 0; }

   private:
    constexpr void put(char byte) { bytes_[count_++] = byte; }
    constexpr void decode() {
      at_ = count_ = 0;
      if (rest_.empty()) return;
      if (rest_[0] != '\\') {
        put(rest_[0]);
        return rest_.remove_prefix(1);
      }
      if (rest_[1] != 'u') {
        put(json_escaped[json_escapes.find(rest_[1])]);
        return rest_.remove_prefix(2);
      }
      char32_t unit = hex_number(rest_.substr(2, 4));
      rest_.remove_prefix(6);
      if (unit >= 0xD800 && unit < 0xDC00) {
        unit = 0x10000 + ((unit & 0x3FF) << 10 | (hex_number(rest_.substr(2, 4)) & 0x3FF));
        rest_.remove_prefix(6);
      }
      write_utf8(unit, [&](char byte) { put(byte); });
    }

    std::string_view rest_;
    char bytes_[4]{};
    std::size_t at_ = 0, count_ = 0;
  };
  constexpr iterator begin() const { return iterator(source_); }
  constexpr std::nullptr_t end() const { return nullptr; }

  friend constexpr bool operator==(const json_string& a, const json_string& b) { return compare(a, b) == 0; }
  friend constexpr bool operator<(const json_string& a, const json_string& b) { return compare(a, b) < 0; }
  constexpr bool operator==(std::string_view s) const {
    if (is_plain()) return source_ == s;
    for (const char c : *this) {
      if (s.empty() || s[0] != c) return false;
      s.remove_prefix(1);
    }
    return s.empty();
  }

 private:
  constexpr bool is_plain() const { return source_.find('\\') == source_.npos; }
  static constexpr int compare(const json_string& a, const json_string& b) {
    if (a.is_plain() && b.is_plain()) return a.source_.compare(b.source_);
    auto x = a.begin(), y = b.begin();
    for (; x && y; ++x, ++y)
      if (*x != *y) return *x < *y ? -1 : 1;
    return x ? 1 : y ? -1 : 0;
  }

  std::string_view source_;
};

/// `bytes` in printable ASCII and quotes, for messages.
template <class Bytes>
constexpr fixed_string<191> quoted(const Bytes& bytes) {
  fixed_string<191> out("\"");
  append_printable(out, bytes);
  return out.append("\"");
}

}  // namespace detail

class json_value;

/// Parses a JSON text, which must outlive the tree, and keeps the first problem of the text and of its values. Strict
/// as RFC 8259: ill-formed UTF-8, unpaired surrogates and text after the value are refused. Duplicate keys, of which
/// other readers silently keep one, and nesting deeper than 64 levels are refused, too.
class json_tree {
 public:
  /// Parses `text`.
  constexpr explicit json_tree(std::string_view text) : text_(text) {
    nodes_.reserve(64);
    if (!value(-1)) return;
    skip_space();
    if (at_ != text_.size()) fail("nothing more");
  }
  json_tree(const json_tree&) = delete;  // values refer to it
  json_tree& operator=(const json_tree&) = delete;

  /// The top-level value; null if the text is not valid JSON.
  constexpr json_value root();

  /// The first problem, if any.
  constexpr const json_problem& problem() const { return problem_; }

  /// Records a problem, unless one is already recorded.
  constexpr void refuse(std::string_view where, std::string_view expected, std::string_view found) {
    if (problem_.ok()) problem_ = {where, expected, found};
  }

 private:
  friend class json_value;

  struct node {
    json_kind kind = json_kind::null;
    std::size_t begin = 0, end = 0;  // source range of the value; of a string without its quotes
    std::size_t key_begin = 0, key_end = 0;
    std::size_t count = 0;       // number of elements
    int parent = -1, next = -1;  // the first child follows its parent
  };

  static constexpr int max_depth = 64;
  static constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }

  constexpr std::string_view source(std::size_t begin, std::size_t end) const {
    return text_.substr(begin, end - begin);
  }

  constexpr bool fail(std::string_view expected) {
    return fail(expected, at_ == text_.size() ? fixed_string<191>("the end") : detail::quoted(text_.substr(at_, 1)));
  }
  constexpr bool fail(std::string_view expected, std::string_view found) {
    long long line = 1, column = 1;
    for (const char c : text_.substr(0, at_)) {
      ++column;
      if (c == '\n') {
        ++line;
        column = 1;
      }
    }
    fixed_string<63> where("invalid JSON at line ");
    where.append(line).append(", column ").append(column);
    refuse(where, expected, found);
    return false;
  }

  constexpr char next() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  constexpr void skip_space() {
    while (next() == ' ' || next() == '\t' || next() == '\r' || next() == '\n') ++at_;
  }
  constexpr bool take(char c) {
    if (next() != c || at_ == text_.size()) return false;
    ++at_;
    return true;
  }

  /// Parses a value; it becomes the last node.
  constexpr bool value(int parent) {
    skip_space();
    const char c = next();
    if (c == '{' || c == '[') return elements(parent, c == '{' ? json_kind::object : json_kind::list);
    const auto self = nodes_.size();
    nodes_.push_back({.begin = at_, .parent = parent});
    if (c == '"') {
      if (!string()) return false;
      nodes_[self].kind = json_kind::string;
      ++nodes_[self].begin;
      nodes_[self].end = at_ - 1;
      return true;
    }
    if (c == '-' || is_digit(c)) {
      nodes_[self].kind = json_kind::number;
      if (!number()) return false;
    } else if (word("true") || word("false")) {
      nodes_[self].kind = json_kind::boolean;
    } else if (!word("null")) {
      return fail("a value");
    }
    nodes_[self].end = at_;
    return true;
  }

  constexpr bool elements(int parent, json_kind kind) {
    const char close = kind == json_kind::object ? '}' : ']';
    if (++depth_ > max_depth) return fail("at most 64 levels of nesting", "more");
    const int self = static_cast<int>(nodes_.size());
    nodes_.push_back({.kind = kind, .begin = at_++, .parent = parent});
    std::size_t count = 0;
    skip_space();
    for (int before = -1; next() != close || at_ == text_.size() || count > 0; ++count) {
      if (count > 0) {
        if (take(close)) break;
        if (!take(',')) return fail(kind == json_kind::object ? "',' or '}'" : "',' or ']'");
        skip_space();
      }
      std::size_t key_begin = 0, key_end = 0;
      if (kind == json_kind::object) {
        if (next() != '"') return fail("a key");
        key_begin = at_ + 1;
        if (!string()) return false;
        key_end = at_ - 1;
        skip_space();
        if (!take(':')) return fail("':'");
      }
      const int child = static_cast<int>(nodes_.size());
      if (!value(self)) return false;
      node_at(child).key_begin = key_begin;
      node_at(child).key_end = key_end;
      if (before >= 0) node_at(before).next = child;
      before = child;
      skip_space();
    }
    if (count == 0) ++at_;
    node_at(self).end = at_;
    node_at(self).count = count;
    --depth_;
    return kind == json_kind::list || count < 2 || keys_differ(self);
  }

  constexpr node& node_at(int i) { return nodes_[static_cast<std::size_t>(i)]; }
  constexpr const node& node_at(int i) const { return nodes_[static_cast<std::size_t>(i)]; }
  constexpr detail::json_string key(int i) const {
    return detail::json_string(source(node_at(i).key_begin, node_at(i).key_end));
  }

  constexpr bool keys_differ(int object) {
    std::vector<detail::json_string> keys;
    keys.reserve(node_at(object).count);
    for (int i = object + 1; i >= 0; i = node_at(i).next) keys.push_back(key(i));
    std::sort(keys.begin(), keys.end());
    const auto same = std::adjacent_find(keys.begin(), keys.end());
    if (same != keys.end()) refuse(fixed_string<191>("key ").append(detail::quoted(*same)), "once", "twice");
    return same == keys.end();
  }

  constexpr bool word(std::string_view w) {
    if (!text_.substr(at_).starts_with(w)) return false;
    at_ += w.size();
    return true;
  }

  constexpr bool digits() {
    if (!is_digit(next())) return fail("a digit");
    while (is_digit(next())) ++at_;
    return true;
  }
  constexpr bool number() {
    take('-');
    if (!take('0') && !digits()) return false;  // after 0 no digit may follow
    if (take('.') && !digits()) return false;
    if (!take('e') && !take('E')) return true;
    if (!take('+')) take('-');
    return digits();
  }

  constexpr bool string() {
    ++at_;
    for (;;) {
      if (at_ == text_.size()) return fail("'\"'");
      const char c = text_[at_];
      if (c == '"') return ++at_, true;
      if (c == '\\') {
        if (!escape()) return false;
      } else if (static_cast<unsigned char>(c) < 0x20) {
        return fail("an escape for a control character");
      } else if (static_cast<unsigned char>(c) < 0x80) {
        ++at_;
      } else {
        const std::string_view rest = text_.substr(at_);
        const detail::utf8_step step = detail::read_utf8(rest);
        if (!detail::is_well_formed(step, rest)) return fail("UTF-8");
        at_ += step.length;
      }
    }
  }

  constexpr bool escape() {
    ++at_;
    if (take('u')) {
      if (!four_digits()) return false;
      const char32_t unit = detail::hex_number(text_.substr(at_ - 4, 4));
      if (unit < 0xD800 || unit > 0xDFFF) return true;
      if (unit > 0xDBFF || !word("\\u")) return fail("both halves of a surrogate pair");
      if (!four_digits()) return false;
      const char32_t low = detail::hex_number(text_.substr(at_ - 4, 4));
      return (low >= 0xDC00 && low <= 0xDFFF) || fail("both halves of a surrogate pair");
    }
    if (at_ == text_.size() || detail::json_escapes.find(text_[at_]) == std::string_view::npos)
      return fail("an escape");
    ++at_;
    return true;
  }
  constexpr bool four_digits() {
    for (int i = 0; i < 4; ++i, ++at_)
      if (at_ == text_.size() || detail::hex_digit(text_[at_]) < 0) return fail("four hexadecimal digits");
    return true;
  }

  std::string_view text_;
  std::vector<node> nodes_;
  json_problem problem_;
  std::size_t at_ = 0;
  int depth_ = 0;
};

/// A value of a `json_tree`, which must outlive it. A missing member of an object is a value, too: it counts as null.
class json_value {
 public:
  /// Type of the value.
  constexpr json_kind kind() const { return node_ < 0 ? json_kind::null : self().kind; }
  /// True for null and for missing members.
  constexpr bool is_null() const { return kind() == json_kind::null; }
  /// True for a boolean.
  constexpr bool is_boolean() const { return kind() == json_kind::boolean; }
  /// True for a list.
  constexpr bool is_list() const { return kind() == json_kind::list; }
  /// True for a missing member; false for an explicit null.
  constexpr bool is_absent() const { return node_ < 0; }

  /// Number of elements of a list or object; 0 for other values.
  constexpr std::size_t size() const { return node_ < 0 ? 0 : self().count; }

  /// Member `key` of an object; null if it is missing, or if this value is null. Refuses other values.
  constexpr json_value operator[](std::string_view key) const {
    if (node_ < 0) return *this;
    if (kind() == json_kind::object) {
      for (int i = size() == 0 ? -1 : node_ + 1; i >= 0; i = tree_->node_at(i).next)
        if (tree_->key(i) == key) return {tree_, i, node_, key};
    } else if (!is_null()) {
      refuse("an object");
    }
    return {tree_, -1, node_, key};
  }

  /// Elements of a list; none for other values.
  constexpr std::vector<json_value> elements() const {
    std::vector<json_value> all;
    if (kind() != json_kind::list || size() == 0) return all;
    for (int i = node_ + 1; i >= 0; i = tree_->node_at(i).next) all.push_back({tree_, i, node_, {}});
    return all;
  }

  /// Source text of the value; of a string without its quotes.
  constexpr std::string_view source() const {
    return node_ < 0 ? std::string_view("null") : tree_->source(self().begin, self().end);
  }
  /// True for the boolean true.
  constexpr bool is_true() const { return kind() == json_kind::boolean && source() == "true"; }
  /// Bytes of a string; none for other values.
  constexpr detail::json_string string() const {
    return detail::json_string(kind() == json_kind::string ? source() : std::string_view());
  }
  /// True if the value is this string.
  constexpr bool is(std::string_view string_value) const {
    return kind() == json_kind::string && string() == string_value;
  }
  /// Value of a number without fraction and exponent; none for other values.
  constexpr std::optional<std::int64_t> integer() const {
    return kind() == json_kind::number ? detail::exact_integer(source()) : std::nullopt;
  }
  /// The double nearest to a number; none for other values.
  constexpr std::optional<double> number() const {
    return kind() == json_kind::number ? detail::nearest_double(source()) : std::nullopt;
  }

  /// Path of the value, such as layer_types[3] or rope_parameters.rope_theta; empty for the top-level value.
  constexpr fixed_string<191> path() const {
    const int parent = node_ < 0 ? parent_ : self().parent;
    if (parent < 0) return {};
    fixed_string<191> path = json_value{tree_, parent, -1, {}}.path();
    if (tree_->node_at(parent).kind == json_kind::list) {
      long long index = 0;
      for (int i = parent + 1; i != node_; i = tree_->node_at(i).next) ++index;
      return path.append("[").append(index).append("]");
    }
    if (!path.empty()) path.append(".");
    if (node_ < 0)
      detail::append_printable(path, key_);
    else
      detail::append_printable(path, tree_->key(node_));
    return path;
  }

  /// Description of the value, for "found ..." in a message.
  constexpr fixed_string<191> found() const {
    fixed_string<191> words;
    if (kind() == json_kind::object) return words.append("an object");
    if (kind() == json_kind::string) return detail::quoted(string());
    if (kind() == json_kind::list) return words.append("a list of ").append(static_cast<long long>(size()));
    detail::append_printable(words, source());
    return words;
  }

  /// Records the problem that the value is not `expected`.
  constexpr void refuse(std::string_view expected) const { tree_->refuse(path(), expected, found()); }

  /// Refuses all values except the string `only`.
  constexpr void must_be(std::string_view only) const {
    if (!is(only)) refuse(detail::quoted(only));
  }
  /// Refuses all values except false and null.
  constexpr void must_be_false() const {
    if (kind() != json_kind::boolean && !is_null()) return refuse("true or false");
    if (is_true()) refuse("false");
  }

 private:
  friend class json_tree;
  constexpr json_value(json_tree* tree, int node, int parent, std::string_view key)
      : tree_(tree), node_(node), parent_(parent), key_(key) {}
  constexpr const json_tree::node& self() const { return tree_->node_at(node_); }

  json_tree* tree_;
  int node_;  // negative: missing in the object `parent_`; its key would be `key_`
  int parent_;
  std::string_view key_;
};

constexpr json_value json_tree::root() { return {this, problem_.ok() ? 0 : -1, -1, {}}; }

}  // namespace qwq
