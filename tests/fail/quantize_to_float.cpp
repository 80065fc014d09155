// SPDX-License-Identifier: Apache-2.0
// Codes of a float type.
// expect: qwq::quantize<T>(x, slot) requires T to be an integer type
#include <qwq/layer/layers.hpp>

using namespace qwq;

struct right {
  static constexpr auto value = [] {
    graph<32> g;
    builder b{g};
    const qwq::value<dtype::f32> h{
        leaf(b, op::input, "hidden_states", {dtype::f32, {1, dim{64, "sequence_length"}, 128}})};
    b.output("y", quantize<dtype::u8>(h, 0).id);
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
    b.output("y", quantize<dtype::f16>(h, 0).id);
    return g;
  }();
};
static_assert(require_none<wrong::value.error>());
#endif
