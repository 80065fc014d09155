// SPDX-License-Identifier: Apache-2.0
// A quantized graph with one edge that has no slot: the message names the operator and the module that it is in.
// expect: error_code::edge_has_no_quantization_slot
// expect: op::linear
// expect: mlp.down_proj
#include <qwq/quant/placement.hpp>

using namespace qwq;

struct source {
  static constexpr auto value = [] {
    graph<32> g;
    builder b{g};
    const expr x = leaf(b, op::input, "x", {dtype::f32, {1, 8}});
    const expr w = leaf(b, op::weight, "mlp.down_proj.weight", {dtype::f32, {4, 8}});
    b.module = "mlp.down_proj";
    b.output("y", linear(x, w).id);
    return g;
  }();
};
constexpr placement types{dtype::u16, dtype::i8};
constexpr auto covers = [](const node& n) { return n.kind == op::linear; };
template <std::size_t N>
constexpr diagnostic find_gap(const graph<N>& g) {
  diagnostic gap;
  count_coverage(g, types, covers, &gap);
  return gap;
}

struct right {
  static constexpr diagnostic gap = find_gap(place_slots(source::value, types, covers).value);
};
static_assert(require_none<right::gap>());
#ifdef FAIL
struct wrong {
  static constexpr diagnostic gap = find_gap(source::value);
};
static_assert(require_none<wrong::gap>());
#endif
