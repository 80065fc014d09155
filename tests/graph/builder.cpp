// SPDX-License-Identifier: Apache-2.0
// The checks of the builder: what it records about a bad node, and which types it gives to good ones.
#include "qwq/graph/builder.hpp"

#include <doctest/doctest.h>

using namespace qwq;

namespace {

constexpr dim S{64, "sequence_length"};

constexpr tensor_type f32(const shape& dims) { return {dtype::f32, dims}; }
constexpr expr input(builder& b, const tensor_type& type) { return leaf(b, op::input, "x", type); }
constexpr expr input(builder& b, const shape& dims) { return input(b, f32(dims)); }
constexpr expr position(builder& b) { return input(b, {dtype::i32, {1, 1}}); }

/// What is recorded when `make(b)` adds nodes for the module "mlp".
template <class Make>
constexpr diagnostic recorded(Make make) {
  graph<24> g;
  builder b{g};
  b.module = "mlp";
  make(b);
  return g.error;
}

constexpr bool is(const diagnostic& p, error_code what, op kind, std::string_view expected, std::string_view found) {
  return p.what == what && p.kind == kind && p.where == "mlp" && p.expected == expected && p.found == found;
}

/// The type of `make(b)`; rank 0 after a problem.
template <class Make>
constexpr tensor_type type_of(Make make) {
  graph<24> g;
  builder b{g};
  const expr y = make(b);
  return g.error.ok() ? y.definition().type : tensor_type{dtype::f32, {}};
}

// Arity.
static_assert(is(recorded([](builder& b) {
                   apply(op::add, {}, input(b, {1, 8}));
                 }),
                 error_code::wrong_number_of_arguments, op::add, "2", "1"));
static_assert(is(recorded([](builder& b) {
                   const expr x = input(b, {1, 8});
                   apply(op::silu, {}, x, x, x);
                 }),
                 error_code::wrong_number_of_arguments, op::silu, "1", "3"));
static_assert(is(recorded([](builder& b) {
                   apply(op::concat, {}, input(b, {1, 8}));
                 }),
                 error_code::wrong_number_of_arguments, op::concat, "2", "1"));

// Shapes.
static_assert(is(recorded([](builder& b) {
                   (void)(input(b, {1, S, 8}) + input(b, {1, S, 6}));
                 }),
                 error_code::shapes_do_not_broadcast, op::add, "[1,sequence_length,8]", "[1,sequence_length,6]"));
static_assert(is(recorded([](builder& b) {
                   swiglu(input(b, {1, 8}), input(b, {1, 1}));
                 }),
                 error_code::shapes_do_not_broadcast, op::swiglu, "[1,8]", "[1,1]"));
static_assert(is(recorded([](builder& b) {
                   linear(input(b, {1, S, 8}), input(b, {4, 6}));
                 }),
                 error_code::x_and_weight_differ_in_columns, op::linear, "[1,sequence_length,8]", "[4,6]"));
static_assert(is(recorded([](builder& b) {
                   linear(input(b, {1, 8}), input(b, {4, 8, 1, 1}));
                 }),
                 error_code::rank_is_wrong, op::linear, "2", "[4,8,1,1]"));
static_assert(is(recorded([](builder& b) {
                   conv1x1(input(b, {1, 8, 1, S}), input(b, {4, 6, 1, 1}));
                 }),
                 error_code::x_and_weight_differ_in_columns, op::conv1x1, "[1,8,1,sequence_length]", "[4,6,1,1]"));
static_assert(is(recorded([](builder& b) {
                   conv1x1(input(b, {1, S, 8}), input(b, {4, 8, 1, 1}));
                 }),
                 error_code::rank_is_wrong, op::conv1x1, "4", "[1,sequence_length,8]"));
static_assert(is(recorded([](builder& b) {
                   rms_norm(input(b, {1, 8}), input(b, {6}), 1e-6);
                 }),
                 error_code::last_dimension_must_match, op::rms_norm, "[8]", "[6]"));
static_assert(is(recorded([](builder& b) {
                   reshape(input(b, {1, 8}), {2, 5});
                 }),
                 error_code::element_count_changes, op::reshape, "[1,8]", "[2,5]"));
static_assert(is(recorded([](builder& b) {
                   concat(input(b, {1, 8}), input(b, {2, 8}));
                 }),
                 error_code::shapes_do_not_broadcast, op::concat, "[1,8]", "[2,8]"));
static_assert(is(recorded([](builder& b) {
                   concat(input(b, {1, 8}), input(b, {2, 9}), 0);
                 }),
                 error_code::shapes_do_not_broadcast, op::concat, "[1,8]", "[1,9]"));
static_assert(is(recorded([](builder& b) {
                   concat(input(b, {1, 8}), input(b, {8}));
                 }),
                 error_code::rank_is_wrong, op::concat, "2", "[8]"));
static_assert(is(recorded([](builder& b) {
                   matmul(input(b, {2, 3, 8}), input(b, {2, 3, 8}));
                 }),
                 error_code::x_and_y_do_not_multiply, op::matmul, "[2,8,8]", "[2,3,8]"));
static_assert(is(recorded([](builder& b) {
                   matmul(input(b, {2, 3, 8}), input(b, {1, 8, 3}));
                 }),
                 error_code::x_and_y_do_not_multiply, op::matmul, "[2,8,3]", "[1,8,3]"));
static_assert(is(recorded([](builder& b) {
                   matmul(input(b, {2, 3, 8}), input(b, {8, 3}));
                 }),
                 error_code::rank_is_wrong, op::matmul, "3", "[8,3]"));
static_assert(is(recorded([](builder& b) {
                   embedding(input(b, {16, 8, 1}), input(b, {dtype::i64, {1, S}}));
                 }),
                 error_code::rank_is_wrong, op::embedding, "2", "[16,8,1]"));
static_assert(is(recorded([](builder& b) {
                   rope(input(b, {1, S, 2, 8}), input(b, {1, S, 4}), input(b, {1, S, 2}));
                 }),
                 error_code::last_dimension_must_match, op::rope, "[1,sequence_length,4]", "[1,sequence_length,2]"));
// More channels than a head has; another number of tokens.
static_assert(is(recorded([](builder& b) {
                   rope(input(b, {1, S, 2, 8}), input(b, {1, S, 5}), input(b, {1, S, 5}));
                 }),
                 error_code::last_dimension_must_match, op::rope, "[1,S,R/2] with R <= head_dim",
                 "[1,sequence_length,5]"));
static_assert(is(recorded([](builder& b) {
                   rope(input(b, {1, S, 2, 8}), input(b, {1, 3, 4}), input(b, {1, 3, 4}));
                 }),
                 error_code::last_dimension_must_match, op::rope, "[1,S,R/2] with R <= head_dim", "[1,3,4]"));
static_assert(is(recorded([](builder& b) {
                   table_rows(input(b, {32, 4, 1}), position(b), S);
                 }),
                 error_code::rank_is_wrong, op::table_rows, "2", "[32,4,1]"));
static_assert(is(recorded([](builder& b) {
                   norm_rope(input(b, {1, S, 2, 8}), input(b, {6}), input(b, {1, S, 4}), input(b, {1, S, 4}), 1);
                 }),
                 error_code::last_dimension_must_match, op::norm_rope, "[8]", "[6]"));
static_assert(is(recorded([](builder& b) {
                   norm_rope(input(b, {1, S, 2, 8}), input(b, {8}), input(b, {1, S, 4}), input(b, {1, S, 3}), 1);
                 }),
                 error_code::last_dimension_must_match, op::norm_rope, "[1,sequence_length,4]",
                 "[1,sequence_length,3]"));
static_assert(is(recorded([](builder& b) {
                   norm_linear(input(b, {1, 8}), input(b, {8}), {{input(b, {4, 8}).id, input(b, {4, 6}).id}, 2}, 1);
                 }),
                 error_code::x_and_weight_differ_in_columns, op::norm_linear, "[1,8]", "[4,6]"));
static_assert(is(recorded([](builder& b) {
                   norm_linear(input(b, {1, 8}), input(b, {6}), {{input(b, {4, 8}).id}, 1}, 1);
                 }),
                 error_code::last_dimension_must_match, op::norm_linear, "[8]", "[6]"));
static_assert(is(recorded([](builder& b) {
                   norm_linear_swiglu(input(b, {1, 8}), input(b, {8}), input(b, {4, 8}), input(b, {5, 8}), 1);
                 }),
                 error_code::shapes_do_not_broadcast, op::norm_linear_swiglu, "[4,8]", "[5,8]"));
static_assert(is(recorded([](builder& b) {
                   add_norm(input(b, {1, 8}), input(b, {8}), input(b, {8}), 1);
                 }),
                 error_code::shapes_do_not_broadcast, op::add_norm, "[1,8]", "[8]"));
static_assert(is(recorded([](builder& b) {
                   add_norm(input(b, {1, 8}), input(b, {1, 8}), input(b, {6}), 1);
                 }),
                 error_code::last_dimension_must_match, op::add_norm, "[8]", "[6]"));
static_assert(is(recorded([](builder& b) {
                   kv_cache_update(input(b, {1, 2, 32, 8}), input(b, {1, S, 3, 8}), position(b));
                 }),
                 error_code::last_dimension_must_match, op::kv_cache_update, "[1,sequence_length,2,8]",
                 "[1,sequence_length,3,8]"));
static_assert(is(recorded([](builder& b) {
                   const expr cache = input(b, {1, 2, 32, 8});
                   attention(input(b, {1, S, 5, 8}), cache, cache, position(b), 0.5);
                 }),
                 error_code::heads_do_not_divide, op::attention, "a multiple of 2", "5"));
static_assert(is(recorded([](builder& b) {
                   const expr cache = input(b, {1, 2, 32, 8});
                   attention(input(b, {1, S, 4, 6}), cache, cache, position(b), 0.5);
                 }),
                 error_code::last_dimension_must_match, op::attention, "[1,sequence_length,4,6]", "[1,2,32,8]"));

// Attributes.
static_assert(is(recorded([](builder& b) {
                   transpose(input(b, {1, S, 8}), {{0, 1}, 2});
                 }),
                 error_code::bad_attribute, op::transpose, "a permutation of the axes", "[1,sequence_length,8]"));
static_assert(is(recorded([](builder& b) {
                   transpose(input(b, {1, S, 8}), {{0, 1, 1}, 3});
                 }),
                 error_code::bad_attribute, op::transpose, "a permutation of the axes", "[1,sequence_length,8]"));
static_assert(is(recorded([](builder& b) {
                   transpose(input(b, {1, S, 8}), {{0, 1, 3}, 3});
                 }),
                 error_code::bad_attribute, op::transpose, "a permutation of the axes", "[1,sequence_length,8]"));
static_assert(is(recorded([](builder& b) { mean(input(b, shape{})); }), error_code::rank_is_wrong, op::mean,
                 "at least 1", "0"));
static_assert(is(recorded([](builder& b) {
                   slice(input(b, {1, 8}), 4, 9);
                 }),
                 error_code::bad_attribute, op::slice, "0 <= begin < end <= extent", "[1,8]"));
static_assert(is(recorded([](builder& b) {
                   slice(input(b, {1, 8}), 4, 4);
                 }),
                 error_code::bad_attribute, op::slice, "0 <= begin < end <= extent", "[1,8]"));
static_assert(is(recorded([](builder& b) {
                   slice(input(b, {1, 8}), 0, 2, 0);
                 }),
                 error_code::bad_attribute, op::slice, "0 <= begin < end <= extent", "[1,8]"));
static_assert(is(recorded([](builder& b) {
                   slice(input(b, {1, 8}), 0, 1, 2);
                 }),
                 error_code::bad_attribute, op::slice, "an axis of the argument", "[1,8]"));
static_assert(is(recorded([](builder& b) {
                   concat(input(b, {1, 8}), input(b, {1, 8}), -3);
                 }),
                 error_code::bad_attribute, op::concat, "an axis of the argument", "[1,8]"));
static_assert(is(recorded([](builder& b) { softmax(input(b, shape{})); }), error_code::rank_is_wrong, op::softmax,
                 "at least 1", "0"));

// Element types.
static_assert(is(recorded([](builder& b) {
                   silu(input(b, {dtype::i32, {1, 8}}));
                 }),
                 error_code::element_type_must_be_float, op::silu, "f32, f16 or bf16", "i32"));
static_assert(is(recorded([](builder& b) {
                   (void)(input(b, {1, 8}) * input(b, {dtype::f16, {1, 8}}));
                 }),
                 error_code::element_types_differ, op::mul, "f32", "f16"));
static_assert(is(recorded([](builder& b) {
                   kv_cache_update(input(b, {1, 2, 32, 8}), input(b, {1, S, 2, 8}), input(b, {dtype::i64, {1, 1}}));
                 }),
                 error_code::element_types_differ, op::kv_cache_update, "i32", "i64"));
static_assert(is(recorded([](builder& b) {
                   apply(op::dequantize, {}, input(b, {1, 8}));
                 }),
                 error_code::element_types_differ, op::dequantize, "integer codes", "f32"));
static_assert(is(recorded([](builder& b) {
                   apply(op::quantize, {}, input(b, {dtype::f16, {1, 8}}));
                 }),
                 error_code::element_types_differ, op::quantize, "f32", "f16"));

// The first problem is kept, wherever later ones come from, and names the module that was built when it happened.
static_assert(is(recorded([](builder& b) {
                   reshape(input(b, {1, 8}), {9});
                   b.module = "later";
                   linear(input(b, {1, 8}), input(b, {4, 6}));
                 }),
                 error_code::element_count_changes, op::reshape, "[1,8]", "[9]"));

// The sequence keeps its name.
static_assert(type_of([](builder& b) { return input(b, {1, S, 8}) + input(b, {8}); }) == f32({1, S, 8}));
static_assert(type_of([](builder& b) { return input(b, {8}) + input(b, {1, S, 8}); }) == f32({1, S, 8}));
static_assert(type_of([](builder& b) { return input(b, {1, S, 1}) * input(b, {1, 1, 8}); }) == f32({1, S, 8}));
static_assert(type_of([](builder& b) { return mean(input(b, {1, S, 8})); }) == f32({1, S, 1}));
static_assert(type_of([](builder& b) {
                return linear(input(b, {1, S, 8}), input(b, {dtype::bf16, {4, 8}}));
              }) == f32({1, S, 4}));
static_assert(type_of([](builder& b) {
                return conv1x1(input(b, {1, 8, 1, S}), input(b, {4, 8, 1, 1}));
              }) == f32({1, 4, 1, S}));
static_assert(type_of([](builder& b) { return reshape(input(b, {1, S, 8}), {1, S, 2, 4}); }) == f32({1, S, 2, 4}));
static_assert(type_of([](builder& b) {
                return transpose(input(b, {1, S, 2, 4}), {{0, 3, 2, 1}, 4});
              }) == f32({1, 4, 2, S}));
static_assert(type_of([](builder& b) { return concat(input(b, {1, S, 8}), input(b, {1, S, 3})); }) == f32({1, S, 11}));
static_assert(type_of([](builder& b) { return slice(input(b, {1, S, 8}), 2, 7); }) == f32({1, S, 5}));
static_assert(type_of([](builder& b) {
                return concat(input(b, {1, 4, 8}), input(b, {1, 3, 8}), 1);
              }) == f32({1, 7, 8}));
static_assert(type_of([](builder& b) { return slice(input(b, {5, S, 8}), 2, 5, 0); }) == f32({3, S, 8}));
static_assert(type_of([](builder& b) { return softmax(input(b, {1, S, 8})); }) == f32({1, S, 8}));
static_assert(type_of([](builder& b) { return matmul(input(b, {2, S, 8}), input(b, {2, 8, 5})); }) == f32({2, S, 5}));
static_assert(type_of([](builder& b) {
                return cast(input(b, {1, S, 8}), dtype::f16);
              }) == tensor_type{dtype::f16, {1, S, 8}});
static_assert(type_of([](builder& b) {
                return embedding(input(b, {16, 8}), input(b, {dtype::i64, {1, S}}));
              }) == f32({1, S, 8}));
static_assert(type_of([](builder& b) {
                const expr cache = input(b, {1, 2, 32, 8});
                return attention(input(b, {1, S, 4, 8}), cache, cache, position(b), 0.5);
              }) == f32({1, S, 4, 8}));
// The cache has its own positions, whatever the number of new rows.
constexpr dim P{32, "max_positions"};
static_assert(type_of([](builder& b) {
                const expr cache = state(b, "key", {dtype::f16, {1, 2, P, 8}}, state_update::append);
                return kv_cache_update(cache, input(b, {1, S, 2, 8}), position(b));
              }) == tensor_type{dtype::f16, {1, 2, P, 8}});

// A state is a leaf: an operator updates it in place.
static_assert(is(recorded([](builder& b) {
                   kv_cache_update(input(b, {1, 2, P, 8}), input(b, {1, S, 2, 8}), position(b));
                 }),
                 error_code::state_must_be_a_leaf, op::kv_cache_update, "state", "input"));

// Partial rotary, and a bias.
static_assert(type_of([](builder& b) {
                return rope(input(b, {1, S, 2, 8}), input(b, {1, S, 1}), input(b, {1, S, 1}));
              }) == f32({1, S, 2, 8}));
static_assert(type_of([](builder& b) {
                return linear(input(b, {1, S, 8}), input(b, {4, 8}), input(b, {4}));
              }) == f32({1, S, 4}));
static_assert(is(recorded([](builder& b) {
                   linear(input(b, {1, S, 8}), input(b, {4, 8}), input(b, {8}));
                 }),
                 error_code::last_dimension_must_match, op::linear, "[4]", "[8]"));

// A named extent keeps its name when something is put beside it.
constexpr dim window{67, "sequence_length", 3};
static_assert(type_of([](builder& b) {
                return concat(input(b, {1, 3, 8}), input(b, {1, S, 8}), 1);
              }) == f32({1, window, 8}));
static_assert(to_text(shape{1, window, 8}) == "[1,sequence_length+3,8]");
static_assert(recorded([](builder& b) {
                concat(input(b, {1, S, 8}), input(b, {1, S, 8}), 1);
              }).what == error_code::bad_attribute);
// At run time a named extent may be 1.
static_assert(type_of([](builder& b) { return slice(input(b, {1, window, 8}), 1, 4, 1); }) == f32({1, 3, 8}));
static_assert(recorded([](builder& b) { slice(input(b, {1, window, 8}), 1, 5, 1); }).what == error_code::bad_attribute);

// The operators of other families.
static_assert(type_of([](builder& b) { return top_k(softmax(input(b, {1, S, 8})), 2); }) == f32({1, S, 2}));
static_assert(is(recorded([](builder& b) {
                   top_k(input(b, {1, S, 8}), 9);
                 }),
                 error_code::bad_attribute, op::top_k, "1 <= k <= last extent", "[1,sequence_length,8]"));
static_assert(type_of([](builder& b) { return gelu_tanh(softplus(exp(input(b, {1, S, 8})))); }) == f32({1, S, 8}));
static_assert(type_of([](builder& b) {
                return layer_norm(input(b, {1, S, 8}), input(b, {8}), input(b, {8}), 1e-6);
              }) == f32({1, S, 8}));
constexpr expr chosen(builder& b) { return input(b, {dtype::i32, {1, S, 2}}); }
static_assert(type_of([](builder& b) {
                return expert_linear(input(b, {1, S, 8}), chosen(b), input(b, {4, 6, 8}));
              }) == f32({1, S, 2, 6}));
static_assert(type_of([](builder& b) {
                return expert_linear(input(b, {1, S, 2, 8}), chosen(b), input(b, {4, 6, 8}));
              }) == f32({1, S, 2, 6}));
static_assert(is(recorded([](builder& b) {
                   expert_linear(input(b, {1, S, 7}), chosen(b), input(b, {4, 6, 8}));
                 }),
                 error_code::x_and_weight_differ_in_columns, op::expert_linear, "[1,sequence_length,7]", "[4,6,8]"));
static_assert(type_of([](builder& b) {
                return weighted_sum(input(b, {1, S, 2, 8}), input(b, {1, S, 2}));
              }) == f32({1, S, 8}));
static_assert(type_of([](builder& b) {
                const expr seen = state(b, "conv", f32({1, 6, 3}), state_update::replace);
                return causal_conv1d(input(b, {1, S, 6}), input(b, {6, 4}), seen);
              }) == f32({1, S, 6}));
static_assert(type_of([](builder& b) {
                const expr m = state(b, "recurrent", f32({1, 4, 8, 5}), state_update::replace);
                const expr q = input(b, {1, S, 2, 8}), v = input(b, {1, S, 4, 5}), g = input(b, {1, S, 4});
                return delta_rule(q, q, v, g, g, m);
              }) == f32({1, S, 4, 5}));
static_assert(type_of([](builder& b) {
                const expr q = input(b, {1, S, 4, 5});
                return full_attention(q, q, q, input(b, {dtype::i32, {1, S}}), 0.5);
              }) == f32({1, S, 4, 5}));
static_assert(type_of([](builder& b) {
                return select(input(b, {dtype::i32, {1, S}}), input(b, {1, S, 8}), input(b, {1, S, 8}));
              }) == f32({1, S, 8}));

// What is too much is refused, and the node is named.
static_assert(is(recorded([](builder& b) {
                   reshape(input(b, {1, 2, 4}), {1, 1, 1, 2, 2, 2});
                 }),
                 error_code::too_many_dimensions, op::reshape, "5", "[1,1,1,2,2,...]"));
static_assert(recorded([](builder& b) { input(b, {1, 1, 1, 1, 1, 2}); }).what == error_code::too_many_dimensions);
constexpr std::string_view long_name = "a_module_whose_name_is_longer_than_what_a_node_has_room_for.weight";
static_assert(recorded([](builder& b) { leaf(b, op::weight, long_name, f32({8})); }).what ==
              error_code::name_is_too_long);
static_assert(recorded([](builder& b) {
                b.module = long_name;
                neg(leaf(b, op::input, "x", f32({8})));
              }).what == error_code::name_is_too_long);
static_assert([] {
  graph<32> g;
  builder b{g};
  const expr x = input(b, {8});
  for (std::size_t i = 0; i < max_outputs; ++i) b.output(fixed_string<31>{"y"}.append(static_cast<long long>(i)), x.id);
  const bool all_fit = g.error.ok();
  b.output("more", x.id);
  return all_fit && g.error.what == error_code::too_many_outputs && g.error.where == "x" && g.error.found == "more";
}());

/// gqa over 4 heads and 2 key/value heads of 8 channels; the queries have `columns`.
constexpr expr gqa(builder& b, std::int64_t columns) {
  const expr kv = input(b, {1, S, 16}), past = input(b, {1, 2, P, 8}), at = position(b), table = input(b, {32, 4});
  return apply(op::gqa, {.value = 0.5, .ints = {{4, 2}, 2}, .type = {}}, input(b, {1, S, columns}), kv, kv, past, past,
               at, at, table, table);
}
static_assert(type_of([](builder& b) { return gqa(b, 32); }) == f32({1, S, 32}));
static_assert(is(recorded([](builder& b) { gqa(b, 24); }), error_code::last_dimension_must_match, op::gqa,
                 "[1,sequence_length,24]", "[1,2,max_positions,8]"));

}  // namespace

