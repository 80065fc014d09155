// SPDX-License-Identifier: Apache-2.0
// Defines `place_slots`, which inserts quantize/dequantize pairs, and the proof that no edge and no weight was left out.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "qwq/graph/builder.hpp"
#include "qwq/rewrite/eliminate.hpp"

namespace qwq {

/// Which of the edges that a target can quantize a scheme does quantize.
enum class extent : std::uint8_t {
  products,  // what matrix products read and make; norms, gates and the residual stream between them stay in float
  all,       // every edge, as integer-only machines need it
};

/// The type of a weight's codes (f32: it stays in float), and the elements along K that share a scale; 0 when there is
/// one scale for the tensor or one per row.
struct weight_type {
  dtype type = dtype::f32;
  std::int32_t block = 0;
  constexpr bool operator==(const weight_type&) const = default;
};

/// A set of roles, one bit each.
class role_set {
 public:
  constexpr role_set() = default;
  /// These roles.
  constexpr role_set(std::initializer_list<role> roles) {
    for (const role r : roles) bits = static_cast<std::uint16_t>(bits | 1u << static_cast<unsigned>(r));
  }
  /// Whether a role is in the set.
  constexpr bool contains(role r) const { return (bits >> static_cast<unsigned>(r) & 1u) != 0; }
  constexpr bool operator==(const role_set&) const = default;

  std::uint16_t bits = 0;  ///< Public, so that a set can be part of a template argument.
};
/// What schemes leave in float unless they say otherwise: weights that are small, and that choose or gate.
inline constexpr role_set float_roles{role::router, role::gate, role::conv, role::norm, role::bias, role::position};

/// Weights whose names end in `name`, and the type that a scheme gives them instead of its usual one.
struct weight_exception {
  fixed_string<47> name{};
  weight_type as{};  ///< What it becomes.
};
using weight_exceptions = fixed_vector<weight_exception, 16>;

/// Integer types that a scheme gives to activations and weights; f32 means that they stay in float.
struct placement {
  dtype activation = dtype::f32;
  dtype weight = dtype::f32;
  extent edges = extent::products;
  std::int32_t block = 0;  ///< of weights, as in `weight_type`
  /// Weights with another type; null when there are none. An address, so that messages with a placement stay short.
  const weight_exceptions* others = nullptr;
  role_set excluded = float_roles;  ///< Roles of weights that stay in float.

  /// Whether activations become integers.
  constexpr bool quantizes_activations() const { return activation != dtype::f32; }
  constexpr bool quantizes() const { return quantizes_activations() || weight != dtype::f32 || others != nullptr; }
  /// The type of an exception that names a weight; null when none does.
  constexpr const weight_type* exception_of(std::string_view name) const {
    if (others != nullptr)
      for (const weight_exception& other : *others)
        if (name.ends_with(other.name.view())) return &other.as;
    return nullptr;
  }
  /// What a weight becomes.
  constexpr weight_type type_of(const node& leaf) const {
    if (const weight_type* other = exception_of(leaf.name)) return *other;
    if (excluded.contains(leaf.weight_role)) return {dtype::f32, 0};
    return {weight, block};
  }
  /// What a weight without role or exception becomes.
  constexpr weight_type usual_type() const { return {weight, block}; }
  /// Whether the scheme quantizes the operands and the result of an operator, if the target can.
  constexpr bool covers(const op_schema& r) const { return quantizes() && (edges == extent::all || r.matrix_args != 0); }
};

enum class slot_kind : std::uint8_t {
  activation,  // its range is observed during calibration
  weight,      // a matrix of a product: per tensor or per channel, with the scheme's weight type
  constant,    // any other constant: its range is known when it is bound
};

/// Place of one scale and zero_point (or of one per output channel). Values that layout operators merely rearrange
/// share a slot.
struct slot {
  slot_kind kind = slot_kind::activation;
  dtype type = dtype::f32;
  fixed_string<95> name{};
  std::int32_t block = 0;  // of a weight, as in `weight_type`
  /// Number of parameters (scale and zero point) of an activation: one, or one for each expert. They are those from
  /// `first` on, and nodes name a slot by its first one.
  std::int32_t count = 1;
  std::int16_t first = 0;  ///< Index of its first parameters among those of all slots.
};

/// The slots of a graph.
struct slot_list : fixed_vector<slot, 96> {
  /// Number of parameters of all slots.
  constexpr std::size_t parameters() const {
    return empty() ? 0 : static_cast<std::size_t>(back().first + back().count);
  }
  /// The slot whose parameters begin at `first`.
  constexpr const slot& starting_at(std::int16_t first) const {
    std::size_t i = 0;
    while (items[i].first != first) ++i;
    return items[i];
  }
};

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
constexpr bool covers_node(const graph<Capacity>& g, const node& n, placement types, Covers covers) {
  if (!covers(n)) return false;
  if (types.edges == qwq::extent::all) return true;
  for (std::size_t i = 0; i < n.args.size(); ++i)
    if (schema(n).is_matrix(i)) {
      const node& w = stored_leaf(g, n.args[i]);
      if (w.kind == op::weight && types.excluded.contains(w.weight_role) && types.exception_of(w.name) == nullptr)
        return false;
    }
  return true;
}

template <std::size_t Capacity, class Covers>
struct placer {
  const graph<Capacity>& from;
  placement types;
  Covers covers;
  quantized<Capacity>& to;
  builder b;
  node_id moved[Capacity]{};
  node_id plain[Capacity]{};  // before a pair
  std::int16_t slot_of[Capacity]{};
  node_id experts[Capacity]{};

