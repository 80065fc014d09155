// SPDX-License-Identifier: Apache-2.0
// Products with what follows them in one step: gates, residuals.
#include "qwq/rules/fusion_rules.hpp"
#include "support.hpp"

using namespace qwq;
using namespace qwq::test;

namespace {

constexpr std::int64_t wide = 40;

enum class gate_form : std::uint8_t { plain, of_other_input, gate_on_grid, up_read_twice };

template <gate_form Form>
struct gated {
  static constexpr auto value = around([](builder& b) {
    const expr x = input(b, "x"), other = Form == gate_form::of_other_input ? input(b, "z") : x;
    const expr gate = linear(x, matrix(b, "gate", wide, channels)), up = linear(other, matrix(b, "up", wide, channels));
    if (Form == gate_form::gate_on_grid) b[gate.id].slot = 0;
    if (Form == gate_form::up_read_twice) b.output("up", up.id);
    return swiglu(gate, up);
  });
};

enum class add_form : std::uint8_t { plain, other_way_round, broadcast, is_fake_quantized, read_twice };

template <add_form Form>
struct added {
  static constexpr auto value = around([](builder& b) {
    const expr y = linear(input(b, "x"), matrix(b, "w", channels, channels)), r = input(b, "r");
    if (Form == add_form::is_fake_quantized) b[y.id].slot = 0;
    if (Form == add_form::read_twice) b.output("product", y.id);
    if (Form == add_form::broadcast) return y + vector(b, "bias");
    return Form == add_form::other_way_round ? r + y : y + r;
  });
};

constexpr std::array fuse_gate{rules::fuse_gate_up};
constexpr std::array fuse_add{rules::fuse_residual};

static_assert(fires(rules::fuse_gate_up, gated<gate_form::plain>::value) == 1);
static_assert(fires(rules::fuse_gate_up, gated<gate_form::of_other_input>::value) == 0);
static_assert(fires(rules::fuse_gate_up, gated<gate_form::gate_on_grid>::value) == 0);
static_assert(fires(rules::fuse_gate_up, gated<gate_form::up_read_twice>::value) == 0);

static_assert(fires(rules::fuse_residual, added<add_form::plain>::value) == 1);
static_assert(fires(rules::fuse_residual, added<add_form::other_way_round>::value) == 1);
static_assert(fires(rules::fuse_residual, added<add_form::broadcast>::value) == 0);
static_assert(fires(rules::fuse_residual, added<add_form::is_fake_quantized>::value) == 0);
static_assert(fires(rules::fuse_residual, added<add_form::read_twice>::value) == 0);

using fused_gate = after<gated<gate_form::plain>, fuse_gate>;
static_assert(count(op::linear_swiglu, fused_gate::value) == 1 && count(op::linear, fused_gate::value) == 0);
using fused_add = after<added<add_form::other_way_round>, fuse_add>;
static_assert(count(op::linear_add, fused_add::value) == 1 && count(op::add, fused_add::value) == 0);

/// The same bits: every sum is rounded as it was.
void check_equal(const std::vector<float>& a, const std::vector<float>& b) { CHECK(a == b); }

}  // namespace

TEST_CASE("a gate in one step is the same, for many tokens and for one") {
  check_equal(evaluate<gated<gate_form::plain>>(), evaluate<fused_gate>());
  check_equal(evaluate<gated<gate_form::plain>>(1), evaluate<fused_gate>(1));
}

TEST_CASE("a residual in one step is the same, for many tokens and for one") {
  check_equal(evaluate<added<add_form::other_way_round>>(), evaluate<fused_add>());
  check_equal(evaluate<added<add_form::other_way_round>>(1), evaluate<fused_add>(1));
}
