// SPDX-License-Identifier: Apache-2.0
// A graph with nine named dimensions: a run has extents for eight.
// expect: error_code::too_many_symbols
// expect: "ninth"
#include <qwq/exec/kernel_call.hpp>
#include <qwq/graph/builder.hpp>

using namespace qwq;

template <bool Nine>
struct named {
  static constexpr auto value = [] {
    graph<16> g;
    builder b{g};
    constexpr std::string_view names[] = {"a", "b", "c", "d", "e", "f", "g", "h", "ninth"};
    for (std::size_t i = 0; i < (Nine ? 9 : 8); ++i) {
      const expr x = leaf(b, op::input, names[i], {dtype::f32, {1, dim{4, names[i]}}});
      if (i == 0) b.output("y", x.id);
    }
    return g;
  }();
};

static_assert(planned<named<false>>::layout.symbols.size() == 8);
#ifdef FAIL
static_assert(planned<named<true>>::layout.symbols.size() == 8);
#endif
