// SPDX-License-Identifier: Apache-2.0
// A rule that had to fire once more than it did.
// expect: error_code::rule_applied_another_number_of_times
// expect: "fuse_silu"
// expect: "2"
// expect: "1"
#include <qwq/rewrite/rewrite.hpp>
#include <qwq/rules/mlp_rules.hpp>

using namespace qwq;
struct source {
  static constexpr auto value = [] {
    graph<32> g;
    builder b{g};
    b.module = "mlp";
    const expr x = leaf(b, op::input, "x", {dtype::f32, {1, 8}});
    b.output("y", (x * sigmoid(x)).id);
    return g;
  }();
};
struct fused {
  static constexpr auto result = rewrite(source::value, std::array{rules::fuse_silu});
};

static_assert(must_apply<fused, "fuse_silu", 1>());
#ifdef FAIL
static_assert(must_apply<fused, "fuse_silu", 2>());
#endif
