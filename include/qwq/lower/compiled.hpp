// SPDX-License-Identifier: Apache-2.0
// One part of a model for one target and scheme, in the two forms in which it is read: emitted and executed.
#pragma once

#include <concepts>
#include <string_view>

#include "qwq/lower/steps.hpp"
#include "qwq/quant/scheme.hpp"
#include "qwq/rewrite/rewrite.hpp"
#include "qwq/rules/run.hpp"

namespace qwq {

/// A target: a rule set, what its runtime quantizes, and the element type of its KV cache.
template <class T>
concept target = requires(op kind) {
  { T::name } -> std::convertible_to<std::string_view>;
  { T::cache } -> std::convertible_to<dtype>;
  { T::rules.size() } -> std::convertible_to<std::size_t>;
  { T::quantizes(kind) } -> std::same_as<bool>;
  { T::supports(kind) } -> std::same_as<bool>;
};

/// The library itself as a target: the model's own graph, run by `session`.
template <dtype Cache = dtype::f32>
struct native {
  static constexpr std::string_view name = "native";
  static constexpr dtype cache = Cache;
  static constexpr std::array<rule, 0> rules{};
  static constexpr bool quantizes(op) { return false; }
  static constexpr bool supports(op) { return true; }
};

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

/// `Part` by the rules of `Target`. A target may have `first_rules`, which see the model's own operators before `rules`
/// take them apart.
template <class Part, class Target>
struct retargeted {
  static constexpr auto result = [] {
    if constexpr (requires { Target::first_rules; }) {
      const auto first = rewrite(Part::value, Target::first_rules);
      auto second = rewrite(first.value, Target::rules);
      for (const firing& f : first.fired.firings) second.fired.firings.push_back(f);
      return second;
    } else {
      return rewrite(Part::value, Target::rules);
    }
  }();
};

/// What a scheme quantizes on a target.
template <class Target, placement Types>
struct covers {
  constexpr bool operator()(op kind) const { return Target::quantizes(kind) && Types.covers(kind); }
};

template <class Part, class Target, placement Types>
struct placed {
  static constexpr auto result = place_slots(retargeted<Part, Target>::result.value, Types, covers<Target, Types>{});
};

template <class Part, class Target, placement Types>
struct runnable {
  static constexpr auto result = rewrite(placed<Part, Target, Types>::result.value, rules::run);
};

template <std::size_t Capacity, class Target>
constexpr problem find_unsupported(const graph<Capacity>& g, const Target&) {
  for (const node& n : g.nodes)
    if (!Target::supports(n.kind))
      return {why::op_is_not_supported_by_target, n.kind, n.name.view(), Target::name, name(n.kind)};
  return {};
}

}  // namespace detail

/// `Part` of a model, rewritten by the rules of `Target` and quantized with the integer types `Types`. Does not compile
/// when a rule fails, an edge that the target quantizes has no slot, or an operator is left that the target does not
/// support.
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
  static constexpr trace fired = detail::retargeted<Part, Target>::result.fired;
  static constexpr coverage covered = count_coverage(emitted::value, Types, detail::covers<Target, Types>{});

  static constexpr problem unsupported = detail::find_unsupported(emitted::value, Target{});
  static_assert(require_none<emitted::value.error>());
  static_assert(require_none<executed::value.error>());
  static_assert(require_none<unsupported>());
  static_assert(!Types.quantizes() || covered.covered == covered.total);
};

}  // namespace qwq
