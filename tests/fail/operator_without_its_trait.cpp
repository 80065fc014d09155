// SPDX-License-Identifier: Apache-2.0
// An operator of the user's that multiplies by a matrix and does not say which of its arguments that is.
// expect: error_code::weight_is_not_quantized
// expect: "mlp.down_proj.weight"
#include <qwq/quant/placement.hpp>

using namespace qwq;

inline constexpr op_schema silent = custom_op("sparse_linear", 2, [](type_inference& in) { in.out = in.args[0]; });
inline constexpr op_schema telling = silent.with_matrices({1});

template <const op_schema& Op>
struct placed {
  static constexpr auto value = [] {
    graph<8> g;
    builder b{g};
    const expr x = leaf(b, op::input, "x", {dtype::f32, {1, 8}});
    const expr w = leaf(b, op::weight, "mlp.down_proj.weight", {dtype::f32, {8, 8}});
    b.output("y", apply(Op, {}, x, w).id);
    return g;
  }();
  static constexpr placement types{dtype::f32, dtype::u4, extent::products, 32};
  static constexpr diagnostic error =
      place_slots(value, types, [](const node& n) { return types.covers(schema(n)); }).value.error;
};

static_assert(require_none<placed<telling>::error>());
#ifdef FAIL
static_assert(require_none<placed<silent>::error>());
#endif
