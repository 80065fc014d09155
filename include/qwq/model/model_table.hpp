// SPDX-License-Identifier: Apache-2.0
// Defines `model_families`, the table of the models that config.json can name.
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

/// The models of a template: `Config` is what `read_json` fills, `Model` a class template of its values.
template <class Config, template <Config> class Model>
struct model_family {
  using config_type = Config;  ///< What `read_json` fills.
  /// The model of the sizes `C`.
  template <Config C>
  using model = Model<C>;
};

template <qwen3_config C>
struct qwen3;

/// The models of the library, of which `model_type` of config.json selects one. A model is defined by its own header.
using model_families = type_list<model_family<qwen3_config, qwen3>>;

namespace detail {

/// The place of the family in `Families` that a config.json names; their number if it names none.
template <class... Family>
constexpr std::size_t family_index(type_list<Family...>, std::string_view json) {
  json_tree tree(json);
  const json_value type = tree.root()["model_type"];
  std::size_t index = 0;
  (void)(... || (type.is(Family::config_type::model_type) || (++index, false)));
  return index;
}

}  // namespace detail

/// What is wrong with a config.json for the models in `Families`.
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
  using type = type_at<std::min(index, Families::size - 1), Families>;  // one message is enough
};

}  // namespace detail

/// The family in a table whose model_type the text of a config.json, `Source::text`, has. Does not compile when there is
/// none.
template <class Source, class Families = model_families>
using family_of = typename detail::embedded_family<Families, Source>::type;

}  // namespace qwq
