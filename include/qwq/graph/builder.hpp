// SPDX-License-Identifier: Apache-2.0
// Defines `builder`, which checks every node when it is added, and the operators as functions of values.
#pragma once

#include <concepts>
#include <string_view>

#include "qwq/graph/graph.hpp"

namespace qwq {

/// Appends checked nodes to a graph. The first problem is kept in the graph's `error`, later ones follow from it.
class builder {
 public:
  constexpr explicit builder(graph_ref g) : graph_(g) {}  ///< Appends to `g`.

  /// Module that new nodes belong to ("self_attn.q_proj"); shown in traces, messages and emitted names. Nodes take at
  /// most 47 characters of it, and a longer one is a problem of theirs.
  fixed_string<95> module{};
  /// Rule that new nodes are made by.
  fixed_string<31> rule{};

  /// Appends a node of an operator, given by its kind or its row, and returns its id; `no_node` after a problem.
  constexpr node_id add(op kind, const arguments& args, const attributes& attr = {}, std::string_view name = {}) {
    return add(schema(kind), args, attr, name);
  }
  constexpr node_id add(const op_schema& r, const arguments& args, const attributes& attr = {},
                        std::string_view name = {}) {
    node n;
    n.kind = r.kind;
    if (r.kind == op::custom) n.custom = &r;
    n.attr = attr;
    n.made_by = rule;
    if (name.empty()) name = module;
    n.name = name;
    if (n.name.size() != name.size())
      return fail(n, error_code::name_is_too_long, "at most 47 characters", fixed_string<31>{name.substr(47 - 20)});
    if (args.size() < static_cast<std::size_t>(r.min_args) || args.size() > static_cast<std::size_t>(r.max_args))
      return fail(n, error_code::wrong_number_of_arguments, fixed_string<31>{}.append(r.min_args),
                  fixed_string<31>{}.append(static_cast<long long>(args.size())));
    if (attr.type.dims.too_long)
      return fail(n, error_code::too_many_dimensions, fixed_string<31>{}.append(static_cast<long long>(max_rank)),
                  to_text<31>(attr.type.dims));
    type_inference in{attr};
    n.args = args;
    for (node_id a : args) {
      if (a == no_node) return no_node;  // follows from an earlier problem
      in.args.push_back(graph_[a].type);
    }
    r.infer(in);
    if (!in.error.ok()) return fail(n, in.error.what, in.error.expected, in.error.found);
    if (in.out.dims.too_long)
      return fail(n, error_code::too_many_dimensions, fixed_string<31>{}.append(static_cast<long long>(max_rank)),
                  to_text<31>(in.out.dims));
    if (r.state_arg >= 0)
      if (const node& state = graph_[args[static_cast<std::size_t>(r.state_arg)]]; state.kind != op::state)
        return fail(n, error_code::state_must_be_a_leaf, "state", qwq::name(state));
    n.type = in.out;
    return append(n);
  }

  /// Appends a node that has its type already.
  constexpr node_id append(const node& n) {
    if (graph_.size() == graph_.capacity)
      return fail(n, error_code::graph_is_full, fixed_string<31>{}.append(static_cast<long long>(graph_.capacity)),
                  "more nodes");
    graph_[(*graph_.count)++] = n;
    return static_cast<node_id>(graph_.size() - 1);
  }

  /// Hands out a value under a name.
  constexpr void output(std::string_view name, node_id id) {
    if (id == no_node) return;
    if (name.size() > graph_output{}.name.capacity())
      fail(graph_[id], error_code::name_is_too_long, "at most 31 characters", fixed_string<31>{name.substr(20)});
    else if (!graph_.outputs->try_push_back({name, id}))
      fail(graph_[id], error_code::too_many_outputs, fixed_string<31>{}.append(static_cast<long long>(max_outputs)),
           fixed_string<31>{name});
  }

  /// Records a problem of a node.
  constexpr node_id fail(const node& n, error_code what, fixed_string<31> expected, fixed_string<31> found) {
    graph_.fail({what, n.kind, where(n).view(), expected, found});
    return no_node;
  }

  constexpr const graph_ref& target() const { return graph_; }  ///< The graph that is built.
  constexpr node& operator[](node_id id) const { return graph_[id]; }

 private:
  graph_ref graph_;
};

/// A value in a graph under construction.
struct expr {
  builder* b = nullptr;  ///< Who builds the graph.
  node_id id = no_node;

