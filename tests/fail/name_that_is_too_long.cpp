// SPDX-License-Identifier: Apache-2.0
// Two leaves whose names agree in all that a node has room for would be one: the name is refused.
// expect: error_code::name_is_too_long
// expect: op::weight
// expect: at most 47 characters
#include <qwq/layer/layers.hpp>

using namespace qwq;

template <bool Long>
struct module_name {
  static constexpr auto value = [] {
    graph<8> g;
    builder b{g};
    const qwq::value<dtype::f32> x{leaf(b, op::input, "x", {dtype::f32, {1, 8}})};
    const in_module scope{b, Long ? "mlp.shared_expert_that_every_token_passes" : "mlp.shared_expert"};
    b.output("y", layer::linear<8, 4>{"down_proj"}(x).id);
    return g;
  }();
};

static_assert(require_none<module_name<false>::value.error>());
#ifdef FAIL
static_assert(require_none<module_name<true>::value.error>());
#endif
