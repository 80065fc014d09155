// SPDX-License-Identifier: Apache-2.0
// Defines `pipeline`, the passes that turn one model part into a graph for emitters and a graph for sessions.
#pragma once

#include <cstddef>
#include <iterator>

#include "qwq/quant/insert_qdq.hpp"
#include "qwq/quant/scheme.hpp"
#include "qwq/rewrite/rewrite.hpp"
#include "qwq/rules/canonicalize_rules.hpp"
#include "qwq/targets/disable_fusions.hpp"
#include "qwq/targets/target.hpp"

namespace qwq {

/// Predicate: true if `Scheme` quantizes the operands and the result of a node on `Target`.
template <class Target, class Scheme>
struct covers {
  /// True if both the scheme and the target quantize the operator of `n`.
  constexpr bool operator()(const node& n) const { return Scheme::spec.covers(schema(n)) && target_quantizes(n); }

 private:
  static constexpr bool target_quantizes(const node& n) {
    if (n.kind != op::custom) return Target::quantizes(n.kind);
    if constexpr (requires { Target::quantizes(*n.custom); })
      return Target::quantizes(*n.custom);
    else
      return false;
  }
};

namespace detail {

/// The fusions that sessions for `Target` apply.
template <class Target>
inline constexpr auto fusions_of = [] {
  fixed_vector<rule, std::size(rules::fuse)> on;
  for (const rule& r : rules::fuse)
    if (fuses<Target>(r.name)) on.push_back(r);
  return on;
}();

/// Applies the target's rules, which rewrite the model's graph into operators that the target supports. `first_rules`,
/// if present, run before `rules`.
template <class Target, std::size_t Capacity>
constexpr rewritten<Capacity> legalize(const graph<Capacity>& model) {
  if constexpr (requires { Target::first_rules; }) {
    const auto first = rewrite(model, Target::first_rules);
    auto second = rewrite(first.value, Target::rules);
    second.log.append(first.log);
    return second;
  } else {
    return rewrite(model, Target::rules);
  }
}

}  // namespace detail

/// The compile pipeline of `Part`. Each pass maps a graph to a graph. A pass reports a problem in the `error` of its
/// result; later passes propagate it. Each pass is a constant of its own: clang limits the steps of one constant
/// expression to 2^20.
template <class Part, target Target, quantization_scheme Scheme>
struct pipeline {
  /// 1. Legalize: the target's rules replace operators that the target does not support.
  static constexpr auto legalized = detail::legalize<Target>(Part::value);
  /// 2. Insert QDQ: add quantize/dequantize pairs wherever both the scheme and the target quantize. Emitters write
  /// this.
  static constexpr auto quantized = insert_qdq(legalized.value, Scheme::spec, covers<Target, Scheme>{});
  /// 3. Canonicalize, for sessions only: QDQ pairs become fake_quant, and target-specific layouts become row-major.
  static constexpr auto canonical = rewrite(quantized.value, rules::run).value;
  /// 4. Fuse: compute the same values in fewer passes over memory. Sessions execute this.
  static constexpr auto fused = rewrite(canonical, detail::fusions_of<Target>).value;
};

}  // namespace qwq
