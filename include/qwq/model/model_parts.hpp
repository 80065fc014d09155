// SPDX-License-Identifier: Apache-2.0
// Defines `model_part`, an element of the constexpr list of parts that is a model.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

#include "qwq/core/type_list.hpp"
#include "qwq/graph/graph.hpp"

namespace qwq {

/// Stage of a part in a run. Stages are executed in this order.
enum class stage : std::uint8_t {
  embedding,  ///< Token ids to hidden states.
  layers,     ///< Decoder layers, which own the states of a text.
  norm,       ///< The final norm.
  head,       ///< Hidden states to logits.
};

/// One part of a model: a graph that is executed once per run, in list order. A named output of a part is the input of
/// that name of later parts.
struct model_part {
  stage of = stage::layers;  ///< Stage of the part.
  std::size_t type = 0;      ///< Index in the model's `part_types`.
  std::int64_t layer = -1;   ///< Index of the layer, from 0; -1 for other stages.
};

/// A list of one part that is not a layer.
constexpr std::array<model_part, 1> single_part(stage of, std::size_t type) { return {model_part{of, type, -1}}; }

/// A list of `Count` layers; `type_of(i)` is the index in `part_types` of layer i.
template <std::int64_t Count, class TypeOf>
constexpr auto layer_parts(TypeOf type_of) {
  std::array<model_part, static_cast<std::size_t>(Count)> all{};
  for (std::int64_t i = 0; i < Count; ++i)
    all[static_cast<std::size_t>(i)] = {stage::layers, static_cast<std::size_t>(type_of(i)), i};
  return all;
}

/// Concatenates lists of parts.
template <std::size_t... N>
constexpr auto join_parts(const std::array<model_part, N>&... lists) {
  std::array<model_part, (N + ...)> all{};
  std::size_t n = 0;
  const auto add = [&](const auto& list) {
    for (const model_part& p : list) all[n++] = p;
  };
  (add(lists), ...);
  return all;
}

/// Number of decoder layers of `Model`.
template <class Model>
constexpr std::int64_t layer_count() {
  std::int64_t n = 0;
  for (const model_part& p : Model::parts) n += p.of == stage::layers ? 1 : 0;
  return n;
}

/// The part types of `Model`, for runs of at most `Rows` tokens and a KV cache with elements of type `Cache`.
template <class Model, std::int64_t Rows, dtype Cache>
using part_types = typename Model::template part_types<Rows, Cache>;

namespace detail {

/// Number of weight elements per part type. Leaves with the same full name as a leaf of an earlier part type are not
/// counted (a tied head uses the embedding table).
template <class Types>
constexpr auto own_weight_elements() {
  std::array<std::int64_t, Types::size> own{};
  struct seen_leaf {
    std::string_view prefix, name;
  };
  fixed_vector<seen_leaf, 256> seen;
  std::size_t type = 0;
  for_each_type(Types{}, [&]<class Part>(std::type_identity<Part>) {
    for (const node& n : Part::value.nodes) {
      if (n.kind != op::weight) continue;
      bool known = false;
      for (const seen_leaf& s : seen) known = known || (s.prefix == Part::prefix && s.name == n.name.view());
      if (known) continue;
      own[type] += n.dims().elements();
      seen.push_back({Part::prefix, n.name.view()});
    }
    ++type;
  });
  return own;
}

}  // namespace detail

/// Number of parameters of `Model`, computed from its graphs; a leaf that several parts use counts once.
template <class Model>
constexpr std::int64_t parameter_count() {
  constexpr auto own = detail::own_weight_elements<part_types<Model, 1, dtype::f32>>();
  std::int64_t n = 0;
  for (const model_part& p : Model::parts) n += own[p.type];
  return n;
}

}  // namespace qwq
