// SPDX-License-Identifier: Apache-2.0
// What the tests of rules share: small graphs, whether a rule fires on them, and whether both sides mean the same.
#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "qwq/exec/kernel_table.hpp"
#include "qwq/rewrite/rewrite.hpp"

namespace qwq::test {

inline constexpr std::int64_t channels = 24, rows_bound = 8;

inline constexpr tensor_type hidden{dtype::f32, {1, dim{rows_bound, "sequence_length"}, channels}};

/// A graph around one expression: `make(b)` returns the value of the output "y".
template <class Make>
constexpr graph<> around(Make make) {
  graph<> g;
  builder b{g};
  b.output("y", make(b).id);
  return g;
}

constexpr expr input(builder& b, std::string_view name, tensor_type type = hidden) {
  return leaf(b, op::input, name, type);
}
constexpr expr vector(builder& b, std::string_view name) { return leaf(b, op::weight, name, {dtype::f32, {channels}}); }
constexpr expr matrix(builder& b, std::string_view name, std::int64_t rows, std::int64_t cols) {
  return leaf(b, op::weight, name, {dtype::f32, {rows, cols}});
}
constexpr expr constant(builder& b, double value) { return leaf(b, op::splat, "constant", {dtype::f32, {1}}, value); }

/// How often `r`, and nothing else, fires on the graph.
template <std::size_t N>
constexpr std::size_t fires(const rule& r, const graph<N>& g) {
  const auto out = rewrite(g, std::array{r});
  return out.value.error.ok() ? out.log.count(r.name) : ~std::size_t{0};
}

/// Number of nodes of a kind.
template <std::size_t N>
constexpr std::size_t count(op kind, const graph<N>& g) {
  std::size_t n = 0;
  for (const node& x : g.nodes)
    if (x.kind == kind) ++n;
  return n;
}

/// `Graph` after `Rules`.
template <class Graph, const auto& Rules>
struct after {
  static constexpr auto result = rewrite(Graph::value, Rules);
  static constexpr auto& value = result.value;
};

using named_values = std::map<std::string, std::vector<float>, std::less<>>;

/// Runs a graph on the kernels, for `rows` tokens from position `first` on. Inputs and weights are random, and the same
/// for the same name, or `given`: so that two graphs that mean the same give the same. States hold what is given under
/// their names, or zeros. `slots` are the parameters of quantization slots; without them values pass, and
/// are shown to `hook`.
template <class G>
std::vector<float> evaluate(std::int64_t rows = 5, std::int64_t first = 0, const named_values& given = {},
                            const kernel::affine* slots = nullptr, slot_hook* hook = nullptr) {
  constexpr auto& g = G::value;
  const auto values = [&](std::string_view name, std::int64_t n, double factor) {
    if (const auto at = given.find(name); at != given.end()) {
      REQUIRE(at->second.size() == static_cast<std::size_t>(n));
      return at->second;
    }
    std::seed_seq seed(name.begin(), name.end());
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    std::vector<float> x(static_cast<std::size_t>(n));
    for (float& v : x) v = normal(random) * static_cast<float>(factor);
    return x;
  };
  std::vector<std::vector<float>> kept;
  std::vector<operand> parameters;
  std::vector<void*> inputs;
  for (node_id id : planned<G>::layout.parameters) {
    const node& n = g[id];
    if (n.kind == op::splat) {
      kept.emplace_back(static_cast<std::size_t>(n.dims().elements()), static_cast<float>(n.attr.value));
    } else {
      kept.push_back(values(n.name, n.dims().elements(), n.kind == op::weight ? n.attr.value : 1));
      for (float& x : kept.back()) x += static_cast<float>(n.attr.value * n.attr.offset);
    }
    parameters.push_back({dtype::f32, kept.back().data(), {}});
  }
  auto last_position = static_cast<std::int32_t>(first + rows - 1);
  for (node_id id : planned<G>::layout.inputs) {
    if (g[id].type.type == dtype::i32) {
      inputs.push_back(&last_position);
      continue;
    }
    kept.push_back(values(g[id].name, g[id].dims().elements(), 1));
    inputs.push_back(kept.back().data());
  }
  std::vector<std::vector<float>> memory;
  std::vector<state_view> states;
  for (node_id id : planned<G>::layout.states) {
    memory.emplace_back(static_cast<std::size_t>(g[id].dims().elements()));
    if (const auto at = given.find(g[id].name.view()); at != given.end()) memory.back() = at->second;
    states.push_back({memory.back().data(), nullptr});
  }
  std::vector<std::int64_t> extents;
  for (const std::string_view symbol : planned<G>::layout.symbols)
    extents.push_back(symbol == "sequence_length" ? rows : rows_bound);
  std::vector<std::byte> arena(planned<G>::layout.arena_bytes + arena_alignment);
  inline_executor threads;
  execution_context f;
  f.threads = &threads;
  f.arena = arena.data() + (arena_alignment - reinterpret_cast<std::uintptr_t>(arena.data()) % arena_alignment);
  f.extents = extents.data();
  f.parameters = parameters.data();
  f.inputs = inputs.data();
  f.states = states.data();
  f.slots = slots;
  f.hook = hook;
  const float* y = execute<G>(f);
  std::int64_t n = 1;
  for (const dim& d : g[g.outputs[0].id].dims()) n *= d.named() ? rows : d.extent;
  return {y, y + n};
}

/// Both sides of a rewrite give the same values, up to f32 rounding in another order.
inline void check_same(const std::vector<float>& a, const std::vector<float>& b, float tolerance = 2e-5f) {
  REQUIRE(a.size() == b.size());
  float largest = 0, worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    largest = std::max(largest, std::abs(a[i]));
    worst = std::max(worst, std::abs(a[i] - b[i]));
  }
  CHECK(largest > 0);
  CHECK(worst <= tolerance * largest);
}

}  // namespace qwq::test
