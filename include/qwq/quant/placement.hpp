// SPDX-License-Identifier: Apache-2.0
// Where quantization goes: slots for every edge that a target's rules cover, and the proof that none is missing.
#pragma once

#include "qwq/graph/builder.hpp"
#include "qwq/rewrite/cleanup.hpp"

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

/// Weights whose names end in `name`, and the type that a scheme gives them instead of its usual one.
struct weight_exception {
  text<47> name{};
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

  /// Whether activations become integers.
  constexpr bool quantizes_activations() const { return activation != dtype::f32; }
  constexpr bool quantizes() const { return quantizes_activations() || weight != dtype::f32 || others != nullptr; }
  /// What a weight becomes.
  constexpr weight_type type_of(std::string_view name) const {
    if (others != nullptr)
      for (const weight_exception& other : *others)
        if (name.ends_with(other.name.view())) return other.as;
    return {weight, block};
  }
  /// Whether the scheme quantizes what an operator reads and makes, if the target can.
  constexpr bool covers(op kind) const {
    return quantizes() &&
           (edges == extent::all || kind == op::linear || kind == op::conv1x1 || kind == op::embedding);
  }
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
  text<47> name{};
  std::int32_t block = 0;  // of a weight, as in `weight_type`
};

/// A graph with quantize/dequantize pairs, and the slots that they refer to.
template <std::size_t Capacity>
struct quantized {
  graph<Capacity> value{};
  fixed_vector<slot, 96> slots{};
};

/// Edges that must be quantized, and those that are.
struct coverage {
  std::size_t covered = 0;
  std::size_t total = 0;
};

namespace detail {

constexpr bool is_leaf_constant(op kind) { return kind == op::weight || kind == op::fill; }
/// Whether argument `i` of an operator is the matrix of a product, or an embedding table, which may be the same matrix.
constexpr bool is_matrix_operand(op kind, std::size_t i) {
  return ((kind == op::linear || kind == op::conv1x1) && i == 1) || (kind == op::embedding && i == 0);
}

template <std::size_t Capacity, class Covers>
struct placer {
  const graph<Capacity>& from;
  placement types;
  Covers covers;
  quantized<Capacity>& to;
  builder b;
  node_id moved[Capacity]{};
  std::int16_t slot_of[Capacity]{};

  /// A value gets a slot when it is f32 and a covered operator makes or reads it; how a constant is read decides its
  /// type.
  constexpr bool wants_slot(std::size_t id, slot& s) const {
    const node& n = from[id];
    if (n.type.type != dtype::f32) return false;
    bool read = false;
    s = {is_leaf_constant(n.kind) ? slot_kind::constant : slot_kind::activation, types.activation};
    for (const node& reader : from.nodes)
      for (std::size_t i = 0; i < reader.args.size(); ++i)
        if (reader.args[i] == id && covers(reader.kind)) {
          read = true;
          if (s.kind == slot_kind::constant && is_matrix_operand(reader.kind, i)) s.kind = slot_kind::weight;
        }
    if (s.kind == slot_kind::weight) {
      const weight_type as = types.type_of(n.name);
      s.type = as.type;
      s.block = as.block;
    }
    return (read || covers(n.kind)) && s.type != dtype::f32;
  }

  constexpr text<47> slot_name(const node& n) const {
    text<47> name{n.name.view()};
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
      if (slotted) {
        const bool shares = row(n).layout_only && slot_of[n.args[0]] >= 0;
        s.name = slot_name(n);
        slot_of[i] = shares ? slot_of[n.args[0]] : static_cast<std::int16_t>(to.slots.size());
        if (!shares && !to.slots.push_back(s))
          return to.value.error = {why::graph_is_full, n.kind, n.name.view(), "96 slots", "more"}, void();
      }
      for (node_id& a : n.args) a = moved[a];
      if (slotted && s.kind != slot_kind::activation) {  // constants are stored as codes
        n.type.type = n.attr.type.type = s.type;
        moved[i] = pair_with(b.append(n), slot_of[i], false, n);
      } else {
        const node_id plain = b.append(n);
        moved[i] = slotted ? pair_with(plain, slot_of[i], true, n) : plain;
      }
    }
    for (const graph_output& o : from.outputs) b.output(o.name, moved[o.id]);
  }

  constexpr node_id pair_with(node_id x, std::int16_t index, bool with_quantize, const node& origin) {
    b.module = origin.name;
    const auto add = [&](op kind, node_id arg, const attributes& attr) {
      const node_id id = b.add(kind, {{arg}, 1}, attr);
      if (id != no_node) b[id].slot = index;
      return id;
    };
    if (with_quantize)
      x = add(op::quantize, x, {.value = 0, .ints = {}, .type = {to.slots[static_cast<std::size_t>(index)].type, {}}});
    return add(op::dequantize, x, {});
  }
};

}  // namespace detail

/// Counts the edges of covered operators (of a scheme without activation types: their matrices), and those among them
/// that carry quantized values. With `first_gap` the first edge without a slot is recorded as a problem. This looks at a
/// finished graph and knows nothing of how it was made.
template <std::size_t Capacity, class Covers>
constexpr coverage count_coverage(const graph<Capacity>& g, placement types, Covers covers,
                                  problem* first_gap = nullptr) {
  coverage c;
  const auto edge = [&](bool has_slot, const node& n) {
    ++c.total;
    if (has_slot)
      ++c.covered;
    else if (first_gap != nullptr && first_gap->ok())
      *first_gap = {why::edge_has_no_quantization_slot, n.kind, n.name.view(), "quantize/dequantize", "a float edge"};
  };
  for (const node& reader : g.nodes)
    for (std::size_t i = 0; i < reader.args.size(); ++i) {
      const node& made = g[reader.args[i]];
      if (made.type.type != dtype::f32 || !(covers(reader.kind) || covers(made.kind))) continue;
      if (detail::is_matrix_operand(reader.kind, i)
              ? made.kind == op::weight && types.type_of(made.name).type == dtype::f32  // an exception of the scheme
              : !types.quantizes_activations())
        continue;
      const node& boundary = reader.kind == op::quantize ? reader : made;
      edge((boundary.kind == op::quantize || boundary.kind == op::dequantize) && boundary.slot >= 0, reader);
    }
  for (const graph_output& o : g.outputs)
    if (types.quantizes_activations() && covers(g[o.id].kind) && g[o.id].type.type == dtype::f32) edge(false, g[o.id]);
  return c;
}

/// Puts quantize/dequantize pairs on every f32 value that an operator with `covers(op)` makes or reads, and turns the
/// constants among them into codes. The result's `error` names the first edge that stayed without, if any did.
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
