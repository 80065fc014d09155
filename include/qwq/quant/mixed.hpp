// SPDX-License-Identifier: Apache-2.0
// Defines `mixed`, mixed-precision schemes: other schemes in some layers, other formats for some weights.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "qwq/core/type_list.hpp"
#include "qwq/quant/scheme.hpp"

namespace qwq {

namespace detail {

template <class Scheme>
struct weight_formats_of {
  using type = type_list<>;
};
template <class Scheme>
requires requires { typename Scheme::weight_formats; }
struct weight_formats_of<Scheme> {
  using type = typename Scheme::weight_formats;
};
template <class Scheme>
requires(
    !requires { typename Scheme::weight_formats; } &&
    requires { typename Scheme::weight_format; }) struct weight_formats_of<Scheme> {
  using type = type_list<typename Scheme::weight_format>;
};

/// Per-layer schemes. By default one scheme applies to every layer.
template <class Scheme>
struct layer_schemes_of {
  using type = type_list<Scheme>;
  static constexpr std::size_t index(std::int64_t, std::int64_t) { return 0; }
};
template <class Scheme>
requires requires { typename Scheme::layer_schemes; }
struct layer_schemes_of<Scheme> {
  using type = typename Scheme::layer_schemes;
  static constexpr std::size_t index(std::int64_t layer, std::int64_t layers) {
    return Scheme::layer_scheme(layer, layers);
  }
};

}  // namespace detail

/// Format types of a scheme's weights, as a `type_list`.
template <class Scheme>
using weight_formats = typename detail::weight_formats_of<Scheme>::type;
/// Distinct schemes of a model's layers, as a `type_list`.
template <class Scheme>
using layer_schemes = typename detail::layer_schemes_of<Scheme>::type;
/// Index in `layer_schemes` of the scheme of layer `i` of `layers`.
template <class Scheme>
constexpr std::size_t layer_scheme_index(std::int64_t i, std::int64_t layers) {
  return detail::layer_schemes_of<Scheme>::index(i, layers);
}
/// Format types of the weights of all layers.
template <class Scheme>
using all_weight_formats = detail::flat_map<weight_formats, layer_schemes<Scheme>>;
/// True if a scheme quantizes activations in at least one layer.
template <class Scheme>
constexpr bool quantizes_activations() {
  return []<class... S>(type_list<S...>) { return (S::spec.quantizes_activations() || ...); }(layer_schemes<Scheme>{});
}
/// True if a scheme quantizes anything in at least one layer.
template <class Scheme>
constexpr bool quantizes() {
  return []<class... S>(type_list<S...>) { return (S::spec.quantizes() || ...); }(layer_schemes<Scheme>{});
}

/// Calls `f` with the weight format type of `Scheme` whose value is `format`, as a `std::type_identity`. Does nothing
/// if there is none.
template <class Scheme, class F>
void with_weight_format(const number_format& format, F&& f) {
  [&]<class... Format>(type_list<Format...>) {
    static_cast<void>(((Format::value == format && (f(std::type_identity<Format>{}), true)) || ...));
  }(weight_formats<Scheme>{});
}

/// Exception of `mixed`: `Scheme` applies to the layers with these indices; negative indices count from the end (-1 is
/// the last layer).
template <quantization_scheme Scheme, std::int64_t... Layers>
struct in_layers {};

/// Exception of `mixed`: weights whose names end in one of `Names`, such as "mlp.down_proj.weight", have the weight
/// format of `Scheme` (`f32`: they stay in float). Activations keep the format of the base scheme.
template <quantization_scheme Scheme, fixed_string... Names>
struct in_tensors {
  static_assert(Scheme::spec.overrides == nullptr && weight_formats<Scheme>::size <= 1,
                "qwq: in_tensors<Scheme, Names...> takes a scheme with one type of weights");
};

namespace detail {

/// Schemes, formats and overrides that an exception adds to a `mixed`.
template <class Exception>
struct exception_to_scheme;

template <class Scheme, std::int64_t... Layers>
struct exception_to_scheme<in_layers<Scheme, Layers...>> {
  using scheme = Scheme;
  using schemes = type_list<Scheme>;
  using formats = type_list<>;
  static constexpr void add(weight_overrides&) {}
  static constexpr void find(std::int64_t layer, std::int64_t layers, std::size_t& index, std::size_t& next) {
    if (((Layers == layer || Layers + layers == layer) || ...)) index = next;
    ++next;
  }
  static constexpr bool is_inside(std::int64_t layers) { return ((-layers <= Layers && Layers < layers) && ...); }
};

template <class Scheme, fixed_string... Names>
struct exception_to_scheme<in_tensors<Scheme, Names...>> {
  using scheme = Scheme;
  using schemes = type_list<>;
  using formats = weight_formats<Scheme>;
  static constexpr void add(weight_overrides& to) {
    (to.push_back({fixed_string<47>{Names.view()}, Scheme::spec.weight}), ...);
  }
  static constexpr void find(std::int64_t, std::int64_t, std::size_t&, std::size_t&) {}
  static constexpr bool is_inside(std::int64_t) { return true; }
};

/// True if formats of equal value are the same type.
template <class... Format>
constexpr bool have_one_convention(type_list<Format...>) {
  const auto same_as_others = []<class A>(std::type_identity<A>) {
    return ((A::value != Format::value || std::is_same_v<A, Format>)&&...);
  };
  return (same_as_others(std::type_identity<Format>{}) && ...);
}

}  // namespace detail

/// `Base` with exceptions, `in_tensors` and `in_layers`. If several `in_layers` select a layer, the last wins; if
/// several `in_tensors` match a tensor, the first wins. A layer selected by an `in_layers` has only that scheme, which
/// may itself be a `mixed`.
template <quantization_scheme Base, class... Exceptions>
struct mixed : Base {
  /// Weights with another format than in the base scheme.
  static constexpr weight_overrides exceptions = [] {
    weight_overrides all;
    (detail::exception_to_scheme<Exceptions>::add(all), ...);
    return all;
  }();
  /// The spec of the base scheme, with the overrides.
  static constexpr quant_spec spec{Base::spec.activation, Base::spec.weight, Base::spec.scope,
                                   exceptions.empty() ? nullptr : &exceptions, Base::spec.excluded};

  /// Format types of all weights, except those in `in_layers`.
  using weight_formats =
      detail::join<qwq::weight_formats<Base>, typename detail::exception_to_scheme<Exceptions>::formats...>;
  /// This scheme and those of `in_layers`.
  using layer_schemes = detail::join<type_list<mixed>, typename detail::exception_to_scheme<Exceptions>::schemes...>;
  static_assert(detail::have_one_convention(
                    detail::join<weight_formats,
                                 qwq::weight_formats<typename detail::exception_to_scheme<Exceptions>::scheme>...>{}),
                "qwq: mixed<Base, Exceptions...> takes one convention for each type of weights");

  /// Index in `layer_schemes` of the scheme of layer `layer` of `layers`.
  static constexpr std::size_t layer_scheme(std::int64_t layer, std::int64_t layers) {
    std::size_t index = 0, next = 1;
    (detail::exception_to_scheme<Exceptions>::find(layer, layers, index, next), ...);
    return index;
  }
  /// True if a model with `layers` layers has all selected layers.
  static constexpr bool fits(std::int64_t layers) {
    return (detail::exception_to_scheme<Exceptions>::is_inside(layers) && ...);
  }
};

}  // namespace qwq
