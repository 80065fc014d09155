// SPDX-License-Identifier: Apache-2.0
// A norm that reads integer codes without a boundary.
// expect: this layer computes in float, and x holds integer codes; put qwq::dequantize(x) before it
#include <qwq/layer/layers.hpp>

using namespace qwq;

struct right {
  static constexpr auto value = [] {
    graph<32> g;
    builder b{g};
    const qwq::value<dtype::f32> h{
        leaf(b, op::input, "hidden_states", {dtype::f32, {1, dim{64, "sequence_length"}, 128}})};
    b.output("y", layer::rms_norm<128>{"norm", 1e-6}(dequantize(quantize<dtype::u16>(h, 0))).id);
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
    b.output("y", layer::rms_norm<128>{"norm", 1e-6}(quantize<dtype::u16>(h, 0)).id);
    return g;
  }();
};
static_assert(require_none<wrong::value.error>());
#endif
