// SPDX-License-Identifier: Apache-2.0
// Defines `quant_spec`, which tensors of a graph a scheme quantizes, and in which formats.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string_view>

#include "qwq/graph/graph.hpp"
#include "qwq/quant/number_format.hpp"

namespace qwq {

/// Which of the edges that a target can quantize a scheme does quantize.
enum class quant_scope : std::uint8_t {
  matmuls,  ///< Operands and results of matrix products; norms, gates and the residual stream between them stay float.
  all,      ///< Every edge, as integer-only machines need it.
};

/// A set of roles, one bit each.
class role_set {
 public:
  constexpr role_set() = default;
  /// These roles.
  constexpr role_set(std::initializer_list<role> roles) {
    for (const role r : roles) bits = static_cast<std::uint16_t>(bits | 1u << static_cast<unsigned>(r));
  }
  /// Whether a role is in the set.
  constexpr bool contains(role r) const { return (bits >> static_cast<unsigned>(r) & 1u) != 0; }
  constexpr bool operator==(const role_set&) const = default;

  std::uint16_t bits = 0;  ///< Public, so that a set can be part of a template argument.
};
/// What schemes leave in float unless they say otherwise: weights that are small, and that choose or gate.
inline constexpr role_set float_roles{role::router, role::gate, role::conv, role::norm, role::bias, role::position};

/// Weights whose names end in `name`, and the format that a scheme gives them instead of its usual one.
struct weight_override {
  fixed_string<47> name{};
  number_format format{};  ///< f32: they stay in float.
};
using weight_overrides = fixed_vector<weight_override, 16>;

/// The formats that a scheme gives to activations and weights; f32 means that they stay in float.
struct quant_spec {
  number_format activation{};
  number_format weight{};
  quant_scope scope = quant_scope::matmuls;
  /// Weights with another format; null when there are none. An address, so that messages with a spec stay short.
  const weight_overrides* overrides = nullptr;
  role_set excluded = float_roles;  ///< Roles of weights that stay in float.

  /// Whether activations are quantized.
  constexpr bool quantizes_activations() const { return activation.quantizes(); }
  constexpr bool quantizes() const { return quantizes_activations() || weight.quantizes() || overrides != nullptr; }
  /// The format of an override that names a weight; null when none does.
  constexpr const number_format* override_of(std::string_view name) const {
    if (overrides != nullptr)
      for (const weight_override& other : *overrides)
        if (name.ends_with(other.name.view())) return &other.format;
    return nullptr;
  }
  /// The format of a weight.
  constexpr number_format format_of(const node& leaf) const {
    if (const number_format* other = override_of(leaf.name)) return *other;
    return excluded.contains(leaf.weight_role) ? number_format{} : weight;
  }
  /// Whether the scheme quantizes the operands and the result of an operator, if the target can.
  constexpr bool covers(const op_schema& r) const {
    return quantizes() && (scope == quant_scope::all || r.matrix_args != 0);
  }
};

}  // namespace qwq
