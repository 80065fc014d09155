// SPDX-License-Identifier: Apache-2.0
// An operator that the target cannot express: the message names it, its module and the target.
// expect: op_is_not_supported_by_target
// expect: op::rsqrt
// expect: mlp.act_fn
// expect: qwq::onnx_winml
// expect: supported_by<qwq::circle<
#include <qwq/lower/compiled.hpp>
#include <qwq/targets/onnx_winml.hpp>

using namespace qwq;

template <op Kind>
struct activation {
  static constexpr std::string_view prefix = "";
  static constexpr auto value = [] {
    graph<4> g;
    builder b{g};
    const expr x = leaf(b, op::input, "x", {dtype::f32, {1, 8}});
    b.module = "mlp.act_fn";
    b.output("y", apply(Kind, {}, x).id);
    return g;
  }();
};

static_assert(compiled<activation<op::sigmoid>, onnx_winml, placement{}>::covered.total == 0);
#ifdef FAIL
static_assert(compiled<activation<op::rsqrt>, onnx_winml, placement{}>::covered.total == 0);
#endif
