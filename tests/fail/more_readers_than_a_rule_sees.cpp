// SPDX-License-Identifier: Apache-2.0
// A rule that asks for the readers of a value that has more than it can be told.
// expect: error_code::too_many_readers
// expect: "layernorm"
#include <qwq/rewrite/rewrite.hpp>

using namespace qwq;

inline constexpr std::array rule_set{rule{"count_readers", rms_norm(var('x'), var('w')),
                                          [](match& m) { return m[var('x')]; },
                                          [](const match& m) { return require(m.readers().empty(), "it is read"); }}};

template <int Readers>
struct read_often {
  static constexpr auto source = [] {
    graph<> g;
    builder b{g};
    const expr x = leaf(b, op::input, "x", {dtype::f32, {1, 8}}), w = leaf(b, op::weight, "w", {dtype::f32, {8}});
    b.module = "layernorm";
    const expr n = rms_norm(x, w, 1e-6);
    expr sum = x;
    for (int i = 0; i < Readers; ++i)
      sum = sum + linear(n, leaf(b, op::weight, fixed_string<47>{"w"}.append(i), {dtype::f32, {8, 8}}));
    b.output("y", sum.id);
    return g;
  }();
  static constexpr diagnostic error = rewrite(source, rule_set).value.error;
};

static_assert(require_none<read_often<32>::error>());
#ifdef FAIL
static_assert(require_none<read_often<33>::error>());
#endif
