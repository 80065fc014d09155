// SPDX-License-Identifier: Apache-2.0
// What can be wrong with a graph, and how a compiler is made to say it in one line.
#pragma once

#include <string_view>

#include "qwq/core/fixed_string.hpp"
#include "qwq/graph/op.hpp"

namespace qwq {

/// Kinds of problem. The names are read by people, inside a compiler's message.
enum class error_code : unsigned char {
  fine,
  wrong_number_of_arguments,
  x_and_weight_differ_in_columns,
  x_and_y_do_not_multiply,
  shapes_do_not_broadcast,
  element_count_changes,
  element_type_must_be_float,
  element_types_differ,
  last_dimension_must_match,
  rank_is_wrong,
  heads_do_not_divide,
  bad_attribute,
  graph_is_full,
  too_many_dimensions,
  too_many_arguments,
  too_many_outputs,
  too_many_symbols,
  too_many_readers,
  too_many_replacements,
  name_is_too_long,
  state_must_be_a_leaf,
  rules_keep_firing,
  rule_applied_another_number_of_times,
  edge_has_no_quantization_slot,
  weight_is_not_quantized,
};

/// The first thing that went wrong while a graph was built or rewritten. `expected` and `found` are short enough
/// for every compiler to print them whole.
struct diagnostic {
  error_code what = error_code::fine;
  op kind = op::input;
  fixed_string<47> where{};
  fixed_string<31> expected{};
  fixed_string<31> found{};

  constexpr bool ok() const { return what == error_code::fine; }
};

/// Declared and never defined: the facts about a problem are its arguments, and naming it prints them.
template <error_code What, op Op, fixed_string Where, fixed_string Expected, fixed_string Found>
struct diagnostic_at;

/// Refuses to compile unless `P` is clear; the message is the name of `diagnostic_at` with the facts.
template <const diagnostic& P>
constexpr bool require_none() {
  if constexpr (!P.ok()) {
    constexpr fixed_string<P.where.size()> where{P.where.view()};
    constexpr fixed_string<P.expected.size()> expected{P.expected.view()};
    constexpr fixed_string<P.found.size()> found{P.found.view()};
    static_assert(sizeof(diagnostic_at<P.what, P.kind, where, expected, found>) > 0);
  }
  return true;
}

}  // namespace qwq
