// SPDX-License-Identifier: Apache-2.0
// Rules about layouts.
#include "qwq/rules/layout_rules.hpp"

#include "support.hpp"

using namespace qwq;
using namespace qwq::test;

namespace {

constexpr dim rows{rows_bound, "sequence_length"};
constexpr tensor_type nhwc{dtype::f32, {1, 1, rows, channels}};
constexpr expr squeezed(builder& b, std::string_view name) { return rules::detail::squeeze(input(b, name, nhwc)); }

// linear_to_conv1x1

struct product {
  static constexpr auto value = around([](builder& b) { return linear(input(b, "x"), matrix(b, "w", 10, channels)); });
};
constexpr std::array convolve{rules::linear_to_conv1x1};
static_assert(fires(rules::linear_to_conv1x1, product::value) == 1);
static_assert(count(op::conv1x1, after<product, convolve>::value) == 1 &&
              count(op::linear, after<product, convolve>::value) == 0);
static_assert(fires(rules::linear_to_conv1x1, around([](builder& b) {  // rank 4 has no room for the convolution's axes
                      return linear(input(b, "x", nhwc), matrix(b, "w", 10, channels));
                    })) == 0);
static_assert(fires(rules::linear_to_conv1x1, around([](builder& b) {  // not a weight
                      return linear(input(b, "x"), reshape(vector(b, "w"), {1, channels}));
                    })) == 0);

// merge_reshapes, drop_reshape, reshape_fill

struct twice {
  static constexpr auto value = around([](builder& b) {
    return reshape(reshape(silu(input(b, "x")), {1, 1, rows, channels}), {1, rows, 2, channels / 2});
  });
};
constexpr std::array merge{rules::merge_reshapes};
static_assert(fires(rules::merge_reshapes, twice::value) == 1 && count(op::reshape, after<twice, merge>::value) == 1);
static_assert(fires(rules::merge_reshapes, around([](builder& b) {
                      return reshape(silu(input(b, "x")), {1, rows, 2, channels / 2});
                    })) == 0);

static_assert(fires(rules::drop_reshape, around([](builder& b) { return reshape(input(b, "x"), hidden.dims); })) == 1);
static_assert(fires(rules::drop_reshape, around([](builder& b) {
                      return reshape(input(b, "x"), {1, 1, rows, channels});
                    })) == 0);

static_assert(fires(rules::reshape_fill,
                    around([](builder& b) { return reshape(leaf(b, op::splat, "c", hidden, 2), nhwc.dims); })) == 1);
static_assert(fires(rules::reshape_fill, around([](builder& b) { return reshape(input(b, "x"), nhwc.dims); })) == 0);

// Squeezes sink: each rule on its operator, and not on a reshape that is no squeeze.

constexpr expr split_heads(builder& b, std::string_view name) {
  return reshape(input(b, name), {1, rows, 2, channels / 2});
}
constexpr expr merged(builder& b, std::string_view name) {
  return reshape(input(b, name, {dtype::f32, {1, rows, 2, channels / 2}}), hidden.dims);
}

static_assert(fires(rules::sink_squeeze_add, around([](builder& b) { return squeezed(b, "a") + input(b, "y"); })) == 1);
static_assert(fires(rules::sink_squeeze_add, around([](builder& b) { return input(b, "y") + squeezed(b, "a"); })) == 1);
static_assert(fires(rules::sink_squeeze_add, around([](builder& b) { return merged(b, "a") + input(b, "y"); })) == 0);
static_assert(fires(rules::sink_squeeze_add, around([](builder& b) { return squeezed(b, "a") + vector(b, "w"); })) ==
              0);
static_assert(fires(rules::sink_squeeze_mul, around([](builder& b) { return squeezed(b, "a") * vector(b, "w"); })) ==
              1);
static_assert(fires(rules::sink_squeeze_mul, around([](builder& b) { return squeezed(b, "a") * input(b, "y"); })) == 1);
static_assert(fires(rules::sink_squeeze_mul, around([](builder& b) { return merged(b, "a") * vector(b, "w"); })) == 0);
static_assert(fires(rules::sink_squeeze_sigmoid, around([](builder& b) { return sigmoid(squeezed(b, "a")); })) == 1);
static_assert(fires(rules::sink_squeeze_sigmoid, around([](builder& b) { return sigmoid(split_heads(b, "a")); })) == 0);
static_assert(fires(rules::sink_squeeze_lp_norm, around([](builder& b) { return lp_norm(squeezed(b, "a")); })) == 1);
static_assert(fires(rules::sink_squeeze_lp_norm, around([](builder& b) { return lp_norm(split_heads(b, "a")); })) == 0);
static_assert(fires(rules::sink_squeeze_slice, around([](builder& b) { return slice(squeezed(b, "a"), 0, 3); })) == 1);
static_assert(fires(rules::sink_squeeze_concat, around([](builder& b) {
                      return concat(squeezed(b, "a"), input(b, "y"), 0);
                    })) == 0);  // there is no axis 0 above the squeeze
static_assert(fires(rules::sink_squeeze_slice, around([](builder& b) { return slice(split_heads(b, "a"), 0, 3); })) ==
              0);
static_assert(fires(rules::sink_squeeze_concat,
                    around([](builder& b) { return concat(squeezed(b, "a"), input(b, "y")); })) == 1);
static_assert(fires(rules::sink_squeeze_concat,
                    around([](builder& b) { return concat(merged(b, "a"), input(b, "y")); })) == 0);

constexpr std::array all{rules::linear_to_conv1x1,    rules::merge_reshapes,       rules::drop_reshape,
                         rules::reshape_fill,         rules::sink_squeeze_add,     rules::sink_squeeze_mul,
                         rules::sink_squeeze_sigmoid, rules::sink_squeeze_lp_norm, rules::sink_squeeze_slice,
                         rules::sink_squeeze_concat};

/// Products, additions, a norm with its extra channel, a gate: everything squeezes meet on their way down.
struct block {
  static constexpr auto value = around([](builder& b) {
    const expr x = input(b, "x");
    const expr h = x + linear(x, matrix(b, "w1", channels, channels));
    const expr one = leaf(b, op::splat, "epsilon", {dtype::f32, {1, rows, 1}}, 0.5);
    const expr n = slice(lp_norm(concat(h, one)), 0, channels) * vector(b, "gain");
    const expr gate = linear(n, matrix(b, "w2", channels, channels));
    return h + gate * sigmoid(gate);
  });
};
// One unsqueeze where the graph begins, one squeeze where it ends.
static_assert(count(op::reshape, after<block, all>::value) == 2);
static_assert(count(op::conv1x1, after<block, all>::value) == 2);

}  // namespace

TEST_CASE("a product and its 1x1 convolution are the same, in prefill and in decode") {
  check_same(evaluate<product>(5), evaluate<after<product, convolve>>(5));
  check_same(evaluate<product>(1), evaluate<after<product, convolve>>(1));
}

TEST_CASE("reshapes merge without moving a value") { CHECK(evaluate<twice>() == evaluate<after<twice, merge>>()); }

TEST_CASE("sunken squeezes change no value") { check_same(evaluate<block>(), evaluate<after<block, all>>()); }
