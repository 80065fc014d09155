// SPDX-License-Identifier: Apache-2.0
// A tied head whose table is transposed.
// expect: qwq::layer::linear<In, Out>(x, w) requires w to be [Out, In]
#include <qwq/layer/layers.hpp>

using namespace qwq;

struct right {
  static constexpr auto value = [] {
    graph<32> g;
    builder b{g};
    const qwq::value<dtype::f32> h{
        leaf(b, op::input, "hidden_states", {dtype::f32, {1, dim{64, "sequence_length"}, 128}})};
    const parameter<dtype::f32, 1280, 128> w{leaf(b, op::weight, "w", {dtype::f32, {1280, 128}})};
    b.output("y", layer::linear<128, 1280>{"lm_head"}(h, w).id);
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
    const parameter<dtype::f32, 128, 1280> w{leaf(b, op::weight, "w", {dtype::f32, {128, 1280}})};
    b.output("y", layer::linear<128, 1280>{"lm_head"}(h, w).id);
    return g;
  }();
};
static_assert(require_none<wrong::value.error>());
#endif
