// SPDX-License-Identifier: Apache-2.0
// A graph with one output too many.
// expect: error_code::too_many_outputs
// expect: "one_more"
#include <qwq/graph/builder.hpp>

using namespace qwq;

template <bool More>
struct many_outputs {
  static constexpr auto value = [] {
    graph<8> g;
    builder b{g};
    const expr x = leaf(b, op::input, "x", {dtype::f32, {1, 8}});
    for (std::size_t i = 0; i < max_outputs; ++i)
      b.output(fixed_string<31>{"y"}.append(static_cast<long long>(i)), x.id);
    if (More) b.output("one_more", x.id);
    return g;
  }();
};

static_assert(require_none<many_outputs<false>::value.error>());
#ifdef FAIL
static_assert(require_none<many_outputs<true>::value.error>());
#endif
