// SPDX-License-Identifier: Apache-2.0
// Defines `require_same_fields`, which compares the config of a checkpoint with that of the exporter.
#pragma once

#include <array>
#include <charconv>
#include <concepts>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "qwq/core/error.hpp"
#include "qwq/core/fixed_string.hpp"
#include "qwq/core/fixed_vector.hpp"
#include "qwq/core/quote.hpp"
#include "qwq/model/config_reader.hpp"

namespace qwq::detail {

[[noreturn]] inline void refuse_other_value(const std::string& where, const std::string& built,
                                            const std::string& found) {
  throw error(where + ": this exporter was built for " + built + ", found " + found);
}

/// A number with enough digits to distinguish it from every other.
template <class T>
std::string value_text(T value) {
  char digits[32];
  return {digits, std::to_chars(digits, digits + sizeof digits, value).ptr};
}
inline std::string value_text(bool value) { return value ? "true" : "false"; }
template <std::size_t N>
std::string value_text(const fixed_string<N>& value) {
  return quote(value.view());
}

template <reflected Config>
void require_same_fields(const Config& built, const Config& found, const std::string& where);

// require_same(built, found, where) throws `error` unless two values of a field are equal for the model.

template <class T>
void require_same(const T& built, const T& found, const std::string& where) {
  if constexpr (reflected<T>)
    require_same_fields(built, found, where + ".");
  else if (!(built == found))
    refuse_other_value(where, value_text(built), value_text(found));
}

/// Compares as f32: the model computes in f32.
inline void require_same(double built, double found, const std::string& where) {
  if (static_cast<float>(built) != static_cast<float>(found))
    refuse_other_value(where, value_text(built), value_text(found));
}

template <class T>
void require_same(const std::optional<T>& built, const std::optional<T>& found, const std::string& where) {
  if (built && found) return require_same(*built, *found, where);
  if (built) refuse_other_value(where, "one", "none");
  if (found) refuse_other_value(where, "none", "one");
}

template <class T, std::size_t N>
void require_same(const std::array<T, N>& built, const std::array<T, N>& found, const std::string& where) {
  for (std::size_t i = 0; i < N; ++i) require_same(built[i], found[i], where + '[' + std::to_string(i) + ']');
}

template <class T, std::size_t N>
void require_same(const fixed_vector<T, N>& built, const fixed_vector<T, N>& found, const std::string& where) {
  if (built.size() != found.size())
    refuse_other_value(where, "a list of " + std::to_string(built.size()), "a list of " + std::to_string(found.size()));
  for (std::size_t i = 0; i < built.size(); ++i)
    require_same(built[i], found[i], where + '[' + std::to_string(i) + ']');
}

/// Throws `error`, with the name of the field, unless the fields of two configs are equal for the model. `where`
/// precedes the field name.
template <reflected Config>
void require_same_fields(const Config& built, const Config& found, const std::string& where) {
  for_each_field([&](std::string_view name, const auto& value,
                     const auto& other) { require_same(value, other, where + std::string(name)); },
                 built, found);
}

}  // namespace qwq::detail
