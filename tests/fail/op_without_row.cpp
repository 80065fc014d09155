// SPDX-License-Identifier: Apache-2.0
// A target whose op map has no row for an operator of its graphs.
// expect: op_map_has_no_row_for
// expect-gcc: qwq::op::silu
// expect-clang: op::silu
// expect: mlp
#include <qwq/emit/op_map.hpp>
#include <qwq/graph/builder.hpp>

using namespace qwq;

struct writer {};
void write_anything(writer&) {}
using map = to_file::op_map<writer>;

struct activation {
  static constexpr auto value = [] {
    graph<4> g;
    builder b{g};
    const expr x = leaf(b, op::input, "x", {dtype::f32, {1, 8}});
    b.module = "mlp";
    b.output("y", silu(x).id);
    return g;
  }();
};

inline constexpr map whole = map{}.with(op::input, write_anything).with(op::silu, write_anything);
static_assert(to_file::require_rows<activation, whole>());
#ifdef FAIL
inline constexpr map without = map{}.with(op::input, write_anything);
static_assert(to_file::require_rows<activation, without>());
#endif
