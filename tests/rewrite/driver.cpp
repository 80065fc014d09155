// SPDX-License-Identifier: Apache-2.0
// The driver of rewrites: fixpoint, budget, trace, what is left of the graph, and the same at run time.
#include <doctest/doctest.h>

#include <array>

#include "qwq/rewrite/rewrite.hpp"

using namespace qwq;

namespace {

constexpr pattern x = var('x'), y = var('y');

constexpr rule split_silu{"split_silu", silu(x), [](match& m) { return m[x] * sigmoid(m[x]); }};
constexpr rule fuse_gate{"fuse_gate", (x * sigmoid(x)) * y, [](match& m) { return swiglu(m[x], m[y]); }};
constexpr rule drop_reshape{
    "drop_reshape", reshape(x), [](match& m) { return m[x]; },
    [](const match& m) { return require(m(x).dims() == m.root().dims(), "the reshape changes the shape"); }};
constexpr std::array mlp{split_silu, fuse_gate, drop_reshape};

constexpr expr input(builder& b, std::string_view name) { return leaf(b, op::input, name, {dtype::f32, {1, 8}}); }

/// Gated products, one after another, each in a module of its own.
template <std::size_t Capacity = 128>
constexpr graph<Capacity> chain(std::size_t length) {
  constexpr std::string_view modules[] = {"first.mlp", "second.mlp", "third.mlp"};
  graph<Capacity> g;
  builder b{g};
  expr h = input(b, "h");
  const expr up = input(b, "up");
  for (std::size_t i = 0; i < length; ++i) {
    b.module = modules[i % 3];
    h = reshape(up * silu(h), {1, 8});
  }
  b.output("h", h.id);
  return g;
}

template <std::size_t N>
constexpr std::size_t count(op kind, const graph<N>& g) {
  std::size_t n = 0;
  for (const node& each : g.nodes)
    if (each.kind == kind) ++n;
  return n;
}

template <std::size_t N>
constexpr bool same(const graph<N>& a, const graph<N>& b) {
  if (a.size() != b.size() || a.outputs.size() != b.outputs.size() || a.error.what != b.error.what) return false;
  for (std::size_t i = 0; i < a.size(); ++i)
    if (!detail::same_value(a[i], b[i]) || !(a[i].name == b[i].name) || !(a[i].made_by == b[i].made_by)) return false;
  for (std::size_t i = 0; i < a.outputs.size(); ++i)
    if (!(a.outputs[i].name == b.outputs[i].name) || a.outputs[i].id != b.outputs[i].id) return false;
  return true;
}

// Rules fire on what other rules made, until none does.
struct three {
  static constexpr auto result = rewrite(chain(3), mlp);
};
static_assert(three::result.value.error.ok());
static_assert(three::result.value.size() == 5 && count(op::swiglu, three::result.value) == 3);
static_assert(same(rewrite(three::result.value, mlp).value, three::result.value));
static_assert(rewrite(three::result.value, mlp).log.applied.empty());
static_assert(same(rewrite(three::result.value, std::array<rule, 0>{}).value, three::result.value));

// The trace counts, and knows the places.
static_assert(must_apply<three, "split_silu", 3>() && must_apply<three, "fuse_gate", 3>() &&
              must_apply<three, "drop_reshape", 3>());
static_assert(must_apply<three, "another", 0>());
static_assert(three::result.log.applied.size() == 9);
constexpr std::size_t fired_in(std::string_view rule, std::string_view module) {
  std::size_t n = 0;
  for (const applied_rewrite& f : three::result.log.applied)
    if (f.rule == rule && f.where == module) ++n;
  return n;
}
static_assert(fired_in("split_silu", "second.mlp") == 1 && fired_in("fuse_gate", "third.mlp") == 1);
static_assert(three::result.log.applied[0].rule == "split_silu" && three::result.log.applied[0].where == "first.mlp");
// New nodes take the module of what they replace, and say who made them.
static_assert(three::result.value[4].name == "third.mlp" && three::result.value[4].made_by == "fuse_gate");

// The first rule that matches a node is taken.
constexpr rule silu_to_sigmoid{"silu_to_sigmoid", silu(x), [](match& m) { return sigmoid(m[x]); }};
constexpr rule sigmoid_to_silu{"sigmoid_to_silu", sigmoid(x), [](match& m) { return silu(m[x]); }};
static_assert(rewrite(chain(1), std::array{silu_to_sigmoid, split_silu}).log.count("split_silu") == 0);
static_assert(rewrite(chain(1), std::array{split_silu, silu_to_sigmoid}).log.count("silu_to_sigmoid") == 0);

// Rules that undo each other: the error names both, the node, and where it is.
constexpr auto endless = rewrite(chain(1), std::array{silu_to_sigmoid, sigmoid_to_silu}, 5);
static_assert(endless.value.error.what == error_code::rules_keep_firing && endless.value.error.kind == op::sigmoid);
static_assert(endless.value.error.where == "first.mlp");
static_assert(endless.value.error.expected == "silu_to_sigmoid" && endless.value.error.found == "sigmoid_to_silu");
static_assert(endless.log.applied.size() == 5);
static_assert(rewrite(chain(3), mlp, 9).value.error.ok());
static_assert(rewrite(chain(3), mlp, 8).value.error.what == error_code::rules_keep_firing);
static_assert(rewrite(chain(1), std::array{silu_to_sigmoid, sigmoid_to_silu}).log.applied.size() == max_rewrites);

// A rule that makes a bad node: the problem is the graph's.
constexpr rule halve{"halve", silu(x), [](match& m) { return reshape(m[x], {1, 4}); }};
constexpr auto bad = rewrite(chain(1), std::array{halve});
static_assert(bad.value.error.what == error_code::element_count_changes && bad.value.error.where == "first.mlp");
// A graph with a problem is left as it is.
static_assert(rewrite(bad.value, mlp).log.applied.empty());

// Equal values are computed once, dead ones never. Inputs keep their order, and go when nothing reads them.
struct mixed {
  static constexpr auto value = [] {
    graph<48> g;
    builder b{g};
    b.add(op::input, {}, {.value = 1, .ints = {}, .type = {dtype::i32, {1, 1}}}, "unread");
    const tensor_type square{dtype::f32, {8, 8}};
    leaf(b, op::weight, "unread.weight", square);
    const expr late = input(b, "late"), h = input(b, "h");
    b.module = "first";
    const expr p = linear(h, leaf(b, op::weight, "w", square));
    b.module = "second";
    const expr q = linear(h, leaf(b, op::weight, "w", square));  // equal, although it comes from another module
    const expr other = linear(h, leaf(b, op::weight, "v", square));
    silu(rsqrt(p));  // nobody reads it
    b.output("sum", (p + q + late).id);
    b.output("same", (q + p + late).id);
    b.output("other", (slice(other, 0, 4) * slice(other, 4, 8)).id);
    return g;
  }();
  static constexpr auto clean = rewrite(value, std::array<rule, 0>{}).value;
};
static_assert(count(op::input, mixed::clean) == 2 && mixed::clean[0].name == "late" && mixed::clean[1].name == "h");
static_assert(count(op::weight, mixed::clean) == 2 && count(op::linear, mixed::clean) == 2);
static_assert(count(op::silu, mixed::clean) == 0 && count(op::rsqrt, mixed::clean) == 0);
static_assert(count(op::slice, mixed::clean) == 2);  // they differ in an attribute
static_assert(count(op::add, mixed::clean) == 2 && mixed::clean.outputs[0].id == mixed::clean.outputs[1].id);
static_assert(mixed::clean.outputs.size() == 3 && mixed::clean.outputs[2].name == "other");
static_assert([] {
  for (std::size_t i = 0; i < mixed::clean.size(); ++i)
    for (node_id a : mixed::clean[i].args)
      if (a >= i) return false;
  return true;
}());

// Nodes with different quantization slots are different.
constexpr std::size_t codes(std::int16_t first, std::int16_t second) {
  graph<16> g;
  builder b{g};
  const expr h = input(b, "h");
  const expr p = apply(op::fake_quant, {}, h), q = apply(op::fake_quant, {}, h);
  b[p.id].slot = first;
  b[q.id].slot = second;
  b.output("sum", (p + q).id);
  eliminate_dead_and_common(g);
  return count(op::fake_quant, g);
}
static_assert(codes(0, 0) == 1 && codes(0, 1) == 2);

// A rule may replace a value inside of its match as well, for readers outside.
constexpr pattern s = sigmoid(x).as('s').shared();
constexpr rule both{"both", x* s, [](match& m) {
                      const expr gate = silu(m[x]);
                      m.replace(s, rsqrt(gate));
                      return gate;
                    }};
constexpr auto replaced = [] {
  graph<48> g;
  builder b{g};
  const expr h = input(b, "h"), gate = sigmoid(h);
  b.output("product", (h * gate).id);
  b.output("gate", gate.id);
  b.output("mean", mean(gate).id);
  return rewrite(g, std::array{both});
}();
static_assert(replaced.log.count("both") == 1 && count(op::sigmoid, replaced.value) == 0);
static_assert(replaced.value[replaced.value.outputs[0].id].kind == op::silu);
static_assert(replaced.value[replaced.value.outputs[1].id].kind == op::rsqrt);
static_assert(replaced.value[replaced.value.outputs[2].id].args[0] == replaced.value.outputs[1].id);

// Replaced values that nobody else reads: readers of their arguments are counted right afterwards.
constexpr rule fuse_pair{"fuse_pair", swiglu(silu(x), y), [](match& m) { return m[y]; }};
constexpr auto counted = [] {
  graph<64> g;
  builder b{g};
  const expr h = input(b, "h"), z = silu(h), gate = sigmoid(z);
  b.output("product", (z * gate).id);
  b.output("gated", swiglu(z, h).id);
  return rewrite(g, std::array{both, fuse_pair});
}();
static_assert(counted.log.count("both") == 1 && counted.log.count("fuse_pair") == 0);

// The graph has less room than the rules need at once: cleaning up in between makes it.
static_assert(rewrite(chain<40>(3), mlp).value.size() == 5);

}  // namespace

