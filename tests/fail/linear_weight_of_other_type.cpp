// SPDX-License-Identifier: Apache-2.0
// A linear layer with int8 weights that is handed a tensor of 4-bit codes.
// expect: qwq::layer::linear(x, w) requires w to have the element type that the layer was declared with
#include <qwq/layer/layers.hpp>

using namespace qwq;

struct right {
  static constexpr auto value = [] {
    graph<32> g;
    builder b{g};
    const qwq::value<dtype::f32> h{
        leaf(b, op::input, "hidden_states", {dtype::f32, {1, dim{64, "sequence_length"}, 128}})};
    const parameter<dtype::i8, 256, 128> w{leaf(b, op::weight, "w", {dtype::i8, {256, 128}})};
    b.output("y", layer::linear<128, 256, dtype::i8>{"q_proj"}(h, w).id);
    return g;
  }();
};
static_assert(require_none<right::value.error>());
#ifdef FAIL
struct wrong {
  static constexpr auto value = [] {
    graph<32> g;
    builder b{g};
    const qwq::value<dtype::f32> h{
        leaf(b, op::input, "hidden_states", {dtype::f32, {1, dim{64, "sequence_length"}, 128}})};
    const parameter<dtype::i4, 256, 128> w{leaf(b, op::weight, "w", {dtype::i4, {256, 128}})};
    b.output("y", layer::linear<128, 256, dtype::i8>{"q_proj"}(h, w).id);
    return g;
  }();
};
static_assert(require_none<wrong::value.error>());
#endif
