// SPDX-License-Identifier: Apache-2.0
// Rules about gated MLPs.
#include "qwq/rules/mlp_rules.hpp"

#include "support.hpp"

using namespace qwq;
using namespace qwq::test;

namespace {

struct sigmoid_form {
  static constexpr auto value = around([](builder& b) {
    const expr g = input(b, "g");
    return input(b, "u") * (sigmoid(g) * g);
  });
};
struct silu_form {
  static constexpr auto value = around([](builder& b) { return silu(input(b, "g")) * input(b, "u"); });
};

constexpr std::array fuse{rules::fuse_silu, rules::fuse_swiglu};
constexpr std::array split{rules::split_silu};

static_assert(fires(rules::fuse_silu, sigmoid_form::value) == 1);
static_assert(fires(rules::fuse_silu, around([](builder& b) { return input(b, "x") * sigmoid(input(b, "y")); })) == 0);
static_assert(fires(rules::fuse_silu, around([](builder& b) {
                      const expr x = input(b, "x"), s = sigmoid(x);
                      b.output("sigmoid", s.id);  // needed anyway
                      return x * s;
                    })) == 0);

static_assert(fires(rules::fuse_swiglu, silu_form::value) == 1);
static_assert(fires(rules::fuse_swiglu, around([](builder& b) { return silu(input(b, "g")) * vector(b, "w"); })) == 0);
static_assert(fires(rules::fuse_swiglu, around([](builder& b) { return silu(input(b, "g")) + input(b, "u"); })) == 0);
static_assert(after<sigmoid_form, fuse>::result.log.count("fuse_swiglu") == 1);
static_assert(after<sigmoid_form, fuse>::value.size() == 3);

static_assert(fires(rules::split_silu, silu_form::value) == 1);
static_assert(fires(rules::split_silu, sigmoid_form::value) == 0);

}  // namespace

TEST_CASE("fused, whole and split SwiGLU are the same") {
  const auto whole = evaluate<silu_form>();
  check_same(whole, evaluate<sigmoid_form>());
  check_same(whole, evaluate<after<sigmoid_form, fuse>>());
  check_same(whole, evaluate<after<silu_form, split>>());
}
