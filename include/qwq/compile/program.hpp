// SPDX-License-Identifier: Apache-2.0
// Defines `program`, a model compiled for one target and scheme: its parts, and the values that they share.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "qwq/compile/compiled.hpp"
#include "qwq/core/type_list.hpp"
#include "qwq/model/model_parts.hpp"
#include "qwq/model/weight_layout.hpp"
#include "qwq/quant/mixed.hpp"

namespace qwq {

/// True if `Target` also rewrites and quantizes the embedding and the head. Otherwise both stay in float and keep the
/// model's own operators.
template <class Target>
inline constexpr bool has_embedding_and_head = requires {
  requires Target::includes_embedding_and_head;
};
/// True if `Target` uses one graph for both prefill and decode. Its activations then have one set of quantization
/// parameters.
template <class Target>
inline constexpr bool is_single_graph = requires {
  requires Target::single_graph;
};

/// Tokens per run of a prefill graph, unless the target specifies another number.
inline constexpr std::int64_t prefill_rows = 64;
/// Tokens per run of the prefill graph of `Target`: `options.prompt` if the host keeps the cache, else `prefill_rows`.
template <class Target>
constexpr std::int64_t prompt_rows() {
  if constexpr (leaves_cache_to_host<Target>)
    return Target::options.prompt;
  else
    return prefill_rows;
}

/// Maximum number of tokens in a text: `max_position_embeddings`, or the length of the target's cache if that is
/// smaller.
template <class Model, class Target>
constexpr std::int64_t longest_text() {
  if constexpr (leaves_cache_to_host<Target>)
    return std::min<std::int64_t>(Model::config.max_position_embeddings, Target::options.length);
  else
    return Model::config.max_position_embeddings;
}

// Declared but never defined: the compiler prints the template arguments when `sizeof` needs the definition.

/// Compile error: a scheme has an override for `Name`, but no weight name of the model ends in it.
template <fixed_string Name>
struct no_weight_of_the_model_ends_in;
/// Compile error: a scheme selects a layer that a model of `Layers` layers does not have.
template <class Scheme, std::int64_t Layers>
struct scheme_names_a_layer_that_the_model_has_not;

/// Compile error: a part has an input `Name` that no part produces.
template <fixed_string Name>
struct no_part_makes_the_input;
/// Compile error: a model declares how leaf `Pattern` is stored, but has no leaf of that name.
template <fixed_string Pattern>
struct no_leaf_is_named_so;

namespace detail {

/// True if `fits(name)` holds for at least one weight leaf of `Model`.
template <class Model, class Fits>
constexpr bool has_weight(Fits fits) {
  bool found = false;
  for_each_type(part_types<Model, 1, dtype::f32>{}, [&]<class Part>(std::type_identity<Part>) {
    for (const node& n : Part::value.nodes) found = found || (n.kind == op::weight && fits(n.name.view()));
  });
  return found;
}

template <class Model, fixed_string Name>
constexpr bool require_weight() {
  if constexpr (!has_weight<Model>([](std::string_view name) { return name.ends_with(Name.view()); })) {
    constexpr fixed_string<Name.size()> name{Name.view()};
    static_assert(sizeof(no_weight_of_the_model_ends_in<name>) > 0);
  }
  return true;
}

/// Fails to compile if a scheme has an exception for a tensor or layer that the model does not have.
template <class Model, class Scheme>
constexpr bool require_exceptions() {
  if constexpr (requires { Scheme::exceptions; }) {
    [&]<std::size_t... I>(std::index_sequence<I...>) { (require_weight<Model, Scheme::exceptions[I].name>(), ...); }
    (std::make_index_sequence<Scheme::exceptions.size()>{});
    constexpr std::int64_t layers = layer_count<Model>();
    if constexpr (!Scheme::fits(layers))
      static_assert(sizeof(scheme_names_a_layer_that_the_model_has_not<Scheme, layers>) > 0);
  }
  return true;
}

/// Fails to compile if a model declares how a leaf is stored, but has no such leaf.
template <class Model>
constexpr bool require_stored_leaves() {
  if constexpr (requires { Model::stored; }) {
    constexpr std::size_t unknown = [] {
      std::size_t i = 0;
      const auto is_stored = [&](std::string_view name) { return names_leaf(Model::stored[i].leaf, name); };
      while (i < std::size(Model::stored) && has_weight<Model>(is_stored)) ++i;
      return i;
    }();
    if constexpr (unknown < std::size(Model::stored)) {
      constexpr fixed_string<Model::stored[unknown].leaf.size()> pattern{Model::stored[unknown].leaf};
      static_assert(sizeof(no_leaf_is_named_so<pattern>) > 0);
    }
  }
  return true;
}

/// Identifies parts with equal compiled graphs: they have the same stage, type and scheme.
struct part_kind {
  /// Stage of the parts.
  stage of = stage::layers;
  std::size_t type = 0;    ///< Index in the model's `part_types`.
  std::size_t scheme = 0;  ///< Index in the scheme's `layer_schemes`.
  friend constexpr bool operator==(const part_kind&, const part_kind&) = default;
};

/// The distinct kinds of parts in `Model` with `Scheme`, and the kind of each part.
template <class Model, class Scheme>
struct part_kinds {
  static constexpr std::size_t part_count = Model::parts.size();
  /// Distinct kinds, in order of first occurrence.
  fixed_vector<part_kind, 64> kinds;
  /// Index in `kinds`, for each part.
  std::array<std::size_t, part_count> of_part{};

