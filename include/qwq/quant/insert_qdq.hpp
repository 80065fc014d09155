// SPDX-License-Identifier: Apache-2.0
// Defines `insert_qdq`, the pass that inserts quantize/dequantize pairs, and `count_coverage`, which proves that no edge
// and no weight was left out.
#pragma once

#include <cstdint>

#include "qwq/graph/builder.hpp"
#include "qwq/quant/quant_spec.hpp"
#include "qwq/quant/slot.hpp"
#include "qwq/rewrite/eliminate.hpp"

namespace qwq {

/// A graph with quantize/dequantize pairs, and the slots that they refer to.
template <std::size_t Capacity>
struct quantized {
  graph<Capacity> value{};
  slot_list slots{};
};

/// Edges that must be quantized and those that are; and matrices that are stored as codes, and those that the scheme
/// leaves in float.
struct coverage {
  std::size_t covered = 0;
  std::size_t total = 0;
  std::size_t coded_weights = 0;  ///< Matrices that are stored as codes.
  std::size_t float_weights = 0;  ///< Matrices that a role or an exception leaves in float.
};

namespace detail {

/// The leaf behind a value: itself, or what a dequantize node reads.
template <std::size_t Capacity>
constexpr const node& stored_leaf(const graph<Capacity>& g, node_id id) {
  return g[id].kind == op::dequantize ? g[g[id].args[0]] : g[id];
}

/// Whether the edges of node n are quantized. A scheme for products leaves those out whose matrices have an excluded
/// role, such as a router: they compute in float.
template <std::size_t Capacity, class Covers>
constexpr bool covers_node(const graph<Capacity>& g, const node& n, const quant_spec& spec, Covers covers) {
  if (!covers(n)) return false;
  if (spec.scope == quant_scope::all) return true;
  for (std::size_t i = 0; i < n.args.size(); ++i)
    if (schema(n).is_matrix(i)) {
      const node& w = stored_leaf(g, n.args[i]);
      if (w.kind == op::weight && spec.excluded.contains(w.weight_role) && spec.override_of(w.name) == nullptr)
        return false;
    }
  return true;
}

template <std::size_t Capacity, class Covers>
struct qdq_inserter {
  const graph<Capacity>& from;
  const quant_spec& spec;
  Covers covers;
  quantized<Capacity>& to;
  builder b;
  node_id moved[Capacity]{};
  node_id plain[Capacity]{};  // before a pair
  std::int16_t slot_of[Capacity]{};
  node_id experts[Capacity]{};

  /// A value gets a slot when it is f32 and a covered operator makes or reads it; how a constant is read decides its
  /// format.
  constexpr bool wants_slot(std::size_t id, slot& s) const {
    const node& n = from[id];
    if (n.type.type != dtype::f32) return false;
    bool read = false;
    s = {schema(n).is(trait::encodable) ? slot_kind::constant : slot_kind::activation, spec.activation};
    for (const node& reader : from.nodes)
      for (std::size_t i = 0; i < reader.args.size(); ++i)
        if (reader.args[i] == id && covers_node(from, reader, spec, covers)) {
          read = true;
          if (s.kind == slot_kind::constant && schema(reader).is_matrix(i)) s.kind = slot_kind::weight;
        }
    if (s.kind == slot_kind::weight) s.format = spec.format_of(n);
    return (read || covers_node(from, n, spec, covers)) && s.format.quantizes();
  }

  /// The node [1,S,k] that says which expert each row of value `id` [1,S,k,N] belongs to, by an operator that reads or
  /// makes it, and the number of experts; `no_node` when there is none.
  constexpr node_id experts_of(std::size_t id, std::int32_t& count) const {
    node_id experts = no_node;
    if (from[id].dims().size() != 4) return experts;
    const auto look = [&](const node& n) {
      if (schema(n).expert_arg < 0) return;
      experts = n.args[static_cast<std::size_t>(schema(n).expert_arg)];
      for (std::size_t i = 0; i < n.args.size(); ++i)
        if (schema(n).is_matrix(i)) count = static_cast<std::int32_t>(from[n.args[i]].dims()[0].extent);
    };
    look(from[id]);
    for (const node& reader : from.nodes)
      for (node_id a : reader.args)
        if (a == id) look(reader);
    return count > 1 ? experts : no_node;
  }

  constexpr fixed_string<95> slot_name(const node& n) const {
    fixed_string<95> name{n.name};
    if (!n.args.empty()) name.append(name.empty() ? "" : "/").append(qwq::name(n));
    int twins = 0;
    for (const slot& s : to.slots)
      if (s.name.view().starts_with(name.view())) ++twins;
    if (twins > 0) name.append("_").append(twins);
    return name;
  }

