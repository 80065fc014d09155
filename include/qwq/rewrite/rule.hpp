// SPDX-License-Identifier: Apache-2.0
// Defines `rule`, a pattern, its replacement and a condition, and `match`, the arguments of the replacement.
#pragma once

#include <string_view>

#include "qwq/rewrite/pattern.hpp"

namespace qwq {

/// A match of a rule's pattern: the bound values, and operations on the graph that contains them.
class match {
 public:
  /// A match with bindings `found` at node `root` of the graph that `b` appends to.
  constexpr match(builder& b, const rewriting& state, const bindings& found, node_id root)
      : b_(&b), state_(&state), found_(found), root_(root) {}

  /// The value of a variable.
  constexpr expr operator[](const pattern& variable) const { return {b_, found_.find(variable.variable())}; }
  /// The node that computes the value of a variable.
  constexpr const node& operator()(const pattern& variable) const { return (*b_)[found_.find(variable.variable())]; }
  constexpr const node& root() const { return (*b_)[root_]; }  ///< The root of the match, which the rule replaces.
  constexpr builder& graph() const { return *b_; }             ///< Builder for nodes of the replacement.
  /// The node that computes argument `i` of `n`, after replacements.
  constexpr const node& argument(const node& n, std::size_t i) const { return (*b_)[state_->resolve(n.args[i])]; }

  /// Number of uses of a matched value, including uses as a graph output.
  constexpr std::size_t uses(const pattern& variable) const { return state_->uses[found_.find(variable.variable())]; }
  constexpr std::size_t uses() const { return state_->uses[root_]; }  ///< Number of uses of the root.

  static constexpr std::size_t max_readers = 32;  ///< Maximum number of uses that `readers` can return.
  /// Nodes that use the root's value, once per use, and `no_node` for each use as a graph output. More than
  /// `max_readers` uses are a problem of the graph.
  constexpr fixed_vector<node_id, max_readers> readers() const {
    const graph_ref& g = b_->target();
    fixed_vector<node_id, max_readers> out;
    bool fits = true;
    for (std::size_t i = 0; i < g.size(); ++i)
      for (const node_id a : g[i].args)
        if (reads(i, a, root_)) fits = fits && out.try_push_back(static_cast<node_id>(i));
    for (std::size_t i = out.size(); i < uses(); ++i) fits = fits && out.try_push_back(no_node);
    if (!fits)
      b_->fail(root(), error_code::too_many_readers, fixed_string<31>{}.append(static_cast<long long>(max_readers)),
               "more");
    return out;
  }
  /// True if the root is the only node that uses a matched value. Uses as graph outputs are ignored.
  constexpr bool only_root_reads(const pattern& variable) const {
    const graph_ref& g = b_->target();
    const node_id value = found_.find(variable.variable());
    for (std::size_t i = 0; i < g.size(); ++i)
      for (const node_id a : g[i].args)
        if (reads(i, a, value) && i != root_) return false;
    return true;
  }
  /// True if a node is a leaf, or a `dequantize` of a leaf.
  constexpr bool is_constant(const node& n) const {
    return n.args.empty() || (n.kind == op::dequantize && n.args.size() == 1 && argument(n, 0).args.empty());
  }

  /// Redirects the uses of another matched value to `by`. Uses of the root are redirected to the rule's result without
  /// a call.
  constexpr void replace(const pattern& variable, expr by) { replace(found_.find(variable.variable()), by); }
  /// Redirects the uses of a node, such as one of `readers`, to `by`. Too many replacements are a problem of the graph.
  constexpr void replace(node_id value, expr by) {
    if (!replaced_.try_push_back({value, by.id}))
      b_->fail(root(), error_code::too_many_replacements,
               fixed_string<31>{}.append(static_cast<long long>(replaced_.capacity())), "more");
  }

  /// One replacement of a value.
  struct replacement {
    node_id old_id = no_node;  ///< The replaced value.
    node_id new_id = no_node;  ///< Its replacement.
  };
  /// Replacements requested with `replace`.
  constexpr const fixed_vector<replacement, 8>& replaced() const { return replaced_; }

 private:
  /// Whether node `i`, which is itself read, reads `value` by its argument `a`.
  constexpr bool reads(std::size_t i, node_id a, node_id value) const {
    return state_->uses[i] != 0 && state_->resolve(a) == value;
  }

  builder* b_;
  const rewriting* state_;
  bindings found_;
  node_id root_;
  fixed_vector<replacement, 8> replaced_{};
};

/// Reason why a rule does not apply to a match; empty if it applies. The text must have static storage.
using refusal = std::string_view;

/// Returns an empty refusal if `holds`, else `reason`.
constexpr refusal require(bool holds, std::string_view reason) { return holds ? refusal{} : reason; }
/// Returns the reason of the first condition that does not hold: require(a, "not a", b, "not b").
template <class... Rest>
constexpr refusal require(bool holds, std::string_view reason, Rest... rest) {
  return holds ? require(rest...) : reason;
}

/// `first`, or if it is empty the reason of the first condition that does not hold.
template <class... Rest>
constexpr refusal require(refusal first, Rest... rest) {
  return first.empty() ? require(rest...) : first;
}

/// The condition of rules without one. It is a function because g++ 12 cannot compare the address of a function with a
/// null pointer in a constant expression under -fsanitize=undefined.
constexpr refusal always(const match&) { return {}; }

/// A rewrite rule: replaces a match of `from` by the result of `to`, if `when` returns no refusal. Both sides compute
/// the same values.
struct rule {
  std::string_view name;  ///< Name in logs, messages and `made_by`.
  pattern from;           ///< Pattern to match.
  expr (*to)(match&);     ///< Builds the replacement of the root.
  /// Condition on the match: returns why the rule does not apply, or an empty refusal.
  refusal (*when)(const match&) = always;
};

}  // namespace qwq
