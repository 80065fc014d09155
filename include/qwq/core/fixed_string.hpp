// SPDX-License-Identifier: Apache-2.0
// Fixed-capacity string: names inside constexpr graphs, and words inside template arguments.
#pragma once

#include <cstddef>
#include <string_view>
#include <type_traits>

namespace qwq {

/// A string of at most `N` characters that can live in a constexpr value or be a template argument.
/// Appending past the capacity truncates.
template <std::size_t N>
struct fixed_string {
  char chars[N + 1]{};  // a plain array: compilers print it as a string inside their messages

  constexpr fixed_string() = default;
  /// The first N characters of a string.
  constexpr fixed_string(std::string_view s) { append(s); }  // NOLINT(google-explicit-constructor)
  /// The same of a fixed_string of another capacity.
  template <std::size_t M>
  constexpr fixed_string(const fixed_string<M>& s) : fixed_string(s.view()) {}  // NOLINT(google-explicit-constructor)
  /// The same of a literal.
  template <std::size_t M>
  constexpr fixed_string(const char (&s)[M])
      : fixed_string(std::string_view{s}) {}  // NOLINT(google-explicit-constructor)

  static constexpr std::size_t capacity() { return N; }
  constexpr std::size_t size() const { return view().size(); }
  constexpr bool empty() const { return chars[0] == '\0'; }
  constexpr std::string_view view() const {
    if (std::is_constant_evaluated()) return std::string_view{chars};
    std::size_t n = 0;  // g++ 12 takes strlen of a name inside a constant graph for an overread
    while (n < N && chars[n] != '\0') ++n;
    return {chars, n};
  }
  /// The characters.
  constexpr operator std::string_view() const { return view(); }  // NOLINT(google-explicit-constructor)

  constexpr fixed_string& append(std::string_view s) {
    std::size_t at = size();
    for (char c : s) {
      if (at == N) break;
      chars[at++] = c;
    }
    chars[at] = '\0';  // written, although it is there: clang prints a string only if its end was
    return *this;
  }

  /// Appends a number in decimals.
  constexpr fixed_string& append(long long value) {
    char digits[24]{};
    std::size_t n = 0;
    const bool negative = value < 0;
    auto rest = negative ? 0ULL - static_cast<unsigned long long>(value) : static_cast<unsigned long long>(value);
    do {
      digits[n++] = static_cast<char>('0' + rest % 10);
      rest /= 10;
    } while (rest != 0);
    if (negative) append("-");
    while (n > 0) append(std::string_view{&digits[--n], 1});
    return *this;
  }

  friend constexpr bool operator==(const fixed_string& a, std::string_view b) { return a.view() == b; }
};

template <std::size_t A, std::size_t B>
constexpr bool operator==(const fixed_string<A>& a, const fixed_string<B>& b) {
  return a.view() == b.view();
}

template <std::size_t M>
fixed_string(const char (&)[M]) -> fixed_string<M - 1>;

}  // namespace qwq
