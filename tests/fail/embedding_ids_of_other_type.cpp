// SPDX-License-Identifier: Apache-2.0
// Token ids of another integer type than the operator takes.
// expect: error_code::element_types_differ
// expect: op::embedding
// expect: "i64"
// expect: "i32"
#include <qwq/graph/builder.hpp>

using namespace qwq;

struct right {
  static constexpr auto value = [] {
    graph<32> g;
    builder b{g};
    const expr table = leaf(b, op::weight, "embed_tokens.weight", {dtype::f32, {1280, 128}});
    b.output("y", embedding(table, leaf(b, op::input, "input_ids", {dtype::i64, {1, 64}})).id);
    return g;
  }();
};
static_assert(require_none<right::value.error>());
#ifdef FAIL
struct wrong {
  static constexpr auto value = [] {
    graph<32> g;
    builder b{g};
    const expr table = leaf(b, op::weight, "embed_tokens.weight", {dtype::f32, {1280, 128}});
    b.output("y", embedding(table, leaf(b, op::input, "input_ids", {dtype::i32, {1, 64}})).id);
    return g;
  }();
};
static_assert(require_none<wrong::value.error>());
#endif
