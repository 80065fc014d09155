// SPDX-License-Identifier: Apache-2.0
// Running an operator of the user's for which there is no kernel.
// expect: custom_kernel<
// expect: relu
#include <algorithm>

#include <qwq/exec/kernel_table.hpp>
#include <qwq/graph/builder.hpp>

using namespace qwq;

constexpr void like_x(type_inference& in) { in.out = in.args[0]; }
inline constexpr op_schema relu = custom_op("relu", 1, like_x);
inline constexpr op_schema relu_without_kernel = custom_op("relu", 1, like_x);

template <>
struct qwq::custom_kernel<relu> {
  template <class Step>
  static void run(execution_context& f) {
    std::ranges::transform(Step::template in<0>(f), Step::out(f).begin(), [](float x) { return std::max(x, 0.0f); });
  }
};

template <const op_schema& Op>
struct activation {
  static constexpr auto value = [] {
    graph<4> g;
    builder b{g};
    b.output("y", apply(Op, {}, leaf(b, op::input, "x", {dtype::f32, {1, 8}})).id);
    return g;
  }();
};

const float* run_right(execution_context& f) { return execute<activation<relu>>(f); }
#ifdef FAIL
const float* run_wrong(execution_context& f) { return execute<activation<relu_without_kernel>>(f); }
#endif
