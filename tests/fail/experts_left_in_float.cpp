// SPDX-License-Identifier: Apache-2.0
// A target that quantizes the router of a sparse layer and not its experts: the message names the weight.
// expect: error_code::weight_is_not_quantized
// expect: "mlp.experts.*.up_proj.weight"
#include <qwq/quant/insert_qdq.hpp>
#include <qwq/quant/scheme.hpp>

using namespace qwq;

/// A sparse MLP of eight experts, of which each token takes two.
template <bool>
struct sparse {
  static constexpr auto value = [] {
    graph<32> g;
    builder b{g};
    const expr x = leaf(b, op::input, "x", {dtype::f32, {1, 4, 64}});
    const expr router = weight_leaf(b, "mlp.gate.weight", {dtype::f32, {8, 64}}, role::router);
    const expr p = top_k(softmax(linear(x, router)), 2);
    const expr who = get_tuple_element(p, 0, {dtype::i32, {1, 4, 2}});
    const expr y =
        expert_linear(x, who, weight_leaf(b, "mlp.experts.*.up_proj.weight", {dtype::f32, {8, 32, 64}}, role::expert));
    b.output("y", weighted_sum(y, p).id);
    return g;
  }();
};

/// What a target quantizes, if it knows operators of experts and if it does not.
template <bool Experts>
struct placed {
  static constexpr diagnostic error = insert_qdq(sparse<Experts>::value, w8a16::spec, [](const node& n) {
                                        return n.kind == op::linear || (Experts && n.kind == op::expert_linear);
                                      }).value.error;
};

static_assert(require_none<placed<true>::error>());
#ifdef FAIL
static_assert(require_none<placed<false>::error>());
#endif