  constexpr part_kinds() {
    for (std::size_t i = 0; i < part_count; ++i) {
      const model_part& p = Model::parts[i];
      const bool layer = p.of == stage::layers;
      const part_kind k{p.of, p.type, layer ? layer_scheme_index<Scheme>(p.layer, layer_count<Model>()) : 0};
      std::size_t known = 0;
      while (known < kinds.size() && !(kinds[known] == k)) ++known;
      if (known == kinds.size()) kinds.push_back(k);
      of_part[i] = known;
    }
  }
};
template <class Model, class Scheme>
inline constexpr part_kinds<Model, Scheme> kinds_of{};

}  // namespace detail

/// The parts of `Model` compiled for one target and scheme, for runs of at most `Rows` tokens.
template <class Model, target Target, quantization_scheme Scheme, std::int64_t Rows>
struct program {
  /// The model.
  using model = Model;
  static constexpr auto& parts = Model::parts;  ///< In execution order.
  /// Number of decoder layers.
  static constexpr std::int64_t layer_count = qwq::layer_count<Model>();
  /// Target of the embedding and the head.
  using outer = std::conditional_t<has_embedding_and_head<Target>, Target, native<>>;
  /// Scheme of the embedding and the head.
  using outer_scheme = std::conditional_t<has_embedding_and_head<Target>, Scheme, f32>;

 private:
  static constexpr auto& all = detail::kinds_of<Model, Scheme>;
  using types = part_types<Model, Rows, Target::cache>;
  static constexpr bool is_outer(stage s) { return s == stage::embedding || s == stage::head; }
  template <std::size_t I>
  using part_scheme = detail::type_at<all.kinds[I].scheme, layer_schemes<Scheme>>;

  template <std::size_t... I>
  static auto list_kinds(std::index_sequence<I...>);

 public:
  /// A kind of part, compiled once for all parts of the same type, stage and scheme.
  template <std::size_t I>
  struct kind : compiled<detail::type_at<all.kinds[I].type, types>,
                         std::conditional_t<is_outer(all.kinds[I].of), outer, Target>,
                         std::conditional_t<is_outer(all.kinds[I].of), outer_scheme, part_scheme<I>>> {
    static constexpr std::size_t index = I;       ///< Index in `kinds`.
    static constexpr stage of = all.kinds[I].of;  ///< Stage of the parts.
    using scheme = part_scheme<I>;                ///< Scheme of the layers; for other stages, the first layer scheme.
  };
  /// All kinds of the model, as a `type_list`.
  using kinds = decltype(list_kinds(std::make_index_sequence<all.kinds.size()>{}));
  /// Index in `kinds` of part `i`.
  static constexpr std::size_t kind_of(std::size_t i) { return all.of_part[i]; }
  /// Calls `f` with the kind of part `i`, as a `std::type_identity`.
  template <class F>
  static constexpr decltype(auto) with_part(std::size_t i, F&& f) {
    return detail::with_type(kinds{}, kind_of(i), f);
  }
  /// Calls `f(kind, i)` for every part `i`, in execution order. `kind` is a `std::type_identity`.
  template <class F>
  static constexpr void for_each_part(F&& f) {
    for (std::size_t i = 0; i < parts.size(); ++i)
      with_part(i, [&]<class Part>(std::type_identity<Part> part) { f(part, i); });
  }
  /// Index of the first part of a stage.
  static constexpr std::size_t first_part(stage of) {
    std::size_t i = 0;
    while (parts[i].of != of) ++i;
    return i;
  }
  /// The kind of the first part of a stage.
  template <stage Of>
  using first = kind<kind_of(first_part(Of))>;

