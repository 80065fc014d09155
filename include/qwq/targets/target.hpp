// SPDX-License-Identifier: Apache-2.0
// Defines `target`, the concept of compile targets, and `native`, the library itself as a target.
#pragma once

#include <array>
#include <concepts>
#include <cstdint>
#include <string_view>

#include "qwq/quant/quant_spec.hpp"
#include "qwq/rewrite/rule.hpp"

namespace qwq {

/// A target: a rule set, the element type of its KV cache, and the operators and quantization schemes that it supports.
/// `quantizes` selects the operators that its runtime quantizes; schemes choose from them. Optional members:
/// - `first_rules`: rules that run before `rules`, on the model's own operators.
/// - `includes_embedding_and_head`: true if the embedding and the head are compiled for the target, too.
/// - `single_graph`: true if one graph is used for both prefill and decode.
/// - `options`: parameters for the host, if the host keeps the cache.
/// - `supports(const op_schema&)` and `quantizes(const op_schema&)`: the same for operators outside the library.
/// - `fuses(std::string_view)`: true if sessions apply the fusion of this name.
template <class T>
concept target = requires(op kind, const quant_spec& spec) {
  { T::name } -> std::convertible_to<std::string_view>;
  { T::cache } -> std::convertible_to<dtype>;
  { T::rules.size() } -> std::convertible_to<std::size_t>;
  { T::quantizes(kind) } -> std::same_as<bool>;
  { T::supports(kind) } -> std::same_as<bool>;
  { T::accepts(spec) } -> std::same_as<bool>;
};

/// A target whose graphs leave the cache to the host: the prefill graph processes the first `options.prompt` tokens of
/// a text, the decode graph all others one by one, and a text has at most `options.length` tokens.
template <class Target>
concept leaves_cache_to_host = requires {
  { Target::options.prompt } -> std::convertible_to<std::int64_t>;
  { Target::options.length } -> std::convertible_to<std::int64_t>;
  { Target::options.mask_fill } -> std::convertible_to<float>;
};

/// The library itself as a target: the model's own graph, which `session` executes.
template <dtype Cache = dtype::f32>
struct native {
  /// Name in files, options and messages.
  static constexpr std::string_view name = "native";
  /// Element type of the KV cache.
  static constexpr dtype cache = Cache;
  /// No rules: sessions run the model's own operators.
  static constexpr std::array<rule, 0> rules{};
  /// Quantizes no operator.
  static constexpr bool quantizes(op) { return false; }
  /// Supports all operators of the library.
  static constexpr bool supports(op) { return true; }
  /// Supports all operators outside the library.
  static constexpr bool supports(const op_schema&) { return true; }
  /// Accepts only schemes that quantize nothing.
  static constexpr bool accepts(const quant_spec& spec) { return !spec.quantizes(); }
};

}  // namespace qwq