  constexpr void run() {
    for (std::size_t i = 0; i < from.size() && to.value.error.ok(); ++i) {
      node n = from[i];
      slot s;
      const bool slotted = wants_slot(i, s);
      slot_of[i] = -1;
      experts[i] = no_node;
      if (slotted) {
        // Moved values keep their parameters, unless each row has those of its expert: then rows may be torn apart.
        const bool shares = schema(n).is(trait::layout) && slot_of[n.args[0]] >= 0 && experts[n.args[0]] == no_node;
        s.name = slot_name(n);
        s.first = static_cast<std::int16_t>(to.slots.parameters());
        if (s.kind == slot_kind::activation) experts[i] = experts_of(i, s.count);
        slot_of[i] = shares ? slot_of[n.args[0]] : s.first;
        if (!shares && !to.slots.try_push_back(s))
          return to.value.error = {error_code::graph_is_full, n.kind, n.name.view(), "96 slots", "more"}, void();
      }
      // A result is of the node itself, not of what its own value is rounded to.
      for (node_id& a : n.args) a = n.kind == op::get_tuple_element ? plain[a] : moved[a];
      if (slotted && s.kind != slot_kind::activation) {  // constants are stored as codes
        n.type.type = n.attr.type.type = s.format.element;
        moved[i] = pair_with(b.append(n), slot_of[i], false, n);
      } else {
        plain[i] = b.append(n);
        moved[i] = slotted ? pair_with(plain[i], slot_of[i], true, n, experts[i]) : plain[i];
      }
    }
    for (const graph_output& o : from.outputs) b.output(o.name, moved[o.id]);
  }

  /// `by`: the node of the model's graph that says which expert each row belongs to.
  constexpr node_id pair_with(node_id x, std::int16_t index, bool with_quantize, const node& origin,
                              node_id by = no_node) {
    b.module = origin.name;
    const auto add = [&](op kind, node_id arg, const attributes& attr) {
      arguments args{{arg}, 1};
      if (by != no_node) args.push_back(moved[by]);
      const node_id id = b.add(kind, args, attr);
      if (id != no_node) b[id].slot = index;
      return id;
    };
    if (with_quantize)
      x = add(op::quantize, x, {.value = 0, .ints = {}, .type = {to.slots.starting_at(index).format.element, {}}});
    return add(op::dequantize, x, {});
  }
};

}  // namespace detail

/// Counts the edges of covered operators (of a scheme without activation spec: their matrices), and those among them
/// that carry quantized values; and every weight of two or more axes: stored as codes, or left in float by a role or an
/// exception of the scheme. With `first_gap` the first edge without a slot, or weight without codes, is recorded as a
/// problem. This looks at a finished graph and knows nothing of how it was made.
template <std::size_t Capacity, class Covers>
constexpr coverage count_coverage(const graph<Capacity>& g, const quant_spec& spec, Covers covers,
                                  diagnostic* first_gap = nullptr) {
  coverage c;
  const auto gap = [&](error_code what, const node& n, std::string_view expected, std::string_view found) {
    if (first_gap != nullptr && first_gap->ok()) *first_gap = {what, n.kind, n.name, expected, found};
  };
  const auto edge = [&](bool has_slot, const node& n) {
    ++c.total;
    if (has_slot)
      ++c.covered;
    else
      gap(error_code::edge_has_no_quantization_slot, n, "quantize/dequantize", "a float edge");
  };
  const auto covered = [&](const node& n) { return detail::covers_node(g, n, spec, covers); };
  for (const node& reader : g.nodes)
    for (std::size_t i = 0; i < reader.args.size(); ++i) {
      const node& made = g[reader.args[i]];
      if (made.type.type != dtype::f32 || !(covered(reader) || covered(made))) continue;
      if (schema(reader).is_matrix(i) ? made.kind == op::weight && !spec.format_of(made).quantizes()
                                      : !spec.quantizes_activations())
        continue;
      const node& boundary = reader.kind == op::quantize ? reader : made;
      edge((boundary.kind == op::quantize || boundary.kind == op::dequantize) && boundary.slot >= 0, reader);
    }
  for (const graph_output& o : g.outputs)
    if (spec.quantizes_activations() && covered(g[o.id]) && g[o.id].type.type == dtype::f32) edge(false, g[o.id]);
  for (const node& leaf : g.nodes) {
    if (leaf.kind != op::weight || leaf.dims().size() < 2 || !spec.quantizes()) continue;
    if (!is_plain_float(leaf.type.type)) {
      ++c.coded_weights;
    } else if (!spec.format_of(leaf).quantizes()) {
      ++c.float_weights;
    } else {
      ++c.total;
      gap(error_code::weight_is_not_quantized, leaf, "codes, or a role that stays float", name(leaf.weight_role));
    }
  }
  return c;
}

/// Puts quantize/dequantize pairs on every f32 value that a node with `covers(node)` makes or reads, and turns the
/// constants among them into codes. The result's `error` names the first edge or weight that stayed without, if any did.
template <std::size_t Capacity, class Covers>
constexpr quantized<Capacity> insert_qdq(const graph<Capacity>& source, const quant_spec& spec, Covers covers) {
  quantized<Capacity> out;
  out.value.error = source.error;
  if (!spec.quantizes()) {
    out.value = source;
    return out;
  }
  detail::qdq_inserter<Capacity, Covers>{source, spec, covers, out, builder{out.value}}.run();
  if (out.value.error.ok()) count_coverage(out.value, spec, covers, &out.value.error);
  return out;
}

}  // namespace qwq
