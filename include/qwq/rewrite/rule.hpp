// SPDX-License-Identifier: Apache-2.0
// Rules: a name, the pattern to find, and what to put in its place.
#pragma once

#include <string_view>

#include "qwq/rewrite/pattern.hpp"

namespace qwq {

/// What a rule sees of the place where its pattern matched.
class match {
 public:
  constexpr match(builder& b, const rewriting& state, const bindings& found, node_id root)
      : b_(&b), state_(&state), found_(found), root_(root) {}

  /// The value that a variable stands for.
  constexpr expr operator[](const pattern& variable) const { return {b_, found_.find(variable.variable())}; }
  constexpr const node& operator()(const pattern& variable) const { return (*b_)[found_.find(variable.variable())]; }
  constexpr const node& root() const { return (*b_)[root_]; }
  constexpr builder& graph() const { return *b_; }
  /// The node that computes argument `i` of `n`.
  constexpr const node& argument(const node& n, std::size_t i) const { return (*b_)[state_->resolve(n.args[i])]; }

  /// Has readers of another matched value read `by` instead (the root's readers follow the rule's result by
  /// themselves).
  constexpr void replace(const pattern& variable, expr by) {
    replaced_.push_back({found_.find(variable.variable()), by.id});
  }

  struct replacement {
    node_id old_id = no_node;
    node_id new_id = no_node;
  };
  constexpr const fixed_vector<replacement, 4>& replaced() const { return replaced_; }

 private:
  builder* b_;
  const rewriting* state_;
  bindings found_;
  node_id root_;
  fixed_vector<replacement, 4> replaced_{};
};

/// The condition of rules that have none. (A null pointer would have to be compared with, and g++ 12 cannot do that
/// with the address of a function in a constant expression under -fsanitize=undefined.)
constexpr bool always(const match&) { return true; }

/// "Where `from` is found and `when` holds, read `to` instead." The two sides mean the same.
struct rule {
  std::string_view name;
  pattern from;
  expr (*to)(match&);
  /// Condition on the match.
  bool (*when)(const match&) = always;
};

}  // namespace qwq
