// SPDX-License-Identifier: Apache-2.0
// Two rules that undo each other: the message names both, and the node where they were stopped.
// expect: error_code::rules_keep_firing
// expect: "fuse_silu"
// expect: "split_silu"
// expect: mlp
#include <array>
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

struct right {
  static constexpr auto result = rewrite(source::value, std::array{rules::fuse_silu});
};
static_assert(require_none<right::result.value.error>());
#ifdef FAIL
struct wrong {
  static constexpr auto result = rewrite(source::value, std::array{rules::fuse_silu, rules::split_silu});
};
static_assert(require_none<wrong::result.value.error>());
#endif
