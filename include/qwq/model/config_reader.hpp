// SPDX-License-Identifier: Apache-2.0
// Defines `from_json`, which reads a config struct from config.json, and `require_config`, the same at compile time.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <boost/hana/accessors.hpp>
#include <boost/hana/concept/struct.hpp>
#include <boost/hana/core/to.hpp>
#include <boost/hana/first.hpp>
#include <boost/hana/for_each.hpp>
#include <boost/hana/second.hpp>
#include <boost/hana/string.hpp>
#include <boost/hana/tuple.hpp>

#include "qwq/core/error.hpp"
#include "qwq/core/fixed_string.hpp"
#include "qwq/core/fixed_vector.hpp"
#include "qwq/core/json_tree.hpp"
#include "qwq/model/config_limit.hpp"

namespace qwq {

/// A config, and the problem of its text, if any.
template <class Config>
struct config_reading {
  Config config{};       ///< The config; complete only if there is no problem.
  json_problem problem;  ///< The first problem; `ok()` if the config is valid.
};

namespace detail {

/// A struct whose fields Boost.Hana reflects by name.
template <class T>
concept reflected = boost::hana::Struct<T>::value;

/// Calls `f(name, member)` for each field of a struct, or `f(name, member, other.member)` if another one is given.
template <class Struct, class F, class... Other>
constexpr void for_each_field(F&& f, Struct& value, const Other&... other) {
  boost::hana::for_each(boost::hana::accessors<std::remove_const_t<Struct>>(), [&](auto field) {
    const auto get = boost::hana::second(field);
    f(std::string_view(boost::hana::to<const char*>(boost::hana::first(field))), get(value), get(other)...);
  });
}

/// Limit of a field; null if the struct has none.
template <class Config>
constexpr config_limit limit_of(std::string_view field) {
  if constexpr (requires { Config::limits; })
    for (const config_limit& limit : Config::limits)
      if (limit.field == field) return limit;
  return {};
}

/// Expected range of a number, for messages.
constexpr fixed_string<191> range_words(std::string_view kind, const config_limit& limit) {
  fixed_string<191> words(kind);
  if (!limit.min.empty()) words.append(" from ").append(limit.min).append(" to ").append(limit.max);
  return words;
}

template <class Config>
constexpr void read_fields(json_value from, Config& to);

// read_value(from, to, limit) reads a value of each supported field type; null keeps the default.

constexpr void read_value(json_value from, bool& to, const config_limit&) {
  if (from.is_null()) return;
  if (!from.is_boolean()) from.refuse("true or false");
  to = from.is_true();
}

template <std::integral T>
constexpr void read_value(json_value from, T& to, const config_limit& limit) {
  constexpr auto most = std::numeric_limits<T>::max();
  std::int64_t min = static_cast<std::int64_t>(std::numeric_limits<T>::min());
  std::int64_t max = std::cmp_greater(most, INT64_MAX) ? INT64_MAX : static_cast<std::int64_t>(most);
  if (!limit.min.empty()) {
    min = exact_integer(limit.min).value();
    max = exact_integer(limit.max).value();
  }
  const auto value = from.is_null() ? static_cast<std::int64_t>(to) : from.integer();
  if (!value || *value < min || *value > max) return from.refuse(range_words("an integer", limit));
  to = static_cast<T>(*value);
}

constexpr void read_value(json_value from, double& to, const config_limit& limit) {
  const auto value = from.is_null() ? to : from.number();
  const bool within = value && (limit.min.empty() || (*value >= nearest_double(limit.min).value() &&
                                                      *value <= nearest_double(limit.max).value()));
  if (!within) return from.refuse(range_words("a number", limit));
  to = *value;
}

template <std::size_t N>
constexpr void read_value(json_value from, fixed_string<N>& to, const config_limit&) {
  if (from.is_null()) return;
  if (from.kind() != json_kind::string) return from.refuse("a string");
  std::size_t n = 0;
  fixed_string<N> read;
  for (const char c : from.string()) {
    if (++n > N || c == '\0')
      return from.refuse(fixed_string<63>("at most ").append(N).append(" characters, none of them NUL"));
    read.chars[n - 1] = c;
  }
  to = read;
}

template <class T>
constexpr void read_value(json_value from, std::optional<T>& to, const config_limit& limit) {
  if (!from.is_null()) read_value(from, to.emplace(), limit);
}

/// Reads a list of exactly N elements.
template <class T, std::size_t N>
constexpr void read_value(json_value from, std::array<T, N>& to, const config_limit& limit) {
  if (from.is_null()) return;
  if (!from.is_list() || from.size() != N) return from.refuse(fixed_string<63>("a list of ").append(N));
  std::size_t i = 0;
  for (const json_value& element : from.elements()) read_value(element, to[i++], limit);
}

/// Reads a list of at most N elements.
template <class T, std::size_t N>
constexpr void read_value(json_value from, fixed_vector<T, N>& to, const config_limit& limit) {
  if (from.is_null()) return;
  if (!from.is_list() || from.size() > N) return from.refuse(fixed_string<63>("a list of at most ").append(N));
  to.count = 0;
  for (const json_value& element : from.elements()) {
    T value{};
    read_value(element, value, limit);
    to.push_back(value);
  }
}

template <reflected Config>
constexpr void read_value(json_value from, Config& to, const config_limit&) {
  read_fields(from, to);
}

/// Reads RoPE parameters of transformers 4 (rope_theta next to rope_scaling) and 5 (rope_theta in rope_parameters).
/// `theta` holds the top-level rope_theta. Refuses non-default frequencies, and two different thetas.
constexpr void read_rope(json_value config, double& theta, const config_limit& limit) {
  json_value known = config["rope_theta"];
  fixed_string<191> name("the top-level rope_theta ");
  for (const std::string_view key : {"rope_parameters", "rope_scaling"}) {
    const json_value rope = config[key];
    if (rope.is_null()) continue;
    const json_value kind = rope["rope_type"].is_null() ? rope["type"] : rope["rope_type"];
    if (!kind.is_null()) kind.must_be("default");
    const json_value inner = rope["rope_theta"];
    if (inner.is_null()) continue;
    double own = theta;
    read_value(inner, own, limit);
    if (!known.is_null() && own != theta) inner.refuse(name.append(known.found()));
    theta = own;
    known = inner;
    name = fixed_string<191>("the ").append(inner.path()).append(" ");
  }
}

template <class Config>
constexpr void read_fields(json_value from, Config& to) {
  for_each_field([&](std::string_view name, auto& member) { read_value(from[name], member, limit_of<Config>(name)); },
                 to);
  if constexpr (requires { to.rope_theta; }) read_rope(from, to.rope_theta, limit_of<Config>("rope_theta"));
  if constexpr (requires { Config::check(from, to); }) Config::check(from, to);
}

}  // namespace detail

/// Reads the text of a config.json, field by field, into a struct that Boost.Hana reflects (BOOST_HANA_DEFINE_STRUCT or
/// BOOST_HANA_ADAPT_STRUCT). Usable in constant expressions. Fields can be numbers, bool, `fixed_string`,
/// std::optional, lists (std::array, `fixed_vector`) and structs of these. A field that is absent or null in the file
/// keeps the default of the struct; other fields of the file are ignored. Besides its fields, a struct can have
/// - `model_type`, the required model_type of the file,
/// - `limits`, an array of `config_limit`,
/// - `check(json_value file, const Config&)`, which refuses further invalid values with `json_value::refuse`.
/// A field `rope_theta` is also read from rope_parameters and rope_scaling. Quantized checkpoints are refused.
template <detail::reflected Config>
constexpr config_reading<Config> read_json(std::string_view json) {
  config_reading<Config> result;
  json_tree tree(json);
  const json_value file = tree.root();
  if (file.kind() != json_kind::object) tree.refuse("", "a JSON object", file.found());
  if (tree.problem().ok()) {
    if constexpr (requires { Config::model_type; }) file["model_type"].must_be(Config::model_type);
    if (const json_value q = file["quantization_config"]; !q.is_null())
      q["quant_method"].refuse("a checkpoint in floats");
    detail::read_fields(file, result.config);
  }
  result.problem = tree.problem();
  return result;
}

/// Reads a config with `read_json`. Throws `error` with one line that names the file, the field, the expected value and
/// the actual one.
template <detail::reflected Config>
Config from_json(std::string_view json, std::string_view file) {
  const config_reading<Config> result = read_json<Config>(json);
  if (!result.problem.ok()) throw error(result.problem.message(file));
  return result.config;
}

/// Declared but never defined: naming it in an error prints its arguments, the facts about a refused config.
template <fixed_string File, fixed_string Where, fixed_string Expected, fixed_string Found>
struct config_is_refused;

/// Fails to compile if `Problem` is a problem. `Source::file` is the name of the file. Returns true.
template <const json_problem& Problem, class Source>
constexpr bool require_readable() {
  if constexpr (!Problem.ok()) {
    constexpr std::size_t shown = 35;  // clang truncates longer texts; the end of a path is the most specific part
    constexpr std::string_view path = Source::file;
    constexpr std::string_view end = path.substr(path.size() > shown ? path.size() - shown : 0);
    constexpr fixed_string<end.size()> file{end};
    constexpr fixed_string<Problem.where.size()> where{Problem.where.view()};
    constexpr fixed_string<Problem.expected.size()> expected{Problem.expected.view()};
    constexpr fixed_string<Problem.found.size()> found{Problem.found.view()};
    static_assert(sizeof(config_is_refused<file, where, expected, found>) > 0);
  }
  return true;
}

namespace detail {

template <class Config, class Source>
struct embedded_config {
  static constexpr config_reading<Config> reading = read_json<Config>(Source::text);
};

}  // namespace detail

/// The config in `Source::text`, the text of a file, as a constant. Fails to compile where `from_json` would throw; the
/// error message names `config_is_refused` with the facts.
template <detail::reflected Config, class Source>
consteval Config require_config() {
  static_assert(require_readable<detail::embedded_config<Config, Source>::reading.problem, Source>());
  return detail::embedded_config<Config, Source>::reading.config;
}

}  // namespace qwq
