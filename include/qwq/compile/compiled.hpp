// SPDX-License-Identifier: Apache-2.0
// Defines `compiled`, one part of a model for one target and scheme: the graph for emitters and the graph for sessions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

#include "qwq/compile/pipeline.hpp"
#include "qwq/targets/all_targets.hpp"

namespace qwq {

namespace detail {

/// The same graph in no more room than it needs.
template <std::size_t N, std::size_t Capacity>
constexpr graph<N> fit(const graph<Capacity>& g) {
  graph<N> out;
  for (const node& n : g.nodes) out.nodes.push_back(n);
  out.outputs = g.outputs;
  out.error = g.error;
  return out;
}

/// An operator from outside of the library is supported by targets that say so of its row.
template <class Target>
constexpr bool supports(const node& n) {
  if (n.kind != op::custom) return Target::supports(n.kind);
  if constexpr (requires { Target::supports(*n.custom); })
    return Target::supports(*n.custom);
  else
    return false;
}

/// Index of the first operator that `Target` does not support; `size()` when there is none.
template <class Target, std::size_t Capacity>
constexpr std::size_t find_unsupported(const graph<Capacity>& g) {
  std::size_t i = 0;
  while (i < g.size() && supports<Target>(g[i])) ++i;
  return i;
}

/// A spec whose weights are all in the format of its i-th override, if that is quantized.
constexpr quant_spec with_override(const quant_spec& spec, std::size_t i) {
  const number_format& other = (*spec.overrides)[i].format;
  return {spec.activation, other.quantizes() ? other : spec.weight, spec.scope};
}

/// Whether a scheme's spec has the values of its formats.
template <class Scheme>
constexpr bool has_own_formats() {
  if constexpr (requires { typename Scheme::weight_format; } && Scheme::spec.weight.quantizes())
    if (Scheme::spec.weight != Scheme::weight_format::value) return false;
  if constexpr (Scheme::spec.quantizes_activations())
    return Scheme::spec.activation == Scheme::activation_format::value;
  else
    return true;
}

template <op Kind>
struct supports_op {
  template <class Target>
  static constexpr bool of() {
    return Target::supports(Kind);
  }
};
template <quant_spec Spec>
struct accepts_spec {
  template <class Target>
  static constexpr bool of() {
    return Target::accepts(Spec);
  }
};

}  // namespace detail

// Declared and never defined: the facts are their arguments, and naming one prints them.

template <class Target, op Op, fixed_string Where, class SupportedBy>
struct op_is_not_supported_by_target;
template <class Target, dtype Weight, std::int32_t Block, dtype Activation, quant_scope Scope, class SupportedBy>
struct scheme_is_not_supported_by_target;

/// Refuses to compile when `Target` does not accept the scheme's formats, those of overrides among them.
template <target Target, quant_spec Spec>
constexpr bool require_accepted() {
  if constexpr (Spec.overrides != nullptr) {
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      (require_accepted<Target, detail::with_override(Spec, I)>(), ...);
    }
    (std::make_index_sequence<Spec.overrides->size()>{});
  }
  if constexpr (!Target::accepts(Spec)) {
    using others = detail::targets_that<detail::accepts_spec<Spec>>;
    static_assert(sizeof(scheme_is_not_supported_by_target<Target, Spec.weight.element, Spec.weight.block,
                                                           Spec.activation.element, Spec.scope, others>) > 0);
  }
  return true;
}

/// Refuses to compile when the graph `G::value` has an operator that `Target` does not support.
template <class G, target Target>
constexpr bool require_supported() {
  constexpr std::size_t id = detail::find_unsupported<Target>(G::value);
  if constexpr (id < G::value.size()) {
    constexpr op kind = G::value[id].kind;
    constexpr fixed_string<47> place = where(G::value[id]);
    constexpr fixed_string<place.size()> at{place.view()};
    using others = detail::targets_that<detail::supports_op<kind>>;
    static_assert(sizeof(op_is_not_supported_by_target<Target, kind, at, others>) > 0);
  }
  return true;
}

/// `Part` of a model for a target and a scheme. Does not compile when a rule fails, an edge or weight that the scheme
/// quantizes is left in float, or the target does not support the scheme or an operator that is left; the message then
/// names the targets that do.
template <class Part, target Target, quantization_scheme Scheme>
struct compiled {
  static constexpr std::string_view prefix = Part::prefix;

 private:
  static constexpr auto graphs = compile_part<Part, Target, Scheme>();

 public:
  /// What emitters write.
  struct emitted {
    static constexpr auto value = detail::fit<graphs.emitted.size()>(graphs.emitted);
  };
  /// What sessions run.
  struct executed {
    static constexpr auto value = detail::fit<graphs.executed.size()>(graphs.executed);
  };
  static constexpr slot_list slots = graphs.slots;
  static constexpr rewrite_log log = graphs.log;  ///< What the target's rules did.
  static constexpr coverage covered = count_coverage(emitted::value, Scheme::spec, covers<Target, Scheme>{});

  static_assert(detail::has_own_formats<Scheme>(),
                "qwq: a scheme's spec has weight_format::value and activation_format::value");
  static_assert(require_accepted<Target, Scheme::spec>());
  static_assert(require_none<emitted::value.error>());
  static_assert(require_none<executed::value.error>());
  static_assert(require_supported<emitted, Target>());
  static_assert(!Scheme::spec.quantizes() || covered.covered == covered.total);
};

}  // namespace qwq
