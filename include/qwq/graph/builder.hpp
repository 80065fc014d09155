// SPDX-License-Identifier: Apache-2.0
// Defines `builder`, which appends type-checked nodes, `expr`, a value in a graph, and one function per operator.
#pragma once

#include <concepts>
#include <string_view>

#include "qwq/graph/graph.hpp"

namespace qwq {

/// Appends nodes to a graph and infers their types. The first problem is kept in the graph's `error`; later problems
/// are dropped, because they usually follow from the first.
class builder {
 public:
  constexpr explicit builder(graph_ref g) : graph_(g) {}  ///< Appends to `g`.

  /// Module that new nodes belong to ("self_attn.q_proj"); shown in traces, messages and emitted names. A node name
  /// holds at most 47 characters; a longer module is a problem of the node.
  fixed_string<95> module{};
  /// Rule that creates new nodes; empty outside of rewrites.
  fixed_string<31> rule{};

  /// Appends a node of a library operator and returns its id, or `no_node` if the node has a problem. An empty `name`
  /// means `module`.
  constexpr node_id add(op kind, const arguments& args, const attributes& attr = {}, std::string_view name = {}) {
    return add(schema(kind), args, attr, name);
  }
  /// Appends a node of any operator, custom ones included, given by its schema.
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

  /// Appends a node whose type is already set. Returns `no_node` if the graph is full.
  constexpr node_id append(const node& n) {
    if (graph_.size() == graph_.capacity)
      return fail(n, error_code::graph_is_full, fixed_string<31>{}.append(static_cast<long long>(graph_.capacity)),
                  "more nodes");
    graph_[(*graph_.count)++] = n;
    return static_cast<node_id>(graph_.size() - 1);
  }

  /// Adds a named output. Does nothing if `id` is `no_node`.
  constexpr void output(std::string_view name, node_id id) {
    if (id == no_node) return;
    if (name.size() > graph_output{}.name.capacity())
      fail(graph_[id], error_code::name_is_too_long, "at most 31 characters", fixed_string<31>{name.substr(20)});
    else if (!graph_.outputs->try_push_back({name, id}))
      fail(graph_[id], error_code::too_many_outputs, fixed_string<31>{}.append(static_cast<long long>(max_outputs)),
           fixed_string<31>{name});
  }

  /// Records a problem of node `n`. Returns `no_node`.
  constexpr node_id fail(const node& n, error_code what, fixed_string<31> expected, fixed_string<31> found) {
    graph_.fail({what, n.kind, where(n).view(), expected, found});
    return no_node;
  }

  constexpr const graph_ref& target() const { return graph_; }         ///< The graph under construction.
  constexpr node& operator[](node_id id) const { return graph_[id]; }  ///< The node with this id.

 private:
  graph_ref graph_;
};

/// A value in a graph under construction.
struct expr {
  builder* b = nullptr;  ///< Builder of the graph.
  node_id id = no_node;  ///< Node that computes the value; `no_node` after a problem.

