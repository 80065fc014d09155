// SPDX-License-Identifier: Apache-2.0
// The driver: applies rules until none fires, within a budget, and tells what it did.
#pragma once

#include <cstddef>
#include <string_view>

#include "qwq/rewrite/cleanup.hpp"
#include "qwq/rewrite/rule.hpp"

namespace qwq {

/// One firing of a rule.
struct firing {
  std::string_view rule{};
  text<47> where{};  // module of the node that was replaced
};

/// What a rewrite did, in order.
struct trace {
  fixed_vector<firing, 192> firings{};

  constexpr std::size_t count(std::string_view rule) const {
    std::size_t n = 0;
    for (const firing& f : firings)
      if (f.rule == rule) ++n;
    return n;
  }
};

/// A rewritten graph and how it came about.
template <std::size_t Capacity>
struct rewritten {
  graph<Capacity> value{};
  trace fired{};
};

namespace detail {

constexpr void redirect(graph_ref g, node_id from, node_id to, std::size_t old_size) {
  // Nodes made by the firing itself may read what they replace.
  for (std::size_t i = 0; i < old_size; ++i)
    for (node_id& a : g[i].args)
      if (a == from) a = to;
  for (graph_output& o : *g.outputs)
    if (o.id == from) o.id = to;
}

constexpr bool fire(const rule& r, graph_ref g, node_id root, const std::uint16_t* uses) {
  bindings found;
  if (!matches(r.from, g, root, uses, found)) return false;
  builder b{g};
  b.module = g[root].name;
  b.rule = r.name;
  match m{b, found, root};
  if (r.when != nullptr && !r.when(m)) return false;
  const std::size_t old_size = g.size();
  const expr by = r.to(m);
  if (!by.ok()) return true;  // the builder has recorded the problem
  redirect(g, root, by.id, old_size);
  for (const auto& other : m.replaced()) redirect(g, other.old_id, other.new_id, old_size);
  return true;
}

}  // namespace detail

/// Applies `rules` to `source` until none fires, then removes dead nodes and merges equal ones. A set that still fires
/// after `budget` firings is an error that names the two rules that fired last.
template <std::size_t Capacity, class Rules>
constexpr rewritten<Capacity> rewrite(const graph<Capacity>& source, const Rules& rules, std::size_t budget = 160) {
  rewritten<Capacity> out{source, {}};
  graph<Capacity>& g = out.value;
  const graph_ref ref{g};
  std::string_view before_last{};
  for (bool again = g.error.ok(); again;) {
    again = false;
    cleanup(g);
    std::uint16_t uses[Capacity]{};
    count_uses(ref, uses);
    for (std::size_t i = 0; i < g.size() && g.error.ok(); ++i) {
      if (uses[i] == 0) continue;
      for (const rule& r : rules) {
        const text<47> where = g[i].name;
        if (!detail::fire(r, ref, static_cast<node_id>(i), uses)) continue;
        if (!g.error.ok()) return out;
        if (out.fired.firings.size() == budget) {
          ref.fail({why::rules_keep_firing, g[i].kind, where.view(), before_last, r.name});
          return out;
        }
        before_last = r.name;
        out.fired.firings.push_back({r.name, where});
        count_uses(ref, uses);
        again = true;
        break;
      }
    }
  }
  return out;
}

/// Asserts at compile time that `Rewritten::result.fired` counts `Rule` exactly `Times` times.
template <class Rewritten, text Rule, std::size_t Times>
constexpr bool must_fire() {
  constexpr std::size_t found = Rewritten::result.fired.count(Rule.view());
  if constexpr (found != Times) {
    constexpr problem p{why::rule_fired_another_number_of_times, op::input, Rule.view(),
                        text<31>{}.append(static_cast<long long>(Times)), text<31>{}.append(static_cast<long long>(found))};
    constexpr text<p.expected.size()> expected{p.expected.view()};
    constexpr text<p.found.size()> times{p.found.view()};
    static_assert(sizeof(problem_at<p.what, p.kind, Rule, expected, times>) > 0);
  }
  return true;
}

}  // namespace qwq
