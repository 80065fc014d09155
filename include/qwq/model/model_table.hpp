// SPDX-License-Identifier: Apache-2.0
// Defines `model_families`, the table from `model_type` of config.json to models.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string_view>
#include <type_traits>

#include "qwq/core/fixed_string.hpp"
#include "qwq/core/json_tree.hpp"
#include "qwq/core/type_list.hpp"
#include "qwq/model/config_reader.hpp"
#include "qwq/model/qwen3_config.hpp"

namespace qwq {

/// A family of models: `Model` is a class template, and `Config` is the type of its argument, which `read_json` fills.
template <class Config, template <Config> class Model>
struct model_family {
  using config_type = Config;  ///< Type of the config.
  /// The model with the sizes `C`.
  template <Config C>
  using model = Model<C>;
};

/// Declared here so that the table does not need the model's definition.
template <qwen3_config C>
struct qwen3;

/// The model families of the library. `model_type` of config.json selects one; each model's own header defines it.
using model_families = type_list<model_family<qwen3_config, qwen3>>;

namespace detail {

/// Index in `Families` of the family that a config.json names, or their number if it names none.
template <class... Family>
constexpr std::size_t family_index(type_list<Family...>, std::string_view json) {
  json_tree tree(json);
  const json_value type = tree.root()["model_type"];
  std::size_t index = 0;
  (void)(... || (type.is(Family::config_type::model_type) || (++index, false)));
  return index;
}

}  // namespace detail

/// The problem of a config.json for the models in `Families`, if any.
template <class... Family>
constexpr json_problem check_config(type_list<Family...> families, std::string_view json) {
  const std::size_t index = detail::family_index(families, json);
  if (index < sizeof...(Family))
    return detail::with_type(families, index, [&]<class Chosen>(std::type_identity<Chosen>) {
      return read_json<typename Chosen::config_type>(json).problem;
    });
  json_tree tree(json);
  const json_value file = tree.root();
  if (file.kind() != json_kind::object) tree.refuse("", "a JSON object", file.found());
  fixed_string<191> known;
  (known.append(known.empty() ? "" : " or ").append(detail::quoted(Family::config_type::model_type)), ...);
  file["model_type"].refuse(known);
  return tree.problem();
}

namespace detail {

template <class Families, class Source>
struct embedded_family {
  static constexpr std::size_t index = family_index(Families{}, Source::text);
  static constexpr json_problem problem =
      index < Families::size ? json_problem{} : check_config(Families{}, Source::text);
  static_assert(require_readable<problem, Source>());
  using type = type_at<std::min(index, Families::size - 1), Families>;  // an invalid index is already reported
};

}  // namespace detail

/// The family in `Families` whose model_type is that of the config.json in `Source::text`. Fails to compile if there is
/// none.
template <class Source, class Families = model_families>
using family_of = typename detail::embedded_family<Families, Source>::type;

}  // namespace qwq
