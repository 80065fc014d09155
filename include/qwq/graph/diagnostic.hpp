// SPDX-License-Identifier: Apache-2.0
// Defines `diagnostic`, the first problem of a graph, and `require_none`, which reports it as a one-line compile error.
#pragma once

#include <string_view>

#include "qwq/core/fixed_string.hpp"
#include "qwq/graph/op.hpp"

namespace qwq {

/// Kinds of problems. The enumerator names appear in compiler messages, so they are written as phrases.
enum class error_code : unsigned char {
  fine,                            ///< No problem.
  wrong_number_of_arguments,       ///< More or fewer arguments than the operator's schema allows.
  x_and_weight_differ_in_columns,  ///< K of the activation differs from K of the weight [N,K].
  x_and_y_do_not_multiply,         ///< Shapes of `matmul` operands do not match.
  shapes_do_not_broadcast,         ///< Operand shapes neither match nor broadcast.
  element_count_changes,           ///< A `reshape` to another number of elements.
  element_type_must_be_float,      ///< An operand is not f32, f16 or bf16.
  element_types_differ,            ///< An operand has another element type than the operator requires.
  last_dimension_must_match,       ///< An operand has another shape than the operator requires.
  rank_is_wrong,                   ///< An operand has another number of axes than the operator requires.
  heads_do_not_divide,             ///< Query heads are not a multiple of key/value heads.
  bad_attribute,                   ///< An attribute is missing or out of range.
  graph_is_full,                   ///< More nodes than the graph's capacity, or more slots than a `slot_list` holds.
  too_many_dimensions,             ///< A shape has more than `max_rank` axes.
  too_many_arguments,              ///< A node has more than `max_arguments` arguments.
  too_many_outputs,                ///< A graph has more than `max_outputs` outputs.
  too_many_symbols,                ///< More names of dimensions than a memory plan holds.
  too_many_readers,                ///< A value has more uses than `match::max_readers`.
  too_many_replacements,           ///< A rule replaces more values than a `match` holds.
  name_is_too_long,                ///< A name exceeds the capacity of its field.
  state_must_be_a_leaf,            ///< The state operand of an operator is not a `state` leaf.
  rules_keep_firing,               ///< A rule set still applies after the rewrite budget is used up.
  edge_has_no_quantization_slot,   ///< An edge that the scheme quantizes has no quantize/dequantize pair.
  weight_is_not_quantized,         ///< A weight that the scheme quantizes is stored as floats.
};

/// The first problem found while a graph is built or rewritten. `expected` and `found` are short enough for every
/// compiler to print them in full.
struct diagnostic {
  error_code what = error_code::fine;  ///< Kind of problem; `fine` if there is none.
  op kind = op::input;                 ///< Operator of the node with the problem.
  fixed_string<47> where{};            ///< Module of that node; see `qwq::where`.
  fixed_string<31> expected{};         ///< Expected value, as text.
  fixed_string<31> found{};            ///< Actual value, as text.

  constexpr bool ok() const { return what == error_code::fine; }  ///< True if there is no problem.
};

/// Declared but never defined: naming it in an error prints its arguments, the facts about a problem.
template <error_code What, op Op, fixed_string Where, fixed_string Expected, fixed_string Found>
struct diagnostic_at;

/// Fails to compile if `P` is a problem; the error message names `diagnostic_at` with the facts. Returns true.
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
