// SPDX-License-Identifier: Apache-2.0
// Defines `insert_qdq`, which inserts quantize/dequantize pairs, and `count_coverage`, which verifies its result.
#pragma once

#include <cstdint>

#include "qwq/graph/builder.hpp"
#include "qwq/quant/quant_spec.hpp"
#include "qwq/quant/slot.hpp"
#include "qwq/rewrite/eliminate.hpp"

namespace qwq {

/// A graph with quantize/dequantize pairs, and its slots.
template <std::size_t Capacity>
struct quantized {
  graph<Capacity> value{};  ///< The graph.
  slot_list slots{};        ///< Slots that its nodes refer to.
};

/// Numbers of edges to quantize and of quantized ones, and of weights stored as codes and as floats.
struct coverage {
  std::size_t covered = 0;        ///< Edges that carry quantized values.
  std::size_t total = 0;          ///< Edges to quantize, plus weights that were missed.
  std::size_t coded_weights = 0;  ///< Weights stored as codes.
  std::size_t float_weights = 0;  ///< Weights that a role or an override keeps in float.
};

namespace detail {

/// The node itself, or the operand of a dequantize node.
template <std::size_t Capacity>
constexpr const node& stored_leaf(const graph<Capacity>& g, node_id id) {
  return g[id].kind == op::dequantize ? g[g[id].args[0]] : g[id];
}

/// True if the edges of node `n` are quantized. Schemes with scope `matmuls` omit operators whose weights have an
/// excluded role, such as a router: these compute in float.
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
  node_id plain[Capacity]{};  // the node before its pair
  // -1: the value has no slot
  std::int16_t slot_of[Capacity]{};
  // experts of each row, or no_node
  node_id experts[Capacity]{};

  /// True if value `id` gets a slot: it is f32, and a covered operator produces or uses it. The uses of a constant
  /// determine its kind and format.
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

  /// The node [1,S,k] that maps each row of value `id` [1,S,k,N] to its expert, taken from an operator that uses or
  /// produces it, and the number of experts; `no_node` if there is none.
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
        // Rearranged values keep their parameters, unless each row has those of its expert: a layout operator may then
        // split rows.
        const bool shares = schema(n).is(trait::layout) && slot_of[n.args[0]] >= 0 && experts[n.args[0]] == no_node;
        s.name = slot_name(n);
        s.first = static_cast<std::int16_t>(to.slots.parameters());
        if (s.kind == slot_kind::activation) experts[i] = experts_of(i, s.count);
        slot_of[i] = shares ? slot_of[n.args[0]] : s.first;
        if (!shares && !to.slots.try_push_back(s))
          return to.value.error = {error_code::graph_is_full, n.kind, n.name.view(), "96 slots", "more"}, void();
      }
      // A get_tuple_element projects the node itself, not its own quantized value.
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

  /// Appends a pair (or only the dequantize node) with slot `index` after `x`. `by` is the node of the source graph
  /// that maps rows to experts, if any.
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

/// Counts the edges of covered operators (for weight-only schemes: their weights) and those that carry quantized
/// values. Counts every weight of at least two axes as stored as codes, or kept in float by a role or an override. With
/// `first_gap`, records the first edge without a slot, or weight without codes, as a problem. The count depends only on
/// the finished graph, not on how it was produced.
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

/// Inserts quantize/dequantize pairs on every f32 value that a node with `covers(node)` produces or uses, and turns
/// constants among them into codes. If an edge or weight was missed, the `error` of the result names the first one.
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
