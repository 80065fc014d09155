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
  text<95> module{};
  /// Rule that new nodes are made by.
  text<31> rule{};

  /// Appends a node of an operator, given by its kind or its row, and returns its id; `no_node` after a problem.
  constexpr node_id add(op kind, const arguments& args, const attributes& attr = {}, std::string_view name = {}) {
    return add(row(kind), args, attr, name);
  }
  constexpr node_id add(const op_row& r, const arguments& args, const attributes& attr = {},
                        std::string_view name = {}) {
    node n;
    n.kind = r.kind;
    if (r.kind == op::custom) n.custom = &r;
    n.attr = attr;
    n.made_by = rule;
    if (name.empty()) name = module;
    n.name = name;
    if (n.name.size() != name.size())
      return fail(n, why::name_is_too_long, "at most 47 characters", text<31>{name.substr(47 - 20)});
    if (args.size() < static_cast<std::size_t>(r.min_args) || args.size() > static_cast<std::size_t>(r.max_args))
      return fail(n, why::wrong_number_of_arguments, text<31>{}.append(r.min_args),
                  text<31>{}.append(static_cast<long long>(args.size())));
    if (attr.type.dims.too_long)
      return fail(n, why::too_many_dimensions, text<31>{}.append(static_cast<long long>(max_rank)),
                  to_text<31>(attr.type.dims));
    inference in{attr};
    n.args = args;
    for (node_id a : args) {
      if (a == no_node) return no_node;  // follows from an earlier problem
      in.args.push_back(graph_[a].type);
    }
    r.infer(in);
    if (!in.error.ok()) return fail(n, in.error.what, in.error.expected, in.error.found);
    if (in.out.dims.too_long)
      return fail(n, why::too_many_dimensions, text<31>{}.append(static_cast<long long>(max_rank)),
                  to_text<31>(in.out.dims));
    if (r.state_arg >= 0)
      if (const node& state = graph_[args[static_cast<std::size_t>(r.state_arg)]]; state.kind != op::state)
        return fail(n, why::state_must_be_a_leaf, "state", qwq::name(state));
    n.type = in.out;
    return append(n);
  }

  /// Appends a node that has its type already.
  constexpr node_id append(const node& n) {
    if (graph_.size() == graph_.capacity)
      return fail(n, why::graph_is_full, text<31>{}.append(static_cast<long long>(graph_.capacity)), "more nodes");
    graph_[(*graph_.count)++] = n;
    return static_cast<node_id>(graph_.size() - 1);
  }

  /// Hands out a value under a name.
  constexpr void output(std::string_view name, node_id id) {
    if (id == no_node) return;
    if (name.size() > graph_output{}.name.capacity())
      fail(graph_[id], why::name_is_too_long, "at most 31 characters", text<31>{name.substr(20)});
    else if (!graph_.outputs->try_push_back({name, id}))
      fail(graph_[id], why::too_many_outputs, text<31>{}.append(static_cast<long long>(max_outputs)), text<31>{name});
  }

  /// Records a problem of a node.
  constexpr node_id fail(const node& n, why what, text<31> expected, text<31> found) {
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
  requires(std::derived_from<Rest, expr> && ...)
constexpr expr apply(const op_row& operation, const attributes& attr, expr first, Rest... rest) {
  arguments args{{first.id}, 1};
  const bool fits = (args.try_push_back(rest.id) && ...);
  if (!fits) {
    node n;
    n.kind = operation.kind;
    if (n.kind == op::custom) n.custom = &operation;
    n.name = first.b->module;
    const auto count = [](std::size_t i) { return text<31>{}.append(static_cast<long long>(i)); };
    return {first.b, first.b->fail(n, why::too_many_arguments, count(max_arguments), count(1 + sizeof...(rest)))};
  }
  return {first.b, first.b->add(operation, args, attr)};
}
template <class... Rest>
  requires(std::derived_from<Rest, expr> && ...)
constexpr expr apply(op kind, const attributes& attr, expr first, Rest... rest) {
  return apply(row(kind), attr, first, rest...);
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

/// The operator `Kind` as a function of patterns.
template <op Kind>
struct pattern_form {
  /// The pattern of the operator over patterns.
  template <class First, class... Rest>
    requires(!std::derived_from<First, expr>)
  constexpr auto operator()(const First& first, const Rest&... rest) const {
    return apply(row(Kind), attributes{}, first, rest...);
  }
};

/// The operator `Kind`, which has no attributes, as a function of values or of patterns.
template <op Kind>
struct operation : pattern_form<Kind> {
  using pattern_form<Kind>::operator();
  /// Adds the node.
  template <class... Rest>
  constexpr expr operator()(expr first, Rest... rest) const {
    return apply(row(Kind), attributes{}, first, rest...);
  }
};

constexpr expr operator+(expr a, expr b) { return apply(op::add, {}, a, b); }
constexpr expr operator*(expr a, expr b) { return apply(op::mul, {}, a, b); }
inline constexpr operation<op::neg> neg;
inline constexpr operation<op::exp> exp;
inline constexpr operation<op::tanh> tanh;
inline constexpr operation<op::rsqrt> rsqrt;
inline constexpr operation<op::sigmoid> sigmoid;
inline constexpr operation<op::softplus> softplus;
inline constexpr operation<op::silu> silu;
inline constexpr operation<op::gelu> gelu;
inline constexpr operation<op::gelu_tanh> gelu_tanh;
inline constexpr operation<op::select> select;
inline constexpr operation<op::mean> mean;
inline constexpr operation<op::softmax> softmax;
inline constexpr operation<op::lp_norm> lp_norm;
inline constexpr operation<op::linear> linear;
inline constexpr operation<op::matmul> matmul;
inline constexpr operation<op::conv1x1> conv1x1;
inline constexpr operation<op::swiglu> swiglu;
inline constexpr operation<op::linear_add> linear_add;
inline constexpr operation<op::gated_linear> gated_linear;
inline constexpr operation<op::expert_linear> expert_linear;
inline constexpr operation<op::weighted_sum> weighted_sum;
inline constexpr operation<op::embedding> embedding;
inline constexpr operation<op::rope> rope;
inline constexpr operation<op::kv_append> kv_append;
inline constexpr operation<op::causal_conv1d> causal_conv1d;
inline constexpr operation<op::delta_rule> delta_rule;
inline constexpr operation<op::fake_quant> fake_quant;

namespace detail {
/// Attributes that are one number.
constexpr attributes number(double value) { return {.value = value}; }
/// Axes count from 0, or from the end when they are negative; nodes hold them counted from 0.
constexpr std::int32_t axis_of(expr x, std::int32_t axis) {
  return axis < 0 ? axis + static_cast<std::int32_t>(x.dims().size()) : axis;
}
}  // namespace detail

// Operators with attributes: of values, the attributes follow the arguments.

/// rms_norm(x, w, eps): w * x / sqrt(mean(x^2) + eps) over the last axis.
inline constexpr struct rms_norm_function : pattern_form<op::rms_norm> {
  using pattern_form::operator();
  /// Adds the node.
  constexpr expr operator()(expr x, expr w, double eps) const {
    return apply(op::rms_norm, detail::number(eps), x, w);
  }
} rms_norm;
/// layer_norm(x, w, b, eps): w * (x - mean(x)) / sqrt(var(x) + eps) + b over the last axis.
inline constexpr struct layer_norm_function : pattern_form<op::layer_norm> {
  using pattern_form::operator();
  /// Adds the node.
  constexpr expr operator()(expr x, expr w, expr b, double eps) const {
    return apply(op::layer_norm, detail::number(eps), x, w, b);
  }
} layer_norm;
/// add_norm(a, b, gain, eps): a + b; result 0 is its rms_norm.
inline constexpr struct add_norm_function : pattern_form<op::add_norm> {
  using pattern_form::operator();
  /// Adds the node.
  constexpr expr operator()(expr a, expr b, expr gain, double eps) const {
    return apply(op::add_norm, detail::number(eps), a, b, gain);
  }
} add_norm;
/// norm_linear(x, gain, weights, eps): rms_norm(x, gain, eps); result i is its product with the i-th weight.
inline constexpr struct norm_linear_function : pattern_form<op::norm_linear> {
  using pattern_form::operator();
  /// Adds the node.
  constexpr expr operator()(expr x, expr gain, const arguments& weights, double eps) const {
    arguments args{{x.id, gain.id}, 2};
    for (const node_id w : weights) args.push_back(w);
    return {x.b, x.b->add(op::norm_linear, args, detail::number(eps))};
  }
} norm_linear;
/// norm_gated_linear(x, gain, gate, up, eps): the norm; result 0 is gated_linear of it.
inline constexpr struct norm_gated_linear_function : pattern_form<op::norm_gated_linear> {
  using pattern_form::operator();
  /// Adds the node.
  constexpr expr operator()(expr x, expr gain, expr gate, expr up, double eps) const {
    return apply(op::norm_gated_linear, detail::number(eps), x, gain, gate, up);
  }
} norm_gated_linear;
/// norm_rope(x, w, cos, sin, eps): rope(rms_norm(x, w, eps), cos, sin).
inline constexpr struct norm_rope_function : pattern_form<op::norm_rope> {
  using pattern_form::operator();
  /// Adds the node.
  constexpr expr operator()(expr x, expr w, expr cos, expr sin, double eps) const {
    return apply(op::norm_rope, detail::number(eps), x, w, cos, sin);
  }
} norm_rope;
/// top_k(x, k): the k largest values of the last axis, descending; result 0 is their indices, i32.
inline constexpr struct top_k_function : pattern_form<op::top_k> {
  using pattern_form::operator();
  /// Adds the node.
  constexpr expr operator()(expr x, std::int32_t k) const {
    return apply(op::top_k, {.value = 0, .ints = {{k}, 1}}, x);
  }
} top_k;
/// attention(q, keys, values, last_position, scale): causal attention over a cache.
inline constexpr struct attention_function : pattern_form<op::attention> {
  using pattern_form::operator();
  /// Adds the node.
  constexpr expr operator()(expr q, expr keys, expr values, expr last_position, double scale) const {
    return apply(op::attention, detail::number(scale), q, keys, values, last_position);
  }
} attention;
/// full_attention(q, k, v, segments, scale): rows of a segment see each other.
inline constexpr struct full_attention_function : pattern_form<op::full_attention> {
  using pattern_form::operator();
  /// Adds the node.
  constexpr expr operator()(expr q, expr k, expr v, expr segments, double scale) const {
    return apply(op::full_attention, detail::number(scale), q, k, v, segments);
  }
} full_attention;
/// reshape(x, dims): the same elements in another shape.
inline constexpr struct reshape_function : pattern_form<op::reshape> {
  using pattern_form::operator();
  /// Adds the node.
  constexpr expr operator()(expr x, const shape& dims) const {
    return apply(op::reshape, {.value = 0, .ints = {}, .type = {dtype::f32, dims}}, x);
  }
} reshape;
/// transpose(x, perm): axis i of the result is axis perm[i] of x.
inline constexpr struct transpose_function : pattern_form<op::transpose> {
  using pattern_form::operator();
  /// Adds the node.
  constexpr expr operator()(expr x, const fixed_vector<std::int32_t, 5>& perm) const {
    return apply(op::transpose, {.value = 0, .ints = perm}, x);
  }
} transpose;
/// concat(a, b, axis): b after a; the axis counts from the end when it is negative.
inline constexpr struct concat_function : pattern_form<op::concat> {
  using pattern_form::operator();
  /// Adds the node.
  constexpr expr operator()(expr a, expr b, std::int32_t axis = -1) const {
    return apply(op::concat, {.value = 0, .ints = {{detail::axis_of(a, axis)}, 1}}, a, b);
  }
} concat;
/// slice(x, begin, end, axis): elements [begin, end); the axis counts from the end when it is negative.
inline constexpr struct slice_function : pattern_form<op::slice> {
  using pattern_form::operator();
  /// Adds the node.
  constexpr expr operator()(expr x, std::int32_t begin, std::int32_t end, std::int32_t axis = -1) const {
    return apply(op::slice, {.value = 0, .ints = {{begin, end, detail::axis_of(x, axis)}, 3}}, x);
  }
} slice;
/// cast(x, type): the same values as elements of another type.
inline constexpr struct cast_function : pattern_form<op::cast> {
  using pattern_form::operator();
  /// Adds the node.
  constexpr expr operator()(expr x, dtype to) const {
    return apply(op::cast, {.value = 0, .ints = {}, .type = {to, {}}}, x);
  }
} cast;
/// table_rows(table, last_position, rows): the rows of the tokens of a run.
inline constexpr struct table_rows_function : pattern_form<op::table_rows> {
  using pattern_form::operator();
  /// Adds the node.
  constexpr expr operator()(expr table, expr last_position, const dim& rows) const {
    const shape t = table.dims();
    shape dims{1, rows, t.empty() ? dim{} : t.last()};
    return apply(op::table_rows, {.value = 0, .ints = {}, .type = {dtype::f32, dims}}, table, last_position);
  }
} table_rows;
/// result(producer, index, type): one result of a node that has several.
inline constexpr struct result_function : pattern_form<op::result> {
  using pattern_form::operator();
  /// Adds the node.
  constexpr expr operator()(expr producer, std::int32_t index, const tensor_type& type) const {
    return apply(op::result, {.value = 0, .ints = {{index}, 1}, .type = type}, producer);
  }
} result;

}  // namespace qwq
