// SPDX-License-Identifier: Apache-2.0
// A residual addition of two values whose shapes do not fit.
// expect: error_code::shapes_do_not_broadcast
// expect: op::add
// expect: mlp_residual
// expect: [1,sequence_length,128]
// expect: [1,sequence_length,64]
#include <qwq/layer/layers.hpp>

using namespace qwq;

struct right {
  static constexpr auto value = [] {
    graph<32> g;
    builder b{g};
    const qwq::value<dtype::f32> h{
        leaf(b, op::input, "hidden_states", {dtype::f32, {1, dim{64, "sequence_length"}, 128}})};
    b.output("y", layer::residual{"mlp_residual"}(h, layer::linear<128, 128>{"down_proj"}(h)).id);
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
    b.output("y", layer::residual{"mlp_residual"}(h, layer::linear<128, 64>{"down_proj"}(h)).id);
    return g;
  }();
};
static_assert(require_none<wrong::value.error>());
#endif
