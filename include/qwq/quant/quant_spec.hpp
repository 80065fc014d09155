// SPDX-License-Identifier: Apache-2.0
// Defines `quant_spec`, the tensors of a graph that a scheme quantizes, and their formats.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string_view>

#include "qwq/graph/graph.hpp"
#include "qwq/quant/number_format.hpp"

namespace qwq {

/// Which edges a scheme quantizes, among those that the target can quantize.
enum class quant_scope : std::uint8_t {
  matmuls,  ///< Operands and results of GEMMs; norms, gates and the residual stream stay in float.
  all,      ///< Every edge, for integer-only hardware.
};

/// A set of roles, one bit each.
class role_set {
 public:
  /// The empty set.
  constexpr role_set() = default;
  /// A set of `roles`.
  constexpr role_set(std::initializer_list<role> roles) {
    for (const role r : roles) bits = static_cast<std::uint16_t>(bits | 1u << static_cast<unsigned>(r));
  }
  /// True if the set contains `r`.
  constexpr bool contains(role r) const { return (bits >> static_cast<unsigned>(r) & 1u) != 0; }
  /// True if both sets have the same roles.
  constexpr bool operator==(const role_set&) const = default;

  std::uint16_t bits = 0;  ///< One bit per role. Public, so that a set can be a template argument.
};
/// Roles that stay in float by default: small weights, and weights that select or gate.
inline constexpr role_set float_roles{role::router, role::gate, role::conv, role::norm, role::bias, role::position};

/// A format for weights whose names end in `name`, instead of the scheme's weight format.
struct weight_override {
  fixed_string<47> name{};  ///< End of the weights' names.
  number_format format{};   ///< Their format; f32: they stay in float.
};
/// Overrides of a scheme; the first that matches a weight applies.
using weight_overrides = fixed_vector<weight_override, 16>;

/// The formats of activations and weights; f32 means that they stay in float.
struct quant_spec {
  number_format activation{};                ///< Format of activations.
  number_format weight{};                    ///< Format of weights.
  quant_scope scope = quant_scope::matmuls;  ///< Edges to quantize.
  /// Weights with another format; null if there are none. A pointer keeps compiler messages that contain a spec short.
  const weight_overrides* overrides = nullptr;
  role_set excluded = float_roles;  ///< Roles of weights that stay in float.

  /// True if activations are quantized.
  constexpr bool quantizes_activations() const { return activation.quantizes(); }
  /// True if anything is quantized.
  constexpr bool quantizes() const { return quantizes_activations() || weight.quantizes() || overrides != nullptr; }
  /// Format of the first override that matches a weight; null if none does.
  constexpr const number_format* override_of(std::string_view name) const {
    if (overrides != nullptr)
      for (const weight_override& other : *overrides)
        if (name.ends_with(other.name.view())) return &other.format;
    return nullptr;
  }
  /// Format of a weight leaf: an override's, else f32 for an excluded role, else `weight`.
  constexpr number_format format_of(const node& leaf) const {
    if (const number_format* other = override_of(leaf.name)) return *other;
    return excluded.contains(leaf.weight_role) ? number_format{} : weight;
  }
  /// True if the scheme quantizes the operands and the result of an operator, provided that the target can.
  constexpr bool covers(const op_schema& r) const {
    return quantizes() && (scope == quant_scope::all || r.matrix_args != 0);
  }
};

}  // namespace qwq
