// SPDX-License-Identifier: Apache-2.0
// Defines `fixed_string`, a string of fixed capacity for names in constexpr graphs and for template arguments.
#pragma once

#include <cstddef>
#include <string_view>
#include <type_traits>

namespace qwq {

/// A string of at most `N` characters, usable in constexpr values and as a template argument. Appending beyond the
/// capacity truncates.
template <std::size_t N>
struct fixed_string {
  /// Characters, NUL-terminated. A plain array, because compilers print it as a string in messages.
  char chars[N + 1]{};

  /// The empty string.
  constexpr fixed_string() = default;
  /// The first N characters of `s`.
  constexpr fixed_string(std::string_view s) { append(s); }  // NOLINT(google-explicit-constructor)
  /// The first N characters of a `fixed_string` of another capacity.
  template <std::size_t M>
  constexpr fixed_string(const fixed_string<M>& s) : fixed_string(s.view()) {}  // NOLINT(google-explicit-constructor)
  /// The first N characters of a literal.
  template <std::size_t M>
  constexpr fixed_string(const char (&s)[M])
      : fixed_string(std::string_view{s}) {}  // NOLINT(google-explicit-constructor)

  /// Maximum number of characters.
  static constexpr std::size_t capacity() { return N; }
  /// Number of characters.
  constexpr std::size_t size() const { return view().size(); }
  /// True if there are no characters.
  constexpr bool empty() const { return chars[0] == '\0'; }
  /// The characters, valid as long as this string.
  constexpr std::string_view view() const {
    if (std::is_constant_evaluated()) return std::string_view{chars};
    std::size_t n = 0;  // g++ 12 reports strlen of a name in a constant graph as an overread
    while (n < N && chars[n] != '\0') ++n;
    return {chars, n};
  }
  /// Converts to the characters, as `view`.
  constexpr operator std::string_view() const { return view(); }  // NOLINT(google-explicit-constructor)

  /// Appends as many characters of `s` as fit.
  constexpr fixed_string& append(std::string_view s) {
    std::size_t at = size();
    for (char c : s) {
      if (at == N) break;
      chars[at++] = c;
    }
    chars[at] = '\0';  // written explicitly: clang prints a string only if its terminator was
    return *this;
  }

  /// Appends a number in decimal.
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

  /// True if the characters are equal.
  friend constexpr bool operator==(const fixed_string& a, std::string_view b) { return a.view() == b; }
};

/// True if the characters are equal, whatever the capacities.
template <std::size_t A, std::size_t B>
constexpr bool operator==(const fixed_string<A>& a, const fixed_string<B>& b) {
  return a.view() == b.view();
}

/// A literal gets a capacity of exactly its length.
template <std::size_t M>
fixed_string(const char (&)[M]) -> fixed_string<M - 1>;

}  // namespace qwq
