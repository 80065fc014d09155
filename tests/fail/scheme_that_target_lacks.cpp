// SPDX-License-Identifier: Apache-2.0
// A scheme that the target does not take: the message names the target, the scheme's types, and the targets that do.
// expect: scheme_is_not_supported_by_target
// expect: qwq::onnx_winml
// expect: dtype::u4
// expect: supported_by<qwq::onnx_standard, qwq::onnx_standard_21, qwq::onnx_genai>
#include <qwq/compile/compiled.hpp>
#include <qwq/quant/scheme.hpp>

using namespace qwq;

struct part {
  static constexpr std::string_view prefix = "";
  static constexpr auto value = [] {
    graph<4> g;
    builder b{g};
    const expr x = leaf(b, op::input, "x", {dtype::f32, {1, 1, 8}});
    b.output("y", (x + x).id);
    return g;
  }();
};

static_assert(compiled<part, onnx_winml, w8a16>::covered.total == 0);
#ifdef FAIL
static_assert(compiled<part, onnx_winml, w4_g32>::covered.total == 0);
#endif
