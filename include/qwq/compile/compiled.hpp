// SPDX-License-Identifier: Apache-2.0
// One part of a model for one target and scheme, in the two forms in which it is read: emitted and executed.
#pragma once

#include <iterator>
#include <string_view>

#include "qwq/exec/kernel_table.hpp"
#include "qwq/quant/scheme.hpp"
#include "qwq/rewrite/rewrite.hpp"
#include "qwq/rules/canonicalize_rules.hpp"
#include "qwq/targets/all_targets.hpp"
#include "qwq/targets/disable_fusions.hpp"

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

/// `Part` by the rules of `Target`, `first_rules` first.
template <class Part, class Target>
struct retargeted {
  static constexpr auto result = [] {
    if constexpr (requires { Target::first_rules; }) {
      const auto first = rewrite(Part::value, Target::first_rules);
      auto second = rewrite(first.value, Target::rules);
      for (const applied_rewrite& f : first.log.applied) second.log.applied.push_back(f);
      return second;
    } else {
      return rewrite(Part::value, Target::rules);
    }
  }();
};

/// What a scheme quantizes on a target.
template <class Target, placement Types>
struct covers {
  constexpr bool operator()(const node& n) const { return Types.covers(schema(n)) && target_quantizes(n); }

 private:
  static constexpr bool target_quantizes(const node& n) {
    if (n.kind != op::custom) return Target::quantizes(n.kind);
    if constexpr (requires { Target::quantizes(*n.custom); })
      return Target::quantizes(*n.custom);
    else
      return false;
  }
};

template <class Part, class Target, placement Types>
struct placed {
  static constexpr auto result = place_slots(retargeted<Part, Target>::result.value, Types, covers<Target, Types>{});
};

/// The fusions that sessions for `Target` apply.
template <class Target>
inline constexpr auto fusions_of = [] {
  fixed_vector<rule, std::size(rules::fuse)> on;
  for (const rule& r : rules::fuse)
    if (fuses<Target>(r.name)) on.push_back(r);
  return on;
}();

template <class Part, class Target, placement Types>
struct runnable {
  static constexpr auto result =
      rewrite(rewrite(placed<Part, Target, Types>::result.value, rules::run).value, fusions_of<Target>);
};

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

/// A placement whose weights are all of the type of its i-th exception, if that is an integer type.
constexpr placement with_other(const placement& types, std::size_t i) {
  const weight_type as = (*types.others)[i].as.type == dtype::f32 ? types.usual_type() : (*types.others)[i].as;
  return {types.activation, as.type, types.edges, as.block};
}

template <op Kind>
struct supports_op {
  template <class Target>
  static constexpr bool of() {
    return Target::supports(Kind);
  }
};
template <placement Types>
struct takes_types {
  template <class Target>
  static constexpr bool of() {
    return Target::takes(Types);
  }
};

}  // namespace detail

// Declared and never defined: the facts are their arguments, and naming one prints them.

template <class Target, op Op, fixed_string Where, class SupportedBy>
struct op_is_not_supported_by_target;
template <class Target, dtype Weight, std::int32_t Block, dtype Activation, extent Edges, class SupportedBy>
struct scheme_is_not_supported_by_target;

/// Refuses to compile when `Target` does not take the scheme's integer types, those of exceptions among them.
template <target Target, placement Types>
constexpr bool require_taken() {
  if constexpr (Types.others != nullptr) {
    [&]<std::size_t... I>(std::index_sequence<I...>) {
      (require_taken<Target, detail::with_other(Types, I)>(), ...);
    }(std::make_index_sequence<Types.others->size()>{});
  }
  if constexpr (!Target::takes(Types)) {
    using others = detail::targets_that<detail::takes_types<Types>>;
    static_assert(sizeof(scheme_is_not_supported_by_target<Target, Types.weight, Types.block, Types.activation,
                                                           Types.edges, others>) > 0);
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

/// `Part` of a model, rewritten by the rules of `Target` and quantized with the integer types `Types`. Does not compile
/// when a rule fails, an edge that the target quantizes has no slot, or the target does not support the scheme or an
/// operator that is left; the message then names the targets that do.
template <class Part, target Target, placement Types>
struct compiled {
  static constexpr std::string_view prefix = Part::prefix;

  /// What emitters write.
  struct emitted {
    static constexpr auto value = detail::fit<detail::placed<Part, Target, Types>::result.value.size()>(
        detail::placed<Part, Target, Types>::result.value);
  };
  /// What sessions run.
  struct executed {
    static constexpr auto value = detail::fit<detail::runnable<Part, Target, Types>::result.value.size()>(
        detail::runnable<Part, Target, Types>::result.value);
  };
  static constexpr auto slots = detail::placed<Part, Target, Types>::result.slots;
  static constexpr rewrite_log log = detail::retargeted<Part, Target>::result.log;
  static constexpr coverage covered = count_coverage(emitted::value, Types, detail::covers<Target, Types>{});

  static_assert(require_taken<Target, Types>());
  static_assert(require_none<emitted::value.error>());
  static_assert(require_none<executed::value.error>());
  static_assert(require_supported<emitted, Target>());
  static_assert(!Types.quantizes() || covered.covered == covered.total);
};

}  // namespace qwq
