// SPDX-License-Identifier: Apache-2.0
// An operator with too few arguments.
// expect: error_code::wrong_number_of_arguments
// expect: op::mul
#include <qwq/graph/builder.hpp>

using namespace qwq;

struct right {
  static constexpr auto value = [] {
    graph<32> g;
    builder b{g};
    const expr x = leaf(b, op::input, "x", {dtype::f32, {1, 8}});
    b.output("y", apply(op::mul, {}, x, x).id);
    return g;
  }();
};
static_assert(require_none<right::value.error>());
#ifdef FAIL
struct wrong {
  static constexpr auto value = [] {
    graph<32> g;
    builder b{g};
    const expr x = leaf(b, op::input, "x", {dtype::f32, {1, 8}});
    b.output("y", apply(op::mul, {}, x).id);
    return g;
  }();
};
static_assert(require_none<wrong::value.error>());
#endif
