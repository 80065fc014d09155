// SPDX-License-Identifier: Apache-2.0
// A linear layer declared for another width than its input has.
// expect: error_code::x_and_weight_differ_in_columns
// expect: op::linear
// expect: self_attn.q_proj
// expect: [1,sequence_length,128]
// expect: [256,64]
#include <qwq/layer/layers.hpp>

using namespace qwq;

struct right {
  static constexpr auto value = [] {
    graph<32> g;
    builder b{g};
    const qwq::value<dtype::f32> h{
        leaf(b, op::input, "hidden_states", {dtype::f32, {1, dim{64, "sequence_length"}, 128}})};
    b.module = "self_attn";
    b.output("y", layer::linear<128, 256>{"q_proj"}(h).id);
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
    b.module = "self_attn";
    b.output("y", layer::linear<64, 256>{"q_proj"}(h).id);
    return g;
  }();
};
static_assert(require_none<wrong::value.error>());
#endif
