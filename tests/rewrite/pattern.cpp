// SPDX-License-Identifier: Apache-2.0
// Which subgraphs a pattern matches, and what its variables then stand for.
#include "qwq/rewrite/pattern.hpp"

#include <doctest/doctest.h>

#include <array>

#include "qwq/rewrite/rewrite.hpp"

using namespace qwq;

namespace {

constexpr pattern a = var('a'), b = var('b'), c = var('c');

constexpr expr input(builder& g, std::string_view name) { return leaf(g, op::input, name, {dtype::f32, {1, 8}}); }

/// What `p` finds at the value that `make(builder, x, y, z)` returns; nodes 0, 1 and 2 are x, y and z.
struct finding {
  bool matched = false;
  bindings values{};
  constexpr explicit operator bool() const { return matched; }
  constexpr bool binds(char variable, node_id id) const { return matched && values.find(variable) == id; }
};
template <class Make>
constexpr finding find(const pattern& p, Make make) {
  graph<32> g;
  builder build{g};
  const expr x = input(build, "x"), y = input(build, "y"), z = input(build, "z");
  const expr root = make(build, x, y, z);
  build.output("root", root.id);
  std::uint16_t uses[32]{};
  node_id instead[32]{};
  const rewriting state{graph_ref{g}, uses, instead};
  count_uses(state.g, uses);
  for (std::size_t i = 0; i < g.size(); ++i) instead[i] = static_cast<node_id>(i);
  finding out;
  out.matched = g.error.ok() && matches(p, state, root.id, out.values);
  return out;
}

// Variables stand for any value, once found for one value.
constexpr auto square_of_sum = [](builder&, expr x, expr y, expr) { return silu(x + y); };
static_assert(find(silu(a), square_of_sum).binds('a', 3));
static_assert(find(silu(a + b), square_of_sum).binds('a', 0) && find(silu(a + b), square_of_sum).binds('b', 1));
static_assert(find(silu((a + b).as('s')), square_of_sum).binds('s', 3));
static_assert(find(a, square_of_sum).binds('a', 4));
static_assert(find(silu(a), square_of_sum).values.find('b') == no_node);
static_assert(!find(sigmoid(a), square_of_sum));
static_assert(!find(silu(a * b), square_of_sum));
static_assert(!find(silu(silu(a)), square_of_sum));

// Arity is part of the operator.
constexpr auto concat_of_three = [](builder&, expr x, expr y, expr z) {
  return apply(op::concat, {.value = 0, .ints = {{1}, 1}, .type = {}}, x, y, z);
};
static_assert(!find(concat(a, b), concat_of_three));
static_assert(find(match_op(op::concat, a, b, c), concat_of_three).binds('c', 2));

// A variable that occurs twice stands for the same value twice.
static_assert(find(swiglu(a, a), [](builder&, expr x, expr, expr) { return swiglu(x, x); }).binds('a', 0));
static_assert(!find(swiglu(a, a), [](builder&, expr x, expr y, expr) { return swiglu(x, y); }));
static_assert(find(swiglu(a, b), [](builder&, expr x, expr, expr) { return swiglu(x, x); }));
static_assert(find(a * sigmoid(a), [](builder&, expr x, expr, expr) { return x * sigmoid(x); }));
static_assert(!find(a * sigmoid(a), [](builder&, expr x, expr y, expr) { return x * sigmoid(y); }));

// Operands of add and mul match in either order; those of others do not.
static_assert(find(silu(a) + b, [](builder&, expr x, expr y, expr) { return silu(x) + y; }).binds('b', 1));
static_assert(find(silu(a) + b, [](builder&, expr x, expr y, expr) { return y + silu(x); }).binds('b', 1));
static_assert(find(a * sigmoid(a), [](builder&, expr x, expr, expr) { return sigmoid(x) * x; }).binds('a', 0));
static_assert(find(swiglu(silu(a), b), [](builder&, expr x, expr y, expr) { return swiglu(silu(x), y); }));
static_assert(!find(swiglu(silu(a), b), [](builder&, expr x, expr y, expr) { return swiglu(y, silu(x)); }));

// Nested: every combination of orders.
constexpr pattern nested = silu(a) + sigmoid(b) * c;
constexpr bool all(const finding& f) { return f.binds('a', 0) && f.binds('b', 1) && f.binds('c', 2); }
static_assert(all(find(nested, [](builder&, expr x, expr y, expr z) { return silu(x) + sigmoid(y) * z; })));
static_assert(all(find(nested, [](builder&, expr x, expr y, expr z) { return silu(x) + z * sigmoid(y); })));
static_assert(all(find(nested, [](builder&, expr x, expr y, expr z) { return sigmoid(y) * z + silu(x); })));
static_assert(all(find(nested, [](builder&, expr x, expr y, expr z) { return z * sigmoid(y) + silu(x); })));
static_assert(!find(nested, [](builder&, expr x, expr y, expr z) { return silu(x) * (sigmoid(y) + z); }));
// Both operands are commutative themselves.
constexpr pattern sum_of_products = (silu(a) * b) + (sigmoid(a) * c);
static_assert(all(find((silu(a) * b) + (sigmoid(c) * c),
                       [](builder&, expr x, expr y, expr z) { return z * sigmoid(z) + y * silu(x); })));
static_assert(find(sum_of_products, [](builder&, expr x, expr y, expr z) {
                return z * sigmoid(x) + y * silu(x);
              }).binds('b', 1));
static_assert(!find(sum_of_products, [](builder&, expr x, expr y, expr z) { return z * sigmoid(y) + y * silu(x); }));

// What lies inside of a pattern has no other reader, unless it may be shared.
constexpr auto read_twice = [](builder& g, expr x, expr y, expr) {
  const expr s = sigmoid(x);
  g.output("s", s.id);
  return y * s;
};
static_assert(!find(a * sigmoid(b), read_twice));
static_assert(find(a * sigmoid(b).shared(), read_twice).binds('b', 0));
static_assert(find(a * b, read_twice).binds('b', 3));  // variables are not inside
// The root is replaced for all of its readers.
static_assert(find(silu(a), [](builder& g, expr x, expr, expr) {
  const expr s = silu(x);
  g.output("s", s.id);
  return s;
}));

// One node reached over two edges counts two readers; a pattern of two equal parts finds the one node twice.
constexpr auto diamond = [](builder&, expr x, expr, expr) {
  const expr s = sigmoid(x);
  return s * s;
};
static_assert(!find(sigmoid(a) * sigmoid(b), diamond));
static_assert(find(sigmoid(a).shared() * sigmoid(b).shared(), diamond).binds('b', 0));
static_assert(find(a * a, diamond).binds('a', 3));
// Two nodes that compute the same are two values.
static_assert(!find(a * a, [](builder&, expr x, expr, expr) { return sigmoid(x) * sigmoid(x); }));

// Replaced nodes are seen as what replaces them.
static_assert([] {
  graph<8> g;
  builder build{g};
  const expr x = input(build, "x"), y = silu(sigmoid(x)), z = rsqrt(x);
  std::uint16_t uses[8]{0, 1, 1, 1};
  node_id instead[8]{0, z.id, 2, 3};
  const rewriting state{graph_ref{g}, uses, instead};
  bindings found;
  return matches(silu(rsqrt(a)), state, y.id, found) && found.find('a') == x.id &&
         !matches(silu(sigmoid(a)), state, y.id, found);
}());

// `when` sees attributes of what was matched, the root's and those of other nodes.
constexpr rule small_slices{"small_slices", slice(slice(a).as('s')), [](match& m) { return m[a]; },
                            [](const match& m) {
                              const node& inner = m(var('s'));
                              return require(m.root().attr.ints[0] == 0, "the outer slice does not begin at 0",
                                             inner.attr.ints[0] == 2, "the inner slice does not begin at 2",
                                             m.argument(inner, 0).name == "x", "the input is not x");
                            }};
constexpr rewrite_log sliced(std::string_view name, std::int32_t inner, std::int32_t outer,
                             bool inner_is_output = false) {
  graph<48> g;
  builder build{g};
  const expr x = input(build, name);
  const expr z = slice(x, inner, 8), y = slice(z, outer, 4);
  build.output("y", y.id);
  if (inner_is_output) build.output("z", z.id);
  return rewrite(g, std::array{small_slices}).log;
}
constexpr std::size_t fires(std::string_view name, std::int32_t inner, std::int32_t outer) {
  return sliced(name, inner, outer).count("small_slices");
}
static_assert(fires("x", 2, 0) == 1);
static_assert(fires("x", 2, 1) == 0);
static_assert(fires("x", 3, 0) == 0);
static_assert(fires("y", 2, 0) == 0);

// The trace keeps why the rule did not apply.
static_assert(sliced("x", 2, 0).last_refusal("small_slices").reason.empty());
static_assert(sliced("x", 2, 1).last_refusal("small_slices").reason == "the outer slice does not begin at 0");
static_assert(sliced("x", 3, 0).last_refusal("small_slices").reason == "the inner slice does not begin at 2");
static_assert(sliced("y", 2, 0).last_refusal("small_slices").reason == "the input is not x");
static_assert(sliced("x", 2, 0, true).count("small_slices") == 0 &&
              sliced("x", 2, 0, true).last_refusal("small_slices").reason ==
                  "an inner value of the pattern has a reader outside of it");

}  // namespace

TEST_CASE("the same patterns match at run time") {
  CHECK(all(find(nested, [](builder&, expr x, expr y, expr z) { return z * sigmoid(y) + silu(x); })));
  CHECK(!find(swiglu(a, a), [](builder&, expr x, expr y, expr) { return swiglu(x, y); }));
  CHECK(!find(a * sigmoid(b), read_twice));
  CHECK(find(a * sigmoid(b).shared(), read_twice).binds('a', 1));
}