  /// A value gets a slot when it is f32 and a covered operator makes or reads it; how a constant is read decides its
  /// type.
  constexpr bool wants_slot(std::size_t id, slot& s) const {
    const node& n = from[id];
    if (n.type.type != dtype::f32) return false;
    bool read = false;
    s = {schema(n).is(trait::encodable) ? slot_kind::constant : slot_kind::activation, types.activation};
    for (const node& reader : from.nodes)
      for (std::size_t i = 0; i < reader.args.size(); ++i)
        if (reader.args[i] == id && covers_node(from, reader, types, covers)) {
          read = true;
          if (s.kind == slot_kind::constant && schema(reader).is_matrix(i)) s.kind = slot_kind::weight;
        }
    if (s.kind == slot_kind::weight) {
      const weight_type as = types.type_of(n);
      s.type = as.type;
      s.block = as.block;
    }
    return (read || covers_node(from, n, types, covers)) && s.type != dtype::f32;
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
        const bool shares = schema(n).is(trait::layout) && slot_of[n.args[0]] >= 0;
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
        n.type.type = n.attr.type.type = s.type;
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
      x = add(op::quantize, x, {.value = 0, .ints = {}, .type = {to.slots.starting_at(index).type, {}}});
    return add(op::dequantize, x, {});
  }
};

}  // namespace detail

/// Counts the edges of covered operators (of a scheme without activation types: their matrices), and those among them
/// that carry quantized values; and every weight of two or more axes: stored as codes, or left in float by a role or an
/// exception of the scheme. With `first_gap` the first edge without a slot, or weight without codes, is recorded as a
/// problem. This looks at a finished graph and knows nothing of how it was made.
template <std::size_t Capacity, class Covers>
constexpr coverage count_coverage(const graph<Capacity>& g, placement types, Covers covers,
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
  const auto covered = [&](const node& n) { return detail::covers_node(g, n, types, covers); };
  for (const node& reader : g.nodes)
    for (std::size_t i = 0; i < reader.args.size(); ++i) {
      const node& made = g[reader.args[i]];
      if (made.type.type != dtype::f32 || !(covered(reader) || covered(made))) continue;
      if (schema(reader).is_matrix(i) ? made.kind == op::weight && types.type_of(made).type == dtype::f32
                                   : !types.quantizes_activations())
        continue;
      const node& boundary = reader.kind == op::quantize ? reader : made;
      edge((boundary.kind == op::quantize || boundary.kind == op::dequantize) && boundary.slot >= 0, reader);
    }
  for (const graph_output& o : g.outputs)
    if (types.quantizes_activations() && covered(g[o.id]) && g[o.id].type.type == dtype::f32) edge(false, g[o.id]);
  for (const node& leaf : g.nodes) {
    if (leaf.kind != op::weight || leaf.dims().size() < 2 || !types.quantizes()) continue;
    if (!is_float(leaf.type.type)) {
      ++c.coded_weights;
    } else if (types.type_of(leaf).type == dtype::f32) {
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
constexpr quantized<Capacity> place_slots(const graph<Capacity>& source, placement types, Covers covers) {
  quantized<Capacity> out;
  out.value.error = source.error;
  if (!types.quantizes()) {
    out.value = source;
    return out;
  }
  detail::placer<Capacity, Covers>{source, types, covers, out, builder{out.value}}.run();
  if (out.value.error.ok()) count_coverage(out.value, types, covers, &out.value.error);
  return out;
}

}  // namespace qwq