TEST_CASE("a graph built at run time is rewritten by the same engine, to the same result") {
  std::size_t length = 0;
  for (const char* c = "abc"; *c != '\0'; ++c) ++length;
  const auto out = rewrite(chain(length), mlp);
  CHECK(out.value.error.ok());
  CHECK(out.log.count("fuse_gate") == 3);
  CHECK(same(out.value, three::result.value));
  REQUIRE(out.log.applied.size() == three::result.log.applied.size());
  for (std::size_t i = 0; i < out.log.applied.size(); ++i) {
    CHECK(out.log.applied[i].rule == three::result.log.applied[i].rule);
    CHECK(out.log.applied[i].where == three::result.log.applied[i].where);
  }
}

TEST_CASE("a run-time graph that never ends is stopped by the budget") {
  const auto out = rewrite(chain(2), std::array{silu_to_sigmoid, sigmoid_to_silu}, 7);
  CHECK(out.value.error.what == error_code::rules_keep_firing);
  CHECK(out.log.applied.size() == 7);
}

TEST_CASE("longer graphs than any constant one are rewritten at run time") {
  const auto out = rewrite(chain<512>(90), mlp);
  CHECK(out.value.error.ok());
  CHECK(out.log.count("fuse_gate") == 90);
  CHECK(out.value.size() == 92);
}
