// SPDX-License-Identifier: Apache-2.0
// An operator of the user's that the target does not support: the message names it and its module.
// expect: op_is_not_supported_by_target
// expect: qwq::onnx_winml
// expect: mlp/relu
#include <qwq/lower/compiled.hpp>
#include <qwq/targets/onnx_winml.hpp>

using namespace qwq;

inline constexpr op_schema relu = custom_op("relu", 1, [](type_inference& in) { in.out = in.args[0]; });

struct activation {
  static constexpr std::string_view prefix = "";
  static constexpr auto value = [] {
    graph<4> g;
    builder b{g};
    const expr x = leaf(b, op::input, "x", {dtype::f32, {1, 8}});
    b.module = "mlp";
    b.output("y", apply(relu, {}, x).id);
    return g;
  }();
};

struct with_relu : onnx_winml {
  using onnx_winml::supports;
  static constexpr bool supports(const op_schema& operation) { return &operation == &relu; }
};

static_assert(compiled<activation, with_relu, placement{}>::covered.total == 0);
#ifdef FAIL
static_assert(compiled<activation, onnx_winml, placement{}>::covered.total == 0);
#endif
