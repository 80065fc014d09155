// SPDX-License-Identifier: Apache-2.0
// A model for one target and scheme: its parts, and what there is one of for each part.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "qwq/core/type_list.hpp"
#include "qwq/lower/compiled.hpp"
#include "qwq/quant/mixed.hpp"
#include "qwq/runtime/static_cache.hpp"

namespace qwq {

/// Targets that rewrite and quantize the whole model say so; the others leave embedding and head in float and as the
/// model has them.
template <class Target> inline constexpr bool is_whole_model = requires { requires Target::whole_model; };
/// Targets with one graph for prompts and single tokens. Their activations have one set of parameters.
template <class Target> inline constexpr bool is_one_graph = requires { requires Target::one_graph; };

/// Tokens that a prefill graph takes at a time, unless its target says another number.
inline constexpr std::int64_t prefill_rows = 64;
template <class Target>
constexpr std::int64_t prompt_rows() {
  if constexpr (leaves_cache_to_host<Target>)
    return Target::options.prompt;
  else
    return prefill_rows;
}

/// Tokens that a text can have at most: the model's positions, or as many as the target's cache is made for.
template <class Model, class Target>
constexpr std::int64_t longest_text() {
  if constexpr (leaves_cache_to_host<Target>)
    return std::min<std::int64_t>(Model::config.max_position_embeddings, Target::options.length);
  else
    return Model::config.max_position_embeddings;
}

// Declared and never defined: the facts are their arguments, and naming one prints them.

template <text Name>
struct no_weight_of_the_model_ends_in;
template <class Scheme, std::int64_t Layers>
struct scheme_names_a_layer_that_the_model_has_not;

namespace detail {

template <class Model>
constexpr bool has_weight(std::string_view end) {
  const auto in = [&](const auto& g) {
    for (const node& n : g.nodes)
      if (n.kind == op::weight && n.name.view().ends_with(end)) return true;
    return false;
  };
  return in(Model::template embedding<1>::value) || in(Model::template decoder_layer<1, dtype::f32>::value) ||
         in(Model::template lm_head<1>::value);
}

template <class Model, text Name>
constexpr bool require_weight() {
  if constexpr (!has_weight<Model>(Name.view())) {
    constexpr text<Name.size()> name{Name.view()};
    static_assert(sizeof(no_weight_of_the_model_ends_in<name>) > 0);
  }
  return true;
}

/// Refuses to compile when a scheme has an exception for a tensor or layer that the model has not.
template <class Model, class Scheme>
constexpr bool require_exceptions() {
  if constexpr (requires { Scheme::exceptions; }) {
    [&]<std::size_t... I>(std::index_sequence<I...>) { (require_weight<Model, Scheme::exceptions[I].name>(), ...); }(
        std::make_index_sequence<Scheme::exceptions.size()>{});
    constexpr std::int64_t layers = Model::config.num_hidden_layers;
    if constexpr (!Scheme::fits(layers))
      static_assert(sizeof(scheme_names_a_layer_that_the_model_has_not<Scheme, layers>) > 0);
  }
  return true;
}

}  // namespace detail

/// The parts of `Model` for one target and scheme, for runs of at most `Rows` tokens.
template <class Model, target Target, quantization_scheme Scheme, std::int64_t Rows>
struct program {
  using scheme = Scheme;
  static constexpr std::int64_t layer_count = Model::config.num_hidden_layers;
  /// What embedding and head are compiled for.
  using outer = std::conditional_t<is_whole_model<Target>, Target, native<>>;
  /// How they are quantized.
  static constexpr placement outer_types = is_whole_model<Target> ? Scheme::types : placement{};

  using embedding = compiled<typename Model::template embedding<Rows>, outer, outer_types>;
  /// A layer in one of the schemes that `Scheme` gives to layers.
  template <class LayerScheme>
  struct layer_in : compiled<typename Model::template decoder_layer<Rows, Target::cache>, Target, LayerScheme::types> {
    using scheme = LayerScheme;
  };
  using layer = layer_in<Scheme>;  ///< one without exceptions
  /// The layer, compiled once for each way in which its weights are quantized.
  using layer_kinds = detail::map<layer_in, layer_schemes<Scheme>>;
  /// Which of them layer i is.
  static constexpr std::size_t layer_kind(std::int64_t i) { return layer_scheme_index<Scheme>(i, layer_count); }
  /// Calls f with the kind of layer `i`, as a `std::type_identity`.
  template <class F>
  static constexpr decltype(auto) with_layer(std::int64_t i, F&& f) {
    return detail::with_type(layer_kinds{}, layer_kind(i), f);
  }
  using norm = compiled<typename Model::template final_norm<Rows>, Target, Scheme::types>;
  using head = compiled<typename Model::template lm_head<Rows>, outer, outer_types>;

  static_assert(detail::require_exceptions<Model, Scheme>());
};

/// What the parts of a model each have one of.
template <class T>
struct model_parts {
  T embedding{};
  std::vector<T> layers{};
  T norm{}, head{};
};

/// Where in a model a part is.
struct part_place {
  /// Kinds of parts.
  enum part : std::uint8_t { embedding, layer, norm, head } which = embedding;  ///< The part.
  std::size_t index = 0;  // of the layer

  /// What the part has among those of all.
  template <class Parts>
  auto& of(Parts& all) const {
    return which == embedding ? all.embedding
           : which == layer   ? all.layers.at(index)
           : which == norm    ? all.norm
                              : all.head;
  }
};

/// Parameters of the activation slots of one program, for each part by slot: what calibration found.
using activation_params = model_parts<std::vector<kernel::affine>>;

/// The result of calibration: parameters of the prefill and of the decode graph.
struct calibration_result {
  activation_params prefill, decode;
};

}  // namespace qwq
