// SPDX-License-Identifier: Apache-2.0
// Rules: a name, the pattern to find, and what to put in its place.
#pragma once

#include <string_view>

#include "qwq/rewrite/pattern.hpp"

namespace qwq {

/// What a rule sees of the storage_class where its pattern matched.
class match {
 public:
  /// `found` at the node `root` of the graph that `b` appends to.
  constexpr match(builder& b, const rewriting& state, const bindings& found, node_id root)
      : b_(&b), state_(&state), found_(found), root_(root) {}

  /// The value that a variable stands for.
  constexpr expr operator[](const pattern& variable) const { return {b_, found_.find(variable.variable())}; }
  /// The node that computes it.
  constexpr const node& operator()(const pattern& variable) const { return (*b_)[found_.find(variable.variable())]; }
  constexpr const node& root() const { return (*b_)[root_]; }  ///< The node that is replaced.
  constexpr builder& graph() const { return *b_; }             ///< For leaves of the replacement.
  /// The node that computes argument `i` of `n`.
  constexpr const node& argument(const node& n, std::size_t i) const { return (*b_)[state_->resolve(n.args[i])]; }

  /// How often a matched value is read: by nodes, and as an output of the graph.
  constexpr std::size_t uses(const pattern& variable) const { return state_->uses[found_.find(variable.variable())]; }
  constexpr std::size_t uses() const { return state_->uses[root_]; }  ///< The same of the root.

  static constexpr std::size_t max_readers = 32;  ///< Most readers that a rule is told of.
  /// The nodes that read the root's value, each as often as it does, and `no_node` for each output that it is. More than
  /// `max_readers` are a problem of the graph.
  constexpr fixed_vector<node_id, max_readers> readers() const {
    fixed_vector<node_id, max_readers> out;
    bool fits = true;
    for_each_reader(root_, [&](node_id id) { fits = fits && out.try_push_back(id); });
    if (!fits)
      b_->fail(root(), error_code::too_many_readers, fixed_string<31>{}.append(static_cast<long long>(max_readers)),
               "more");
    return out;
  }
  /// Whether a matched value is read by the root alone, but for being an output of the graph.
  constexpr bool only_root_reads(const pattern& variable) const {
    bool only = true;
    for_each_reader(found_.find(variable.variable()),
                    [&](node_id id) { only = only && (id == root_ || id == no_node); });
    return only;
  }
  /// Whether a node is a leaf, as it is or dequantized: no other value of the graph goes into it.
  constexpr bool is_constant(const node& n) const {
    return n.args.empty() || (n.kind == op::dequantize && n.args.size() == 1 && argument(n, 0).args.empty());
  }

  /// Has readers of another matched value read `by` instead (the root's readers follow the rule's result by
  /// themselves).
  constexpr void replace(const pattern& variable, expr by) { replace(found_.find(variable.variable()), by); }
  /// The same for a node, such as one of `readers`.
  constexpr void replace(node_id value, expr by) {
    if (!replaced_.try_push_back({value, by.id}))
      b_->fail(root(), error_code::too_many_replacements,
               fixed_string<31>{}.append(static_cast<long long>(replaced_.capacity())), "more");
  }

  /// One value that is read in place of another.
  struct replacement {
    node_id old_id = no_node;  ///< The one that was matched.
    node_id new_id = no_node;  ///< The one that is read instead.
  };
  /// What `replace` was told.
  constexpr const fixed_vector<replacement, 8>& replaced() const { return replaced_; }

 private:
  /// Calls f with each reader of a value that is itself read, as often as it reads it, and with `no_node` for outputs.
  template <class F>
  constexpr void for_each_reader(node_id value, F&& f) const {
    const graph_ref& g = b_->target();
    std::size_t nodes = 0;
    for (std::size_t i = 0; i < g.size(); ++i)
      for (const node_id a : g[i].args)
        if (state_->uses[i] != 0 && state_->resolve(a) == value) {
          f(static_cast<node_id>(i));
          ++nodes;
        }
    for (; nodes < state_->uses[value]; ++nodes) f(no_node);
  }

  builder* b_;
  const rewriting* state_;
  bindings found_;
  node_id root_;
  fixed_vector<replacement, 8> replaced_{};
};

/// Why a rule does not apply to a match; empty when it applies. The text must be static.
using refusal = std::string_view;

/// `reason`, unless `holds`.
constexpr refusal require(bool holds, std::string_view reason) { return holds ? refusal{} : reason; }
/// The reason of the first condition that does not hold: require(a, "not a", b, "not b").
template <class... Rest>
constexpr refusal require(bool holds, std::string_view reason, Rest... rest) {
  return holds ? require(rest...) : reason;
}

/// The condition of rules that have none. (A null pointer would have to be compared with, and g++ 12 cannot do that
/// with the address of a function in a constant expression under -fsanitize=undefined.)
constexpr refusal always(const match&) { return {}; }

/// "Where `from` is found and nothing in `when` speaks against it, read `to` instead." The two sides mean the same.
struct rule {
  std::string_view name;
  pattern from;        ///< What is looked for.
  expr (*to)(match&);  ///< Builds what is read instead.
  /// Condition on the match: why the rule does not apply, or nothing.
  refusal (*when)(const match&) = always;
};

}  // namespace qwq
