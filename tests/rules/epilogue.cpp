// SPDX-License-Identifier: Apache-2.0
// Rules that give a step what is done to its result.
#include "qwq/rules/epilogue_rules.hpp"

#include "qwq/rules/mlp_rules.hpp"
#include "support.hpp"

using namespace qwq;
using namespace qwq::test;

namespace {

constexpr expr fake_quant(expr x, std::int16_t slot) {
  return rules::detail::with_slot(apply(op::fake_quant, {}, x), slot);
}

struct norm_form {
  static constexpr auto& rule = rules::fuse_norm_fake_quant;
  static constexpr expr step(builder& b) { return rms_norm(input(b, "x"), vector(b, "w"), 1e-6); }
};
struct swiglu_form {
  static constexpr auto& rule = rules::fuse_swiglu_fake_quant;
  static constexpr expr step(builder& b) { return swiglu(input(b, "g"), input(b, "u")); }
};
struct add_form {
  static constexpr auto& rule = rules::fuse_add_fake_quant;
  static constexpr expr step(builder& b) { return input(b, "x") + input(b, "y"); }
};
struct mul_form {
  static constexpr auto& rule = rules::fuse_mul_fake_quant;
  static constexpr expr step(builder& b) { return input(b, "x") * vector(b, "w"); }
};

struct linear_form {
  static constexpr auto& rule = rules::fuse_linear_fake_quant;
  static constexpr expr step(builder& b) { return linear(input(b, "x"), matrix(b, "w", channels, channels)); }
};
struct gated_form {
  static constexpr auto& rule = rules::fuse_gated_fake_quant;
  static constexpr expr step(builder& b) {
    return linear_swiglu(input(b, "x"), matrix(b, "g", channels, channels), matrix(b, "u", channels, channels));
  }
};

/// The step on the grid of slot 1, read by another.
template <class Form>
struct unfused_form {
  static constexpr auto value = around([](builder& b) { return neg(fake_quant(Form::step(b), 1)); });
};

template <class Form>
constexpr bool fires_alone() {
  constexpr auto& rule = Form::rule;
  constexpr auto fused = rewrite(unfused_form<Form>::value, std::array{rule});
  return fused.log.count(rule.name) == 1 && count(op::fake_quant, fused.value) == 0 &&
         fused.value[fused.value.size() - 2].slot == 1 &&
         fires(rule, around([](builder& b) {  // read without the grid too
                 const expr y = Form::step(b);
                 b.output("float", y.id);
                 return fake_quant(y, 1);
               })) == 0 &&
         fires(rule, around([](builder& b) { return fake_quant(silu(input(b, "x")), 1); })) == 0 &&
         fires(rule, around([](builder& b) {  // on one grid already, then on another
                 return fake_quant(rules::detail::with_slot(Form::step(b), 0), 1);
               })) == 0;
}
static_assert(fires_alone<norm_form>() && fires_alone<swiglu_form>() && fires_alone<add_form>() &&
              fires_alone<mul_form>() && fires_alone<linear_form>() && fires_alone<gated_form>());

// A step with an epilogue is more than its operator: other rules leave it.
static_assert(fires(rules::fuse_swiglu, around([](builder& b) {
                      return rules::detail::with_slot(silu(input(b, "g")) * input(b, "u"), 1);
                    })) == 0);

struct seen_values final : slot_hook {
  void observe(std::size_t slot, std::span<const float> values) override {
    REQUIRE(slot == 1);
    seen.insert(seen.end(), values.begin(), values.end());
  }
  std::vector<float> seen;
};

template <class Form>
void check_same_bits() {
  static constexpr std::array with{Form::rule};
  using fused = after<unfused_form<Form>, with>;
  for (const kernel::scaling by : {kernel::scaling::divide, kernel::scaling::multiply})
    for (const float scale : {0.01f, 0.3f, 0x1p-120f}) {
      const kernel::affine slots[] = {{}, {scale, 100, {0, 255}, by}};
      const auto in_two = evaluate<unfused_form<Form>>(5, 0, {}, slots), in_one = evaluate<fused>(5, 0, {}, slots);
      CHECK(in_two == in_one);
      CHECK(in_two != evaluate<fused>());
    }
  CHECK(evaluate<fused>() == evaluate<unfused_form<Form>>());
  seen_values two, one;
  CHECK(evaluate<unfused_form<Form>>(5, 0, {}, nullptr, &two) == evaluate<fused>(5, 0, {}, nullptr, &one));
  CHECK(two.seen.size() == 5 * channels);
  CHECK(two.seen == one.seen);
}

}  // namespace

TEST_CASE("a step that puts its result on a grid gives the bits of two steps, floats pass, and calibration sees them") {
  check_same_bits<norm_form>();
  check_same_bits<swiglu_form>();
  check_same_bits<add_form>();
  check_same_bits<mul_form>();
  check_same_bits<linear_form>();
  check_same_bits<gated_form>();
}