  constexpr bool ok() const { return id != no_node; }
  /// The node that computes the value; an empty one after a problem.
  constexpr node definition() const { return ok() ? (*b)[id] : node{}; }
  /// Its shape; empty after a problem.
  constexpr shape dims() const { return definition().type.dims; }
};

/// Adds the node `operation(first, rest...)` to the graph of its arguments. The operator is given by its row or its
/// kind.
template <class... Rest>
requires(std::derived_from<Rest, expr>&&...) constexpr expr
    apply(const op_schema& operation, const attributes& attr, expr first, Rest... rest) {
  arguments args{{first.id}, 1};
  const bool fits = (args.try_push_back(rest.id) && ...);
  if (!fits) {
    node n;
    n.kind = operation.kind;
    if (n.kind == op::custom) n.custom = &operation;
    n.name = first.b->module;
    const auto count = [](std::size_t i) { return fixed_string<31>{}.append(static_cast<long long>(i)); };
    return {first.b,
            first.b->fail(n, error_code::too_many_arguments, count(max_arguments), count(1 + sizeof...(rest)))};
  }
  return {first.b, first.b->add(operation, args, attr)};
}
template <class... Rest>
requires(std::derived_from<Rest, expr>&&...) constexpr expr
    apply(op kind, const attributes& attr, expr first, Rest... rest) {
  return apply(schema(kind), attr, first, rest...);
}

/// A leaf: `input`, `weight`, `fill` or a RoPE table of the given type.
constexpr expr leaf(builder& b, op kind, std::string_view name, const tensor_type& type, double value = 1) {
  return {&b, b.add(kind, {}, {.value = value, .type = type}, name)};
}

/// A leaf that is like `of` but for its type: same name, multiplier, offset and role. Rules make leaves with this
/// function, so that nothing that a leaf says is lost.
constexpr expr leaf_like(builder& b, const node& of, const tensor_type& type) {
  node n = of;
  n.type = n.attr.type = type;
  n.made_by = b.rule;
  return {&b, b.append(n)};
}

/// A checkpoint tensor with a role; the graph reads stored + offset.
constexpr expr weight_leaf(builder& b, std::string_view name, const tensor_type& type, role r, double offset = 0) {
  const expr w{&b, b.add(op::weight, {}, {.value = 1, .ints = {}, .type = type, .offset = offset}, name)};
  if (w.ok()) b[w.id].weight_role = r;
  return w;
}

/// A state that lasts from run to run; see `state_update`.
constexpr expr state(builder& b, std::string_view name, const tensor_type& type, state_update update) {
  return {&b, b.add(op::state, {}, {.value = 0, .ints = {{static_cast<std::int32_t>(update)}, 1}, .type = type}, name)};
}
/// How runs change a state leaf.
constexpr state_update update_of(const node& state) { return static_cast<state_update>(state.attr.ints[0]); }

// The operators as functions of values (`expr`), which add a node to their graph, and of patterns
// (rewrite/pattern.hpp), which match one; signatures as in op.hpp.

/// What operators apply to: `expr` and what derives from it; rewrite/pattern.hpp adds patterns.
template <class V>
inline constexpr bool is_graph_operand = std::derived_from<V, expr>;
template <class V>
concept graph_operand = is_graph_operand<V>;
template <class V>
concept graph_pattern = graph_operand<V> && !std::derived_from<V, expr>;

constexpr expr operator+(expr a, expr b) { return apply(op::add, {}, a, b); }
constexpr expr operator*(expr a, expr b) { return apply(op::mul, {}, a, b); }

// Operators without attributes.

template <graph_operand... V>
constexpr auto neg(const V&... v) {
  return apply(op::neg, {}, v...);
}
template <graph_operand... V>
constexpr auto exp(const V&... v) {
  return apply(op::exp, {}, v...);
}
template <graph_operand... V>
constexpr auto tanh(const V&... v) {
  return apply(op::tanh, {}, v...);
}
template <graph_operand... V>
constexpr auto rsqrt(const V&... v) {
  return apply(op::rsqrt, {}, v...);
}
template <graph_operand... V>
constexpr auto sigmoid(const V&... v) {
  return apply(op::sigmoid, {}, v...);
}
template <graph_operand... V>
constexpr auto softplus(const V&... v) {
  return apply(op::softplus, {}, v...);
}
template <graph_operand... V>
constexpr auto silu(const V&... v) {
  return apply(op::silu, {}, v...);
}
template <graph_operand... V>
constexpr auto gelu(const V&... v) {
  return apply(op::gelu, {}, v...);
}
template <graph_operand... V>
constexpr auto gelu_tanh(const V&... v) {
  return apply(op::gelu_tanh, {}, v...);
}
template <graph_operand... V>
constexpr auto select(const V&... v) {
  return apply(op::select, {}, v...);
}
template <graph_operand... V>
constexpr auto mean(const V&... v) {
  return apply(op::mean, {}, v...);
}
template <graph_operand... V>
constexpr auto softmax(const V&... v) {
  return apply(op::softmax, {}, v...);
}
template <graph_operand... V>
constexpr auto lp_norm(const V&... v) {
  return apply(op::lp_norm, {}, v...);
}
template <graph_operand... V>
constexpr auto linear(const V&... v) {
  return apply(op::linear, {}, v...);
}
template <graph_operand... V>
constexpr auto matmul(const V&... v) {
  return apply(op::matmul, {}, v...);
}
template <graph_operand... V>
constexpr auto conv1x1(const V&... v) {
  return apply(op::conv1x1, {}, v...);
}
template <graph_operand... V>
constexpr auto swiglu(const V&... v) {
  return apply(op::swiglu, {}, v...);
}
template <graph_operand... V>
constexpr auto linear_add(const V&... v) {
  return apply(op::linear_add, {}, v...);
}
template <graph_operand... V>
constexpr auto linear_swiglu(const V&... v) {
  return apply(op::linear_swiglu, {}, v...);
}
template <graph_operand... V>
constexpr auto expert_linear(const V&... v) {
  return apply(op::expert_linear, {}, v...);
}
template <graph_operand... V>
constexpr auto weighted_sum(const V&... v) {
  return apply(op::weighted_sum, {}, v...);
}
template <graph_operand... V>
constexpr auto embedding(const V&... v) {
  return apply(op::embedding, {}, v...);
}
template <graph_operand... V>
constexpr auto rope(const V&... v) {
  return apply(op::rope, {}, v...);
}
template <graph_operand... V>
constexpr auto kv_cache_update(const V&... v) {
  return apply(op::kv_cache_update, {}, v...);
}
template <graph_operand... V>
constexpr auto causal_conv1d(const V&... v) {
  return apply(op::causal_conv1d, {}, v...);
}
template <graph_operand... V>
constexpr auto delta_rule(const V&... v) {
  return apply(op::delta_rule, {}, v...);
}
template <graph_operand... V>
constexpr auto fake_quant(const V&... v) {
  return apply(op::fake_quant, {}, v...);
}

namespace detail {
/// Attributes that are one number.
constexpr attributes number(double value) { return {.value = value}; }
/// Axes count from 0, or from the end when they are negative; nodes hold them counted from 0.
constexpr std::int32_t axis_of(expr x, std::int32_t axis) {
  return axis < 0 ? axis + static_cast<std::int32_t>(x.dims().size()) : axis;
}
}  // namespace detail

// Operators with attributes: of values, the attributes follow the arguments; patterns match any.

/// rms_norm(x, w, eps): w * x / sqrt(mean(x^2) + eps) over the last axis.
constexpr expr rms_norm(expr x, expr w, double eps) { return apply(op::rms_norm, detail::number(eps), x, w); }
template <graph_pattern... P>
constexpr auto rms_norm(const P&... p) {
  return apply(op::rms_norm, {}, p...);
}
/// layer_norm(x, w, b, eps): w * (x - mean(x)) / sqrt(var(x) + eps) + b over the last axis.
constexpr expr layer_norm(expr x, expr w, expr b, double eps) {
  return apply(op::layer_norm, detail::number(eps), x, w, b);
}
template <graph_pattern... P>
constexpr auto layer_norm(const P&... p) {
  return apply(op::layer_norm, {}, p...);
}
/// add_norm(a, b, gain, eps): a + b; result 0 is its rms_norm.
constexpr expr add_norm(expr a, expr b, expr gain, double eps) {
  return apply(op::add_norm, detail::number(eps), a, b, gain);
}
template <graph_pattern... P>
constexpr auto add_norm(const P&... p) {
  return apply(op::add_norm, {}, p...);
}
/// norm_linear(x, gain, weights, eps): rms_norm(x, gain, eps); result i is its product with the i-th weight.
constexpr expr norm_linear(expr x, expr gain, const arguments& weights, double eps) {
  arguments args{{x.id, gain.id}, 2};
  for (const node_id w : weights) args.push_back(w);
  return {x.b, x.b->add(op::norm_linear, args, detail::number(eps))};
}
template <graph_pattern... P>
constexpr auto norm_linear(const P&... p) {
  return apply(op::norm_linear, {}, p...);
}
/// norm_linear_swiglu(x, gain, gate, up, eps): the norm; result 0 is linear_swiglu of it.
constexpr expr norm_linear_swiglu(expr x, expr gain, expr gate, expr up, double eps) {
  return apply(op::norm_linear_swiglu, detail::number(eps), x, gain, gate, up);
}
template <graph_pattern... P>
constexpr auto norm_linear_swiglu(const P&... p) {
  return apply(op::norm_linear_swiglu, {}, p...);
}
/// norm_rope(x, w, cos, sin, eps): rope(rms_norm(x, w, eps), cos, sin).
constexpr expr norm_rope(expr x, expr w, expr cos, expr sin, double eps) {
  return apply(op::norm_rope, detail::number(eps), x, w, cos, sin);
}
template <graph_pattern... P>
constexpr auto norm_rope(const P&... p) {
  return apply(op::norm_rope, {}, p...);
}
/// top_k(x, k): the k largest values of the last axis, descending; result 0 is their indices, i32.
constexpr expr top_k(expr x, std::int32_t k) { return apply(op::top_k, {.value = 0, .ints = {{k}, 1}}, x); }
template <graph_pattern... P>
constexpr auto top_k(const P&... p) {
  return apply(op::top_k, {}, p...);
}
/// attention(q, keys, values, last_position, scale): causal attention over a cache.
constexpr expr attention(expr q, expr keys, expr values, expr last_position, double scale) {
  return apply(op::attention, detail::number(scale), q, keys, values, last_position);
}
template <graph_pattern... P>
constexpr auto attention(const P&... p) {
  return apply(op::attention, {}, p...);
}
/// full_attention(q, k, v, segments, scale): rows of a segment see each other.
constexpr expr full_attention(expr q, expr k, expr v, expr segments, double scale) {
  return apply(op::full_attention, detail::number(scale), q, k, v, segments);
}
template <graph_pattern... P>
constexpr auto full_attention(const P&... p) {
  return apply(op::full_attention, {}, p...);
}
/// reshape(x, dims): the same elements in another shape.
constexpr expr reshape(expr x, const shape& dims) {
  return apply(op::reshape, {.value = 0, .ints = {}, .type = {dtype::f32, dims}}, x);
}
template <graph_pattern... P>
constexpr auto reshape(const P&... p) {
  return apply(op::reshape, {}, p...);
}
/// transpose(x, perm): axis i of the result is axis perm[i] of x.
constexpr expr transpose(expr x, const fixed_vector<std::int32_t, 5>& perm) {
  return apply(op::transpose, {.value = 0, .ints = perm}, x);
}
template <graph_pattern... P>
constexpr auto transpose(const P&... p) {
  return apply(op::transpose, {}, p...);
}
/// concat(a, b, axis): b after a; the axis counts from the end when it is negative.
constexpr expr concat(expr a, expr b, std::int32_t axis = -1) {
  return apply(op::concat, {.value = 0, .ints = {{detail::axis_of(a, axis)}, 1}}, a, b);
}
template <graph_pattern... P>
constexpr auto concat(const P&... p) {
  return apply(op::concat, {}, p...);
}
/// slice(x, begin, end, axis): elements [begin, end); the axis counts from the end when it is negative.
constexpr expr slice(expr x, std::int32_t begin, std::int32_t end, std::int32_t axis = -1) {
  return apply(op::slice, {.value = 0, .ints = {{begin, end, detail::axis_of(x, axis)}, 3}}, x);
}
template <graph_pattern... P>
constexpr auto slice(const P&... p) {
  return apply(op::slice, {}, p...);
}
/// cast(x, type): the same values as elements of another type.
constexpr expr cast(expr x, dtype to) { return apply(op::cast, {.value = 0, .ints = {}, .type = {to, {}}}, x); }
template <graph_pattern... P>
constexpr auto cast(const P&... p) {
  return apply(op::cast, {}, p...);
}
/// table_rows(table, last_position, rows): the rows of the tokens of a run.
constexpr expr table_rows(expr table, expr last_position, const dim& rows) {
  const shape t = table.dims();
  shape dims{1, rows, t.empty() ? dim{} : t.last()};
  return apply(op::table_rows, {.value = 0, .ints = {}, .type = {dtype::f32, dims}}, table, last_position);
}
template <graph_pattern... P>
constexpr auto table_rows(const P&... p) {
  return apply(op::table_rows, {}, p...);
}
/// get_tuple_element(producer, index, type): one result of a node that has several.
constexpr expr get_tuple_element(expr producer, std::int32_t index, const tensor_type& type) {
  return apply(op::get_tuple_element, {.value = 0, .ints = {{index}, 1}, .type = type}, producer);
}
template <graph_pattern... P>
constexpr auto get_tuple_element(const P&... p) {
  return apply(op::get_tuple_element, {}, p...);
}

}  // namespace qwq