  constexpr bool ok() const { return id != no_node; }  ///< False after a problem.
  /// The node that computes the value; a default node after a problem.
  constexpr node definition() const { return ok() ? (*b)[id] : node{}; }
  /// Shape of the value; empty after a problem.
  constexpr shape dims() const { return definition().type.dims; }
};

/// Appends the node `operation(first, rest...)` to the graph of its arguments and returns its value.
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
/// The same for a library operator, given by its kind.
template <class... Rest>
requires(std::derived_from<Rest, expr>&&...) constexpr expr
    apply(op kind, const attributes& attr, expr first, Rest... rest) {
  return apply(schema(kind), attr, first, rest...);
}

/// Appends a leaf (`input`, `weight`, `splat` or a RoPE table) of the given type. `value` is its attribute: multiplier,
/// element value or theta.
constexpr expr leaf(builder& b, op kind, std::string_view name, const tensor_type& type, double value = 1) {
  return {&b, b.add(kind, {}, {.value = value, .type = type}, name)};
}

/// Appends a copy of leaf `of` with another type: same name, multiplier, offset and role. Rules create leaves with this
/// function so that no property of the original is lost.
constexpr expr leaf_like(builder& b, const node& of, const tensor_type& type) {
  node n = of;
  n.type = n.attr.type = type;
  n.made_by = b.rule;
  return {&b, b.append(n)};
}

/// Appends a leaf for a checkpoint tensor with a role. The graph reads stored + offset.
constexpr expr weight_leaf(builder& b, std::string_view name, const tensor_type& type, role r, double offset = 0) {
  const expr w{&b, b.add(op::weight, {}, {.value = 1, .ints = {}, .type = type, .offset = offset}, name)};
  if (w.ok()) b[w.id].weight_role = r;
  return w;
}

/// Appends a leaf for a state that persists between runs; see `state_update`.
constexpr expr state(builder& b, std::string_view name, const tensor_type& type, state_update update) {
  return {&b, b.add(op::state, {}, {.value = 0, .ints = {{static_cast<std::int32_t>(update)}, 1}, .type = type}, name)};
}
/// How runs update a state leaf.
constexpr state_update update_of(const node& state) { return static_cast<state_update>(state.attr.ints[0]); }

// Each operator is one function for values and patterns: applied to values (`expr`) it appends a node to their graph;
// applied to patterns (rewrite/pattern.hpp) it matches such a node. Shapes and formulas are in op.hpp.

/// True if operators apply to `V`: for `expr` and classes derived from it. rewrite/pattern.hpp adds patterns.
template <class V>
inline constexpr bool is_graph_operand = std::derived_from<V, expr>;
/// A type that operators apply to: a value or a pattern.
template <class V>
concept graph_operand = is_graph_operand<V>;
/// A pattern: an operand that is not a value.
template <class V>
concept graph_pattern = graph_operand<V> && !std::derived_from<V, expr>;

/// a + b, with broadcasting.
constexpr expr operator+(expr a, expr b) { return apply(op::add, {}, a, b); }
/// a * b elementwise, with broadcasting.
constexpr expr operator*(expr a, expr b) { return apply(op::mul, {}, a, b); }

// Operators without attributes.

/// neg(x): -x.
template <graph_operand... V>
constexpr auto neg(const V&... v) {
  return apply(op::neg, {}, v...);
}
/// exp(x): e^x.
template <graph_operand... V>
constexpr auto exp(const V&... v) {
  return apply(op::exp, {}, v...);
}
/// tanh(x): hyperbolic tangent.
template <graph_operand... V>
constexpr auto tanh(const V&... v) {
  return apply(op::tanh, {}, v...);
}
/// rsqrt(x): 1 / sqrt(x).
template <graph_operand... V>
constexpr auto rsqrt(const V&... v) {
  return apply(op::rsqrt, {}, v...);
}
/// sigmoid(x): 1 / (1 + e^-x).
template <graph_operand... V>
constexpr auto sigmoid(const V&... v) {
  return apply(op::sigmoid, {}, v...);
}
/// softplus(x): log(1 + e^x).
template <graph_operand... V>
constexpr auto softplus(const V&... v) {
  return apply(op::softplus, {}, v...);
}
/// silu(x): x * sigmoid(x).
template <graph_operand... V>
constexpr auto silu(const V&... v) {
  return apply(op::silu, {}, v...);
}
/// gelu(x): x * (1 + erf(x / sqrt(2))) / 2.
template <graph_operand... V>
constexpr auto gelu(const V&... v) {
  return apply(op::gelu, {}, v...);
}
/// gelu_tanh(x): tanh approximation of gelu.
template <graph_operand... V>
constexpr auto gelu_tanh(const V&... v) {
  return apply(op::gelu_tanh, {}, v...);
}
/// select(mask, a, b): rows of a where the mask is not 0, else rows of b.
template <graph_operand... V>
constexpr auto select(const V&... v) {
  return apply(op::select, {}, v...);
}
/// mean(x): mean over the last axis, which stays with extent 1.
template <graph_operand... V>
constexpr auto mean(const V&... v) {
  return apply(op::mean, {}, v...);
}
/// softmax(x): e^x / sum(e^x) over the last axis.
template <graph_operand... V>
constexpr auto softmax(const V&... v) {
  return apply(op::softmax, {}, v...);
}
/// lp_norm(x): x / ||x||_2 over the last axis.
template <graph_operand... V>
constexpr auto lp_norm(const V&... v) {
  return apply(op::lp_norm, {}, v...);
}
/// linear(x, w) or linear(x, w, bias): x w^T + bias.
template <graph_operand... V>
constexpr auto linear(const V&... v) {
  return apply(op::linear, {}, v...);
}
/// matmul(x, y): batched matrix product.
template <graph_operand... V>
constexpr auto matmul(const V&... v) {
  return apply(op::matmul, {}, v...);
}
/// conv1x1(x, w): 1x1 convolution of x [1,K,1,S] with w [N,K,1,1].
template <graph_operand... V>
constexpr auto conv1x1(const V&... v) {
  return apply(op::conv1x1, {}, v...);
}
/// swiglu(gate, up): silu(gate) * up.
template <graph_operand... V>
constexpr auto swiglu(const V&... v) {
  return apply(op::swiglu, {}, v...);
}
/// linear_add(x, w, residual): linear(x, w) + residual.
template <graph_operand... V>
constexpr auto linear_add(const V&... v) {
  return apply(op::linear_add, {}, v...);
}
/// linear_swiglu(x, gate, up): swiglu(linear(x, gate), linear(x, up)).
template <graph_operand... V>
constexpr auto linear_swiglu(const V&... v) {
  return apply(op::linear_swiglu, {}, v...);
}
/// expert_linear(x, experts, w): each row times the matrix of its expert.
template <graph_operand... V>
constexpr auto expert_linear(const V&... v) {
  return apply(op::expert_linear, {}, v...);
}
/// weighted_sum(x, weights): sum over the experts of a token.
template <graph_operand... V>
constexpr auto weighted_sum(const V&... v) {
  return apply(op::weighted_sum, {}, v...);
}
/// embedding(table, ids): rows of the table.
template <graph_operand... V>
constexpr auto embedding(const V&... v) {
  return apply(op::embedding, {}, v...);
}
/// rope(x, cos, sin): half-split rotary embedding.
template <graph_operand... V>
constexpr auto rope(const V&... v) {
  return apply(op::rope, {}, v...);
}
/// kv_cache_update(state, x, last_position): the cache with the rows of x.
template <graph_operand... V>
constexpr auto kv_cache_update(const V&... v) {
  return apply(op::kv_cache_update, {}, v...);
}
/// causal_conv1d(u, w, state): depthwise convolution; result 0 is the state after the run.
template <graph_operand... V>
constexpr auto causal_conv1d(const V&... v) {
  return apply(op::causal_conv1d, {}, v...);
}
/// delta_rule(q, k, v, decay, beta, state): gated delta rule; result 0 is the state after the run.
template <graph_operand... V>
constexpr auto delta_rule(const V&... v) {
  return apply(op::delta_rule, {}, v...);
}
/// fake_quant(x) or fake_quant(x, experts): dequantize(quantize(x)) with the node's slot.
template <graph_operand... V>
constexpr auto fake_quant(const V&... v) {
  return apply(op::fake_quant, {}, v...);
}

namespace detail {
/// Attributes with only `value` set.
constexpr attributes number(double value) { return {.value = value}; }
/// Axis as nodes store it: counted from 0. Negative axes count from the end.
constexpr std::int32_t axis_of(expr x, std::int32_t axis) {
  return axis < 0 ? axis + static_cast<std::int32_t>(x.dims().size()) : axis;
}
}  // namespace detail

// Operators with attributes. For values, the attributes follow the arguments; patterns match any attributes.

/// rms_norm(x, w, eps): w * x / sqrt(mean(x^2) + eps) over the last axis.
constexpr expr rms_norm(expr x, expr w, double eps) { return apply(op::rms_norm, detail::number(eps), x, w); }
/// Pattern of rms_norm(x, w), for any eps.
template <graph_pattern... P>
constexpr auto rms_norm(const P&... p) {
  return apply(op::rms_norm, {}, p...);
}
/// layer_norm(x, w, b, eps): w * (x - mean(x)) / sqrt(var(x) + eps) + b over the last axis.
constexpr expr layer_norm(expr x, expr w, expr b, double eps) {
  return apply(op::layer_norm, detail::number(eps), x, w, b);
}
/// Pattern of layer_norm(x, w, b), for any eps.
template <graph_pattern... P>
constexpr auto layer_norm(const P&... p) {
  return apply(op::layer_norm, {}, p...);
}
/// add_norm(a, b, gain, eps): a + b; result 0 is rms_norm(a + b, gain, eps).
constexpr expr add_norm(expr a, expr b, expr gain, double eps) {
  return apply(op::add_norm, detail::number(eps), a, b, gain);
}
/// Pattern of add_norm(a, b, gain), for any eps.
template <graph_pattern... P>
constexpr auto add_norm(const P&... p) {
  return apply(op::add_norm, {}, p...);
}
/// norm_linear(x, gain, weights, eps): n = rms_norm(x, gain, eps); result i is linear(n, weights[i]).
constexpr expr norm_linear(expr x, expr gain, const arguments& weights, double eps) {
  arguments args{{x.id, gain.id}, 2};
  for (const node_id w : weights) args.push_back(w);
  return {x.b, x.b->add(op::norm_linear, args, detail::number(eps))};
}
/// Pattern of norm_linear(x, gain, weights...), for any eps.
template <graph_pattern... P>
constexpr auto norm_linear(const P&... p) {
  return apply(op::norm_linear, {}, p...);
}
/// norm_linear_swiglu(x, gain, gate, up, eps): n = rms_norm(x, gain, eps); result 0 is linear_swiglu(n, gate, up).
constexpr expr norm_linear_swiglu(expr x, expr gain, expr gate, expr up, double eps) {
  return apply(op::norm_linear_swiglu, detail::number(eps), x, gain, gate, up);
}
/// Pattern of norm_linear_swiglu(x, gain, gate, up), for any eps.
template <graph_pattern... P>
constexpr auto norm_linear_swiglu(const P&... p) {
  return apply(op::norm_linear_swiglu, {}, p...);
}
/// norm_rope(x, w, cos, sin, eps): rope(rms_norm(x, w, eps), cos, sin).
constexpr expr norm_rope(expr x, expr w, expr cos, expr sin, double eps) {
  return apply(op::norm_rope, detail::number(eps), x, w, cos, sin);
}
/// Pattern of norm_rope(x, w, cos, sin), for any eps.
template <graph_pattern... P>
constexpr auto norm_rope(const P&... p) {
  return apply(op::norm_rope, {}, p...);
}
/// top_k(x, k): the k largest values of the last axis, descending; result 0 is their indices, i32.
constexpr expr top_k(expr x, std::int32_t k) { return apply(op::top_k, {.value = 0, .ints = {{k}, 1}}, x); }
/// Pattern of top_k(x), for any k.
template <graph_pattern... P>
constexpr auto top_k(const P&... p) {
  return apply(op::top_k, {}, p...);
}
/// attention(q, keys, values, last_position, scale): causal attention over a cache.
constexpr expr attention(expr q, expr keys, expr values, expr last_position, double scale) {
  return apply(op::attention, detail::number(scale), q, keys, values, last_position);
}
/// Pattern of attention(q, keys, values, last_position), for any scale.
template <graph_pattern... P>
constexpr auto attention(const P&... p) {
  return apply(op::attention, {}, p...);
}
/// full_attention(q, k, v, segments, scale): attention among rows of the same segment.
constexpr expr full_attention(expr q, expr k, expr v, expr segments, double scale) {
  return apply(op::full_attention, detail::number(scale), q, k, v, segments);
}
/// Pattern of full_attention(q, k, v, segments), for any scale.
template <graph_pattern... P>
constexpr auto full_attention(const P&... p) {
  return apply(op::full_attention, {}, p...);
}
/// reshape(x, dims): the same elements in another shape.
constexpr expr reshape(expr x, const shape& dims) {
  return apply(op::reshape, {.value = 0, .ints = {}, .type = {dtype::f32, dims}}, x);
}
/// Pattern of reshape(x), to any shape.
template <graph_pattern... P>
constexpr auto reshape(const P&... p) {
  return apply(op::reshape, {}, p...);
}
/// transpose(x, perm): axis i of the result is axis perm[i] of x.
constexpr expr transpose(expr x, const fixed_vector<std::int32_t, 5>& perm) {
  return apply(op::transpose, {.value = 0, .ints = perm}, x);
}
/// Pattern of transpose(x), for any permutation.
template <graph_pattern... P>
constexpr auto transpose(const P&... p) {
  return apply(op::transpose, {}, p...);
}
/// concat(a, b, axis): b after a along an axis; a negative axis counts from the end.
constexpr expr concat(expr a, expr b, std::int32_t axis = -1) {
  return apply(op::concat, {.value = 0, .ints = {{detail::axis_of(a, axis)}, 1}}, a, b);
}
/// Pattern of concat(a, b), along any axis.
template <graph_pattern... P>
constexpr auto concat(const P&... p) {
  return apply(op::concat, {}, p...);
}
/// slice(x, begin, end, axis): elements [begin, end) of an axis; a negative axis counts from the end.
constexpr expr slice(expr x, std::int32_t begin, std::int32_t end, std::int32_t axis = -1) {
  return apply(op::slice, {.value = 0, .ints = {{begin, end, detail::axis_of(x, axis)}, 3}}, x);
}
/// Pattern of slice(x), for any range and axis.
template <graph_pattern... P>
constexpr auto slice(const P&... p) {
  return apply(op::slice, {}, p...);
}
/// cast(x, type): the values of x converted to another element type.
constexpr expr cast(expr x, dtype to) { return apply(op::cast, {.value = 0, .ints = {}, .type = {to, {}}}, x); }
/// Pattern of cast(x), to any element type.
template <graph_pattern... P>
constexpr auto cast(const P&... p) {
  return apply(op::cast, {}, p...);
}
/// table_rows(table, last_position, rows): rows of the table at the positions of the run's tokens.
constexpr expr table_rows(expr table, expr last_position, const dim& rows) {
  const shape t = table.dims();
  shape dims{1, rows, t.empty() ? dim{} : t.last()};
  return apply(op::table_rows, {.value = 0, .ints = {}, .type = {dtype::f32, dims}}, table, last_position);
}
/// Pattern of table_rows(table, last_position).
template <graph_pattern... P>
constexpr auto table_rows(const P&... p) {
  return apply(op::table_rows, {}, p...);
}
/// get_tuple_element(producer, index, type): one result of a node that has several.
constexpr expr get_tuple_element(expr producer, std::int32_t index, const tensor_type& type) {
  return apply(op::get_tuple_element, {.value = 0, .ints = {{index}, 1}, .type = type}, producer);
}
/// Pattern of get_tuple_element(producer), for any index.
template <graph_pattern... P>
constexpr auto get_tuple_element(const P&... p) {
  return apply(op::get_tuple_element, {}, p...);
}

}  // namespace qwq
