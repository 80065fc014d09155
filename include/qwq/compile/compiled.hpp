// SPDX-License-Identifier: Apache-2.0
// Defines `compiled`, a model part compiled for a target and a scheme into two graphs, for emitters and for sessions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

#include "qwq/compile/pipeline.hpp"
#include "qwq/targets/all_targets.hpp"

namespace qwq {

namespace detail {

/// Copies a graph into the smallest capacity that holds it.
template <std::size_t N, std::size_t Capacity>
constexpr graph<N> fit(const graph<Capacity>& g) {
  graph<N> out;
  for (const node& n : g.nodes) out.nodes.push_back(n);
  out.outputs = g.outputs;
  out.error = g.error;
  return out;
}

/// True if `Target` supports the operator of `n`. Custom operators are unsupported unless the target has an overload of
/// `supports` for their `op_schema`.
template <class Target>
constexpr bool supports(const node& n) {
  if (n.kind != op::custom) return Target::supports(n.kind);
  if constexpr (requires { Target::supports(*n.custom); })
    return Target::supports(*n.custom);
  else
    return false;
}

/// Index of the first node whose operator `Target` does not support, or `size()` if all are supported.
template <class Target, std::size_t Capacity>
constexpr std::size_t find_unsupported(const graph<Capacity>& g) {
  std::size_t i = 0;
  while (i < g.size() && supports<Target>(g[i])) ++i;
  return i;
}

/// `spec` with the format of its i-th override as the weight format, if that format is quantized.
constexpr quant_spec with_override(const quant_spec& spec, std::size_t i) {
  const number_format& other = (*spec.overrides)[i].format;
  return {spec.activation, other.quantizes() ? other : spec.weight, spec.scope};
}

/// True if the formats in a scheme's spec equal its `weight_format` and `activation_format`.
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

// Declared but never defined: the compiler prints the template arguments when `sizeof` needs the definition.

/// Compile error: `Target` does not support operator `Op` at module `Where`. `SupportedBy` lists the targets that do.
template <class Target, op Op, fixed_string Where, class SupportedBy>
struct op_is_not_supported_by_target;
/// Compile error: `Target` does not accept a scheme with these formats. `SupportedBy` lists the targets that do.
template <class Target, dtype Weight, std::int32_t Block, dtype Activation, quant_scope Scope, class SupportedBy>
struct scheme_is_not_supported_by_target;

/// Fails to compile if `Target` does not accept the formats of `Spec`, including those of its overrides. Returns true.
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

/// Fails to compile if the graph `G::value` has an operator that `Target` does not support. Returns true.
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

/// Compiles `Part` for `Target` with `Scheme`. Compilation fails if a rule fails, if an edge or weight that the scheme
/// quantizes stays in float, or if the target does not support the scheme or a remaining operator. The error message
/// names the targets that do.
template <class Part, target Target, quantization_scheme Scheme>
struct compiled {
  /// Prefix of the part's tensor names in a checkpoint.
  static constexpr std::string_view prefix = Part::prefix;

 private:
  using passes = pipeline<Part, Target, Scheme>;

 public:
  /// The graph that emitters write, legalized for the target and with quantize/dequantize pairs.
  struct emitted {
    /// The graph, in a `graph` of exactly its size.
    static constexpr auto value = detail::fit<passes::quantized.value.size()>(passes::quantized.value);
  };
  /// The graph that sessions execute, canonicalized and fused.
  struct executed {
    /// The graph, in a `graph` of exactly its size.
    static constexpr auto value = detail::fit<passes::fused.size()>(passes::fused);
  };
  /// Quantization slots that both graphs refer to.
  static constexpr slot_list slots = passes::quantized.slots;
  static constexpr rewrite_log log = passes::legalized.log;  ///< Rewrites that the target's rules applied.
  /// Quantized edges and weights of the emitted graph, compared with those that the scheme requires.
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
