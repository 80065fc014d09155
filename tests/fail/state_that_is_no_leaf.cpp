// SPDX-License-Identifier: Apache-2.0
// An operator updates its state in place, so it must be a leaf of the graph.
// expect: error_code::state_must_be_a_leaf
// expect: op::kv_cache_update
#include <qwq/graph/builder.hpp>

using namespace qwq;

template <bool Leaf>
struct appended {
  static constexpr auto value = [] {
    graph<8> g;
    builder b{g};
    tensor_type cache{dtype::f32, {1, 2, 16, 4}};
    const expr x = leaf(b, op::input, "x", {dtype::f32, {1, 3, 2, 4}});
    const expr past = Leaf ? state(b, "key", cache, state_update::append) : leaf(b, op::input, "key", cache);
    b.output("key", kv_cache_update(past, x, leaf(b, op::input, "last_position", {dtype::i32, {1, 1}})).id);
    return g;
  }();
};

static_assert(require_none<appended<true>::value.error>());
#ifdef FAIL
static_assert(require_none<appended<false>::value.error>());
#endif
