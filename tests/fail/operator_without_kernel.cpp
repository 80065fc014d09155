// SPDX-License-Identifier: Apache-2.0
// Running an operator that has no kernel.
// expect: no_kernel_for
// expect: op::quantize
#include <qwq/exec/kernel_table.hpp>
#include <qwq/graph/builder.hpp>

using namespace qwq;

template <op Kind>
struct activation {
  static constexpr auto value = [] {
    graph<4> g;
    builder b{g};
    b.output("y", apply(Kind, {}, leaf(b, op::input, "x", {dtype::f32, {1, 8}})).id);
    return g;
  }();
};

const float* run_right(execution_context& f) { return execute<activation<op::sigmoid>>(f); }
#ifdef FAIL
const float* run_wrong(execution_context& f) { return execute<activation<op::quantize>>(f); }
#endif
