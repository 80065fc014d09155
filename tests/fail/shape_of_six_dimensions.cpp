// SPDX-License-Identifier: Apache-2.0
// A shape with more dimensions than there is room for: the message names the node.
// expect: error_code::too_many_dimensions
// expect: op::reshape
// expect: patches
#include <qwq/graph/builder.hpp>

using namespace qwq;

template <bool Six>
struct reshaped {
  static constexpr auto value = [] {
    graph<8> g;
    builder b{g};
    const expr x = leaf(b, op::input, "x", {dtype::f32, {1, 8, 4}});
    b.module = "patches";
    b.output("y", (Six ? reshape(x, {1, 1, 2, 2, 2, 4}) : reshape(x, {1, 2, 2, 2, 4})).id);
    return g;
  }();
};

static_assert(require_none<reshaped<false>::value.error>());
#ifdef FAIL
static_assert(require_none<reshaped<true>::value.error>());
#endif
