// SPDX-License-Identifier: Apache-2.0
// Defines `compile_part`, the passes that turn one part of a model into the graph that emitters write and the graph that
// sessions run.
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

/// Whether a scheme quantizes the operands and the result of a node on a target.
template <class Target, class Scheme>
struct covers {
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

/// Rewrites the model's graph into operators that the target has.
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

/// What the passes make of a part.
template <std::size_t Capacity>
struct compiled_graphs {
  graph<Capacity> emitted{};   ///< What emitters write.
  graph<Capacity> executed{};  ///< What sessions run.
  slot_list slots{};           ///< Quantization parameters that both refer to.
  rewrite_log log{};           ///< What the target's rules did.
};

/// The compile pipeline. Each pass takes a graph and returns one; a problem of a pass is the `error` of its graph, which
/// later passes keep.
template <class Part, target Target, quantization_scheme Scheme>
constexpr auto compile_part() {
  constexpr std::size_t capacity = decltype(Part::value.nodes)::capacity();
  compiled_graphs<capacity> out;

  // 1. Legalize: the target's rules replace what it has no operator for.
  auto legal = detail::legalize<Target>(Part::value);
  out.log = legal.log;

  // 2. Insert QDQ: quantize/dequantize pairs wherever scheme and target quantize.
  auto quantized = insert_qdq(legal.value, Scheme::spec, covers<Target, Scheme>{});
  out.emitted = quantized.value;
  out.slots = quantized.slots;

  // 3. Canonicalize, for sessions only: pairs become fake_quant, and targets' layouts become row-major.
  const auto canonical = rewrite(quantized.value, rules::run);

  // 4. Fuse: the same values in fewer passes over memory.
  out.executed = rewrite(canonical.value, detail::fusions_of<Target>).value;
  return out;
}

}  // namespace qwq
