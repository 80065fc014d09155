// SPDX-License-Identifier: Apache-2.0
// What a target is.
#pragma once

#include <array>
#include <concepts>
#include <string_view>

#include "qwq/quant/placement.hpp"
#include "qwq/rewrite/rule.hpp"

namespace qwq {

/// A target: a rule set, the element type of its KV cache, and what it supports: operators, and schemes by the integer
/// types that they place. `quantizes` names the operators that its runtime quantizes, which schemes choose from. A
/// target may also have `first_rules`, which see the model's own operators before `rules` take them apart, and say that
/// it is a `includes_embedding_and_head`, that it has `single_graph`, what a host must know that keeps its cache (`options`), and which
/// operators from outside of the library it supports (`supports` of an `op_schema`).
template <class T>
concept target = requires(op kind, placement types) {
  { T::name } -> std::convertible_to<std::string_view>;
  { T::cache } -> std::convertible_to<dtype>;
  { T::rules.size() } -> std::convertible_to<std::size_t>;
  { T::quantizes(kind) } -> std::same_as<bool>;
  { T::supports(kind) } -> std::same_as<bool>;
  { T::takes(types) } -> std::same_as<bool>;
};

/// The library itself as a target: the model's own graph, run by `session`.
template <dtype Cache = dtype::f32>
struct native {
  static constexpr std::string_view name = "native";
  static constexpr dtype cache = Cache;
  static constexpr std::array<rule, 0> rules{};
  static constexpr bool quantizes(op) { return false; }
  static constexpr bool supports(op) { return true; }
  static constexpr bool supports(const op_schema&) { return true; }
  static constexpr bool takes(placement types) { return !types.quantizes(); }
};

}  // namespace qwq