  static_assert(detail::require_exceptions<Model, Scheme>());
  static_assert(detail::require_stored_leaves<Model>());
};

template <class Model, target Target, quantization_scheme Scheme, std::int64_t Rows>
template <std::size_t... I>
auto program<Model, Target, Scheme, Rows>::list_kinds(std::index_sequence<I...>) {
  return type_list<kind<I>...>{};
}

/// Calibrated quantization parameters of a program's activation slots, indexed by part and then by slot.
using activation_params = std::vector<std::vector<kernel::affine>>;

/// Result of calibration.
struct calibration_result {
  // Parameters of the prefill graphs and of the decode graphs.
  activation_params prefill,  ///< Parameters of the prefill program.
      decode;                 ///< Parameters of the decode program.
};

namespace detail {

/// A named value that one part outputs and another part takes as an input.
struct value_entry {
  std::string_view name;      ///< Name of the value.
  std::size_t bytes = 0;      ///< Size in bytes, with named extents at their bounds.
  std::size_t row_bytes = 0;  ///< Size in bytes for one token.
};

/// True if at least one part of a program has an input named `name`.
template <class Program>
constexpr bool is_read(std::string_view name) {
  bool read = false;
  for_each_type(typename Program::kinds{}, [&]<class Part>(std::type_identity<Part>) {
    for (const node& n : Part::executed::value.nodes) read = read || (n.kind == op::input && n.name.view() == name);
  });
  return read;
}

/// The values that parts of a program pass to each other.
template <class Program>
inline constexpr auto handed_values = [] {
  fixed_vector<value_entry, 16> all;
  for_each_type(typename Program::kinds{}, [&]<class Part>(std::type_identity<Part>) {
    constexpr auto& g = Part::executed::value;
    for (const graph_output& o : g.outputs) {
      if (is_state_output({g.nodes.begin(), g.size()}, o) || !is_read<Program>(o.name.view())) continue;
      const node& made = g[o.id];
      const std::size_t bytes = byte_size(made.type.type, static_cast<std::size_t>(made.dims().elements()));
      const std::size_t rows = made.dims().size() > 1 ? static_cast<std::size_t>(made.dims()[1].extent) : 1;
      std::size_t i = 0;
      while (i < all.size() && all[i].name != o.name.view()) ++i;
      if (i == all.size()) all.push_back({o.name.view()});
      all[i].bytes = std::max(all[i].bytes, bytes);
      all[i].row_bytes = std::max(all[i].row_bytes, bytes / rows);
    }
  });
  return all;
}();

/// Index of `name` in `handed_values`, or their number if there is no such value.
template <class Program>
constexpr std::size_t value_index(std::string_view name) {
  constexpr auto& all = handed_values<Program>;
  std::size_t i = 0;
  while (i < all.size() && all[i].name != name) ++i;
  return i;
}

/// A state of the parts of one kind.
struct state_entry {
  fixed_string<47> name{};
  tensor_type type{};
  state_update update = state_update::append;
};

/// The states of a kind of part, in the order of its graph.
template <class Part>
inline constexpr auto states_of = [] {
  fixed_vector<state_entry, 16> all;
  for (const node& n : Part::executed::value.nodes)
    if (n.kind == op::state) all.push_back({n.name, n.type, update_of(n)});
  return all;
}();

/// Index in `states_of<Part>` of the state named `name`, or their number if there is none.
template <class Part>
constexpr std::size_t state_index(std::string_view name) {
  std::size_t i = 0;
  while (i < states_of<Part>.size() && states_of<Part>[i].name.view() != name) ++i;
  return i;
}

/// True if a program has states with this kind of update.
template <class Program>
constexpr bool has_states(state_update update) {
  bool found = false;
  for_each_type(typename Program::kinds{}, [&]<class Part>(std::type_identity<Part>) {
    for (const state_entry& s : states_of<Part>) found = found || s.update == update;
  });
  return found;
}

/// The first `rope_cos` leaf in a model's graphs, which defines its RoPE angles; a default node if there is none.
template <class Model>
inline constexpr node rotation_table = [] {
  node found;
  for_each_type(part_types<Model, 1, dtype::f32>{}, [&]<class Part>(std::type_identity<Part>) {
    for (const node& n : Part::value.nodes)
      if (n.kind == op::rope_cos && found.kind != op::rope_cos) found = n;
  });
  return found;
}();

}  // namespace detail

}  // namespace qwq
