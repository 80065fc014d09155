// SPDX-License-Identifier: Apache-2.0
// A rule that had to fire and did not: the message has the rule, both counts, and why and where it refused last.
// expect: rule_applied_another_number_of_times
// expect: "fuse_swiglu"
// expect: gate and up differ in shape
// expect: mlp
#include <qwq/rewrite/rewrite.hpp>
#include <qwq/rules/mlp_rules.hpp>

using namespace qwq;
template <bool Same>
struct source {
  static constexpr auto value = [] {
    graph<32> g;
    builder b{g};
    b.module = "mlp";
    const expr x = leaf(b, op::input, "x", {dtype::f32, {1, 8}});
    const expr y = leaf(b, op::input, "y", {dtype::f32, {Same ? 1 : 8, 8}});
    b.output("z", (silu(x) * y).id);
    return g;
  }();
};
template <bool Same>
struct fused {
  static constexpr auto result = rewrite(source<Same>::value, std::array{rules::fuse_swiglu});
};

static_assert(must_apply<fused<true>, "fuse_swiglu", 1>());
#ifdef FAIL
static_assert(must_apply<fused<false>, "fuse_swiglu", 1>());
#endif
