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
  constexpr builder& graph() const { return *b_; }  ///< For leaves of the replacement.
  /// The node that computes argument `i` of `n`.
  constexpr const node& argument(const node& n, std::size_t i) const { return (*b_)[state_->resolve(n.args[i])]; }

  static constexpr std::size_t max_readers = 32;  ///< Most readers that a rule is told of.
  /// The nodes that read the root's value, each as often as it does, and `no_node` for each output that it is. More than
  /// `max_readers` are a problem of the graph.
  constexpr fixed_vector<node_id, max_readers> readers() const {
    const graph_ref& g = b_->target();
    fixed_vector<node_id, max_readers> out;
    bool fits = true;
    for (std::size_t i = 0; i < g.size(); ++i)
      for (const node_id a : g[i].args)
        if (state_->uses[i] != 0 && state_->resolve(a) == root_)
          fits = fits && out.try_push_back(static_cast<node_id>(i));
    for (std::size_t i = out.size(); i < state_->uses[root_]; ++i) fits = fits && out.try_push_back(no_node);
    if (!fits) b_->fail(root(), error_code::too_many_readers, fixed_string<31>{}.append(static_cast<long long>(max_readers)), "more");
    return out;
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
  builder* b_;
  const rewriting* state_;
  bindings found_;
  node_id root_;
  fixed_vector<replacement, 8> replaced_{};
};

/// The condition of rules that have none. (A null pointer would have to be compared with, and g++ 12 cannot do that
/// with the address of a function in a constant expression under -fsanitize=undefined.)
constexpr bool always(const match&) { return true; }

/// "Where `from` is found and `when` holds, read `to` instead." The two sides mean the same.
struct rule {
  std::string_view name;
  pattern from;  ///< What is looked for.
  expr (*to)(match&);  ///< Builds what is read instead.
  /// Condition on the match.
  bool (*when)(const match&) = always;
};

}  // namespace qwq
