// SPDX-License-Identifier: Apache-2.0
// A reshape to another number of elements.
// expect: error_code::element_count_changes
// expect: op::reshape
// expect: [1,sequence_length,3,32]
#include <qwq/layer/layers.hpp>

using namespace qwq;

struct right {
  static constexpr auto value = [] {
    graph<32> g;
    builder b{g};
    const qwq::value<dtype::f32> h{
        leaf(b, op::input, "hidden_states", {dtype::f32, {1, dim{64, "sequence_length"}, 128}})};
    b.output("y", reshape(h, {1, h.dims()[1], 4, 32}).id);
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
    b.output("y", reshape(h, {1, h.dims()[1], 3, 32}).id);
    return g;
  }();
};
static_assert(require_none<wrong::value.error>());
#endif
