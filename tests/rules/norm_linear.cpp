// SPDX-License-Identifier: Apache-2.0
// Norms in one step with the products that read them, or with the sum that they read.
#include "qwq/rules/fusion_rules.hpp"
#include "support.hpp"

using namespace qwq;
using namespace qwq::test;

namespace {

constexpr std::int64_t wide = 40;

enum class read_by : std::uint8_t {
  one,
  three,
  five,
  gate,
  gate_and_one,
  product_on_grid,
  an_add,
  an_output,
  a_weight
};

/// Products of a norm, or something near it, joined so that one output reads them all.
template <read_by By>
struct normed {
  static constexpr auto value = around([](builder& b) {
    const expr n = rms_norm(input(b, "x"), vector(b, "gain"), 0.25);
    const auto product = [&](std::string_view name) { return linear(n, matrix(b, name, wide, channels)); };
    if (By == read_by::an_output) b.output("normed", n.id);
    if (By == read_by::product_on_grid) {
      const expr y = product("w");
      b[y.id].slot = 0;
      return y;
    }
    if (By == read_by::an_add) return linear(n, matrix(b, "w", channels, channels)) + n;
    if (By == read_by::a_weight) {
      const expr square = leaf(b, op::input, "z", {dtype::f32, {channels, channels}});
      const expr rows = rms_norm(square, vector(b, "gain"), 0.25);
      return linear(rows, rows);
    }
    if (By == read_by::three) return concat(concat(product("q"), product("k")), product("v"));
    if (By == read_by::five)
      return concat(concat(concat(concat(product("1"), product("2")), product("3")), product("4")), product("5"));
    if (By == read_by::gate) return swiglu(product("gate"), product("up"));
    if (By == read_by::gate_and_one) return concat(swiglu(product("gate"), product("up")), product("w"));
    return product("w");
  });
};

static_assert(fires(rules::fuse_norm_linear, normed<read_by::one>::value) == 1);
static_assert(fires(rules::fuse_norm_linear, normed<read_by::three>::value) == 1);
static_assert(fires(rules::fuse_norm_linear, normed<read_by::gate>::value) == 1);
static_assert(fires(rules::fuse_norm_linear, normed<read_by::five>::value) == 0);
static_assert(fires(rules::fuse_norm_linear, normed<read_by::product_on_grid>::value) == 0);
static_assert(fires(rules::fuse_norm_linear, normed<read_by::an_add>::value) == 0);
static_assert(fires(rules::fuse_norm_linear, normed<read_by::an_output>::value) == 0);
static_assert(fires(rules::fuse_norm_linear, normed<read_by::a_weight>::value) == 0);

constexpr std::array join{rules::fuse_norm_linear, rules::fuse_norm_gate_up};
template <read_by By>
using joined = after<normed<By>, join>;

static_assert(count(op::norm_linear, joined<read_by::three>::value) == 1 &&
              count(op::get_tuple_element, joined<read_by::three>::value) == 3 &&
              count(op::linear, joined<read_by::three>::value) == 0);
static_assert(count(op::norm_linear_swiglu, joined<read_by::gate>::value) == 1 &&
              count(op::norm_linear, joined<read_by::gate>::value) == 0);
static_assert(count(op::norm_linear, joined<read_by::gate_and_one>::value) == 1 &&
              count(op::swiglu, joined<read_by::gate_and_one>::value) == 1);

enum class sum_form : std::uint8_t { plain, read_by_norm_alone, broadcast, norm_on_grid, on_grid_first };

/// A sum, its norm, and both of them read.
template <sum_form Form>
struct summed {
  static constexpr auto value = around([](builder& b) {
    const expr a = input(b, "a"), s = a + (Form == sum_form::broadcast ? vector(b, "bias") : input(b, "b"));
    expr read = s;
    if (Form == sum_form::on_grid_first) {
      read = apply(op::fake_quant, {}, s);
      b[read.id].slot = 0;
    }
    expr n = rms_norm(read, vector(b, "gain"), 0.25);
    if (Form == sum_form::norm_on_grid) {
      n = apply(op::fake_quant, {}, n);
      b[n.id].slot = 0;
    }
    return Form == sum_form::read_by_norm_alone ? n : concat(neg(n), neg(s));
  });
};

static_assert(fires(rules::fuse_residual_norm, summed<sum_form::plain>::value) == 1);
static_assert(fires(rules::fuse_residual_norm, summed<sum_form::read_by_norm_alone>::value) == 1);
static_assert(fires(rules::fuse_residual_norm, summed<sum_form::norm_on_grid>::value) == 1);
static_assert(fires(rules::fuse_residual_norm, summed<sum_form::broadcast>::value) == 0);
static_assert(fires(rules::fuse_residual_norm, summed<sum_form::on_grid_first>::value) == 0);

constexpr std::array with_sum{rules::fuse_residual_norm, rules::fuse_normed_fake_quant};
template <sum_form Form>
using sum_and_norm = after<summed<Form>, with_sum>;

static_assert(count(op::add_norm, sum_and_norm<sum_form::plain>::value) == 1 &&
              count(op::rms_norm, sum_and_norm<sum_form::plain>::value) == 0 &&
              count(op::add, sum_and_norm<sum_form::plain>::value) == 0);
static_assert(count(op::fake_quant, sum_and_norm<sum_form::norm_on_grid>::value) == 0);
// A result of another node is no norm.
static_assert(fires(rules::fuse_normed_fake_quant, around([](builder& b) {
                      const expr y = get_tuple_element(input(b, "x"), 0, hidden);
                      return rules::detail::with_slot(apply(op::fake_quant, {}, y), 0);
                    })) == 0);

/// The same bits, for many tokens and for one: every sum is rounded as it was.
template <class Plain, class Fused>
void check_equal(const kernel::affine* slots = nullptr) {
  for (const std::int64_t rows : {1, 5, 8})
    CHECK(evaluate<Plain>(rows, 0, {}, slots) == evaluate<Fused>(rows, 0, {}, slots));
}

}  // namespace

TEST_CASE("a norm in one step with the products that read it is the same") {
  check_equal<normed<read_by::one>, joined<read_by::one>>();
  check_equal<normed<read_by::three>, joined<read_by::three>>();
  check_equal<normed<read_by::gate>, joined<read_by::gate>>();
  check_equal<normed<read_by::gate_and_one>, joined<read_by::gate_and_one>>();
}

TEST_CASE("a sum in one step with its norm is the same, on a grid too") {
  check_equal<summed<sum_form::plain>, sum_and_norm<sum_form::plain>>();
  check_equal<summed<sum_form::read_by_norm_alone>, sum_and_norm<sum_form::read_by_norm_alone>>();
  const kernel::affine slots[] = {{0.05f, 100, {0, 255}}};
  check_equal<summed<sum_form::norm_on_grid>, sum_and_norm<sum_form::norm_on_grid>>();
  check_equal<summed<sum_form::norm_on_grid>, sum_and_norm<sum_form::norm_on_grid>>(slots);
  CHECK(evaluate<sum_and_norm<sum_form::norm_on_grid>>() !=
        evaluate<sum_and_norm<sum_form::norm_on_grid>>(5, 0, {}, slots));
}
