// SPDX-License-Identifier: Apache-2.0
// Defines `rewrite`, which applies rules to a fixed point within a budget, and `rewrite_log`, what was applied.
#pragma once

#include <cstddef>
#include <string_view>

#include "qwq/rewrite/eliminate.hpp"
#include "qwq/rewrite/rule.hpp"

namespace qwq {

/// One application of a rule.
struct applied_rewrite {
  std::string_view rule{};   ///< Name of the rule.
  fixed_string<47> where{};  ///< Module of the replaced node.
};

/// Maximum number of applied rewrites per call of `rewrite`.
inline constexpr std::size_t max_rewrites = 320;

/// The last refusal of a rule: its pattern matched, or failed only because of outside uses, but the rule did not apply.
struct refused {
  std::string_view rule{};   ///< Name of the rule.
  fixed_string<47> where{};  ///< Module of the root of that match.
  refusal reason{};          ///< Why the rule did not apply.
};

/// Record of the rewrites that were applied, and of refusals.
struct rewrite_log {
  fixed_vector<applied_rewrite, max_rewrites> applied{};  ///< Applied rewrites, in order.
  fixed_vector<refused, 48> refusals{};                   ///< The last refusal of each rule that had one.

  /// Number of times a rule was applied.
  constexpr std::size_t count(std::string_view rule) const {
    std::size_t n = 0;
    for (const applied_rewrite& f : applied)
      if (f.rule == rule) ++n;
    return n;
  }
  /// The last refusal of a rule; a default one if it never refused, which means that its pattern was never found.
  constexpr refused last_refusal(std::string_view rule) const {
    for (const refused& r : refusals)
      if (r.rule == rule) return r;
    return {};
  }
  /// Records a refusal, replacing an earlier one of the same rule.
  constexpr void refuse(std::string_view rule, const fixed_string<47>& where, refusal reason) {
    for (refused& r : refusals)
      if (r.rule == rule) return void(r = {rule, where, reason});
    static_cast<void>(refusals.try_push_back({rule, where, reason}));
  }
  /// Appends the log of another rewrite.
  constexpr void append(const rewrite_log& other) {
    for (const applied_rewrite& f : other.applied) applied.push_back(f);
    for (const refused& r : other.refusals) refuse(r.rule, r.where, r.reason);
  }
};

/// A rewritten graph and the log of its rewrites.
template <std::size_t Capacity>
struct rewritten {
  graph<Capacity> value{};  ///< The graph; its `error` is set if the rewrite failed.
  rewrite_log log{};        ///< Applied rewrites.
};

namespace detail {

/// Removes a node without uses from the use counts, together with everything that only it used.
constexpr void release(const rewriting& g, node_id id) {
  for (node_id a : g[id].args)
    if (const node_id read = g.resolve(a); --g.uses[read] == 0) release(g, read);
}

/// Redirects the uses of `from` to `to`.
constexpr void replace(const rewriting& g, node_id from, node_id to) {
  if (from == to) return;
  const bool was_read = g.uses[from] != 0;  // else it was released with its last use
  g.uses[to] = static_cast<std::uint16_t>(g.uses[to] + g.uses[from]);
  g.uses[from] = 0;
  g.instead[from] = to;
  if (was_read) release(g, from);
}

/// Applies `r` at `root` if it matches; returns false if it does not apply.
constexpr bool fire(const rule& r, const rewriting& g, node_id root, rewrite_log& log) {
  bindings found;
  bool read_elsewhere = false;
  if (!matches(r.from, g, root, found, &read_elsewhere)) {
    if (read_elsewhere) log.refuse(r.name, g[root].name, "an inner value of the pattern has a reader outside of it");
    return false;
  }
  builder b{g.g};
  b.module = g[root].name;
  b.rule = r.name;
  match m{b, g, found, root};
  if (const refusal reason = r.when(m); !reason.empty()) {
    log.refuse(r.name, g[root].name, reason);
    return false;
  }
  const std::size_t old_size = g.g.size();
  const expr by = r.to(m);
  for (std::size_t i = old_size; i < g.g.size(); ++i) {
    g.instead[i] = static_cast<node_id>(i);
    g.uses[i] = 0;
    for (node_id a : g.g[i].args) ++g.uses[g.resolve(a)];
  }
  if (!by.ok()) return true;  // the builder has recorded the problem
  replace(g, root, g.resolve(by.id));
  for (const auto& other : m.replaced()) replace(g, other.old_id, other.new_id);
  return true;
}

/// Free nodes that a pass requires before it applies another rewrite.
inline constexpr std::size_t max_nodes_per_rewrite = 24;

/// Tries every rule once at every node, including new ones. Returns true if any applied.
template <class Rules>
constexpr bool apply_once(const rewriting& state, const Rules& rules, rewrite_log& log, std::size_t budget) {
  bool any = false;
  for (std::size_t i = 0; i < state.g.size(); ++i) {
    const auto id = static_cast<node_id>(i);
    // stop, so that elimination frees nodes
    if (any && state.g.size() + max_nodes_per_rewrite > state.g.capacity) return true;
    for (const rule& r : rules) {
      if (state.uses[i] == 0) break;
      const op kind = state[id].kind;
      const pattern_node& top = r.from.nodes.back();
      if (!top.anything && top.kind != kind) continue;
      const fixed_string<47> where = state[id].name;
      if (!fire(r, state, id, log)) continue;
      any = true;
      if (log.applied.size() >= budget || !log.applied.try_push_back({r.name, where}))
        state.g.fail({error_code::rules_keep_firing, kind, where.view(),
                      log.applied.empty() ? std::string_view{} : log.applied.back().rule, r.name});
      if (!state.g.error->ok()) return any;
    }
  }
  return any;
}

}  // namespace detail

/// Applies `rules` to `source` until none applies, then eliminates dead and common nodes. If rules still apply after
/// `budget` rewrites, the graph's error names the last two rules that applied.
template <std::size_t Capacity, class Rules>
constexpr rewritten<Capacity> rewrite(const graph<Capacity>& source, const Rules& rules,
                                      std::size_t budget = max_rewrites) {
  rewritten<Capacity> out{source, {}};
  graph<Capacity>& g = out.value;
  for (bool again = true; again && g.error.ok();) {
    eliminate_dead_and_common(g);
    std::uint16_t uses[Capacity]{};
    node_id instead[Capacity]{};
    const rewriting state{graph_ref{g}, uses, instead};
    count_uses(state.g, uses);
    for (std::size_t i = 0; i < g.size(); ++i) instead[i] = static_cast<node_id>(i);
    again = detail::apply_once(state, rules, out.log, budget);
    for (node& n : g.nodes)
      for (node_id& a : n.args) a = state.resolve(a);
    for (graph_output& o : g.outputs) o.id = state.resolve(o.id);
  }
  return out;
}

/// Declared but never defined: naming it in an error prints the rule, how often it had to apply, how often it applied,
/// and the reason and place of its last refusal. Without a refusal, its pattern was never found.
template <fixed_string Rule, std::size_t Expected, std::size_t Found, fixed_string LastRefusal, fixed_string At>
struct rule_applied_another_number_of_times;

/// Fails to compile unless `Rewritten::result.log` counts `Rule` exactly `Times` times. Returns true.
template <class Rewritten, fixed_string Rule, std::size_t Times>
constexpr bool must_apply() {
  constexpr std::size_t found = Rewritten::result.log.count(Rule.view());
  if constexpr (found != Times) {
    constexpr refused last = Rewritten::result.log.last_refusal(Rule.view());
    constexpr fixed_string<last.reason.size()> reason{last.reason};
    constexpr fixed_string<last.where.size()> at{last.where.view()};
    static_assert(sizeof(rule_applied_another_number_of_times<Rule, Times, found, reason, at>) > 0);
  }
  return true;
}

}  // namespace qwq
