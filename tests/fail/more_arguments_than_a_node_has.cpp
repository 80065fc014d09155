// SPDX-License-Identifier: Apache-2.0
// An operator with eleven arguments.
// expect: error_code::too_many_arguments
// expect: "mlp/wide"
#include <qwq/graph/builder.hpp>

using namespace qwq;

inline constexpr op_schema wide = custom_op("wide", 11, [](type_inference& in) { in.out = in.args[0]; });
inline constexpr op_schema fits = custom_op("fits", 10, [](type_inference& in) { in.out = in.args[0]; });

template <bool Wide>
struct joined {
  static constexpr auto value = [] {
    graph<8> g;
    builder b{g};
    const expr x = leaf(b, op::input, "x", {dtype::f32, {1, 8}});
    b.module = "mlp";
    if (Wide)
      b.output("y", apply(wide, {}, x, x, x, x, x, x, x, x, x, x, x).id);
    else
      b.output("y", apply(fits, {}, x, x, x, x, x, x, x, x, x, x).id);
    return g;
  }();
};

static_assert(require_none<joined<false>::value.error>());
#ifdef FAIL
static_assert(require_none<joined<true>::value.error>());
#endif