TEST_CASE("nodes after a problem are not added, and outputs of them neither") {
  graph<8> g;
  builder b{g};
  const expr x = input(b, {1, 8});
  const expr bad = reshape(x, {9});
  CHECK(!bad.ok());
  CHECK(bad.id == no_node);
  CHECK(bad.dims().empty());
  const expr later = silu(bad) + x;
  CHECK(later.id == no_node);
  CHECK(g.size() == 1);
  b.output("y", later.id);
  CHECK(g.outputs.empty());
  CHECK(g.error.what == error_code::element_count_changes);
  // What does not depend on it is still built.
  CHECK(silu(x).id == 1);
}

TEST_CASE("a full graph refuses the next node") {
  graph<3> g;
  builder b{g};
  const expr x = input(b, {1, 8});
  const expr y = silu(silu(x));
  CHECK(y.id == 2);
  CHECK(g.error.ok());
  b.module = "mlp";
  CHECK(!silu(y).ok());
  CHECK(g.size() == 3);
  CHECK(is(g.error, error_code::graph_is_full, op::silu, "3", "more nodes"));
}

TEST_CASE("nodes carry the module and the rule that they come from, leaves their own name") {
  graph<8> g;
  builder b{g};
  b.module = "mlp";
  b.rule = "split_silu";
  const expr y = silu(leaf(b, op::weight, "w", f32({4}), 2));
  CHECK(g[0].name == "w");
  CHECK(g[0].attr.value == 2);
  CHECK(g[y.id].name == "mlp");
  CHECK(g[y.id].made_by == "split_silu");
}

TEST_CASE("readers are counted, the graph's outputs and both operands included") {
  graph<8> g;
  builder b{g};
  const expr x = input(b, {1, 8});
  const expr y = x * x;
  b.output("y", y.id);
  b.output("z", y.id);
  std::uint16_t uses[8]{};
  count_uses(g, uses);
  CHECK(uses[0] == 2);
  CHECK(uses[1] == 2);
}
