// SPDX-License-Identifier: Apache-2.0
// Operators from outside of the library: checked when they are added, matched, merged, printed, run and written.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <sstream>
#include <vector>

#include "qwq/compile/compiled.hpp"
#include "qwq/emit/op_map.hpp"
#include "qwq/exec/kernel_table.hpp"
#include "qwq/graph/print.hpp"
#include "qwq/rewrite/rewrite.hpp"

using namespace qwq;

namespace {

constexpr void like_x(type_inference& in) {
  if (in.want_float(0)) in.out = in.args[0];
}
constexpr op_schema clamp = custom_op("clamp", 1, like_x, "limit"), relu = custom_op("relu", 1, like_x);

constexpr expr input(builder& b, dtype type = dtype::f32) { return leaf(b, op::input, "x", {type, {1, 4}}); }
constexpr expr clamped(expr x, double limit) {
  attributes attr;
  attr.value = limit;
  return apply(clamp, attr, x);
}

template <class Make>
constexpr graph<16> around(Make make) {
  graph<16> g;
  builder b{g};
  b.module = "mlp";
  make(b);
  return g;
}

// Problems name the operator.
constexpr diagnostic bad_arity = around([](builder& b) { apply(relu, {}, input(b), input(b)); }).error;
static_assert(bad_arity.what == error_code::wrong_number_of_arguments && bad_arity.where == "mlp/relu");
static_assert(bad_arity.expected == "1" && bad_arity.found == "2");
constexpr diagnostic bad_type = around([](builder& b) { apply(relu, {}, input(b, dtype::i64)); }).error;
static_assert(bad_type.what == error_code::element_type_must_be_float && bad_type.where == "mlp/relu");
static_assert(!around([](builder& b) { apply(op::custom, {}, input(b)); }).error.ok());
static_assert(around([](builder& b) { clamped(input(b), 2); })[1].type == tensor_type{dtype::f32, {1, 4}});

// A pattern matches one of them and not another.
constexpr rule drop_relu{"drop_relu", match_op(relu, var('x')), [](match& m) { return m[var('x')]; }};
constexpr auto both = around([](builder& b) { b.output("y", apply(relu, {}, clamped(input(b), 2)).id); });
constexpr auto without_relu = rewrite(both, std::array{drop_relu});
static_assert(without_relu.log.count("drop_relu") == 1);
static_assert(without_relu.value.size() == 2 && name(without_relu.value[1]) == "clamp");

// Equal ones are merged; those of another operator or with another attribute are not.
template <class Make>
constexpr std::size_t size_after_cleanup(Make make) {
  auto g = around(make);
  eliminate_dead_and_common(g);
  return g.size();
}
static_assert(size_after_cleanup([](builder& b) {
                const expr x = input(b);
                b.output("y", (clamped(x, 2) + clamped(x, 2)).id);
              }) == 3);
static_assert(size_after_cleanup([](builder& b) {
                const expr x = input(b);
                b.output("y", (clamped(x, 2) + clamped(x, 3)).id);
              }) == 4);
static_assert(size_after_cleanup([](builder& b) {
                const expr x = input(b);
                b.output("y", (clamped(x, 0) + apply(relu, {}, x)).id);
              }) == 4);

// Sessions run any of them, files of a target those that it says.
static_assert(detail::find_unsupported<native<>>(both) == both.size());
static_assert(detail::find_unsupported<onnx_winml>(both) == 1);

// Op maps.
struct writer {
  std::vector<std::string_view> written;
};
void write_input(writer& w) { w.written.push_back("input"); }
void write_clamp(writer& w) { w.written.push_back("clamp"); }
constexpr auto one = to_file::op_map<writer>{}.with(op::input, write_input).with(clamp, write_clamp);
static_assert(to_file::detail::find_unwritable(both, one) == 2);

}  // namespace

template <>
struct qwq::custom_kernel<clamp> {
  template <class Step>
  static void run(execution_context& f) {
    const auto limit = static_cast<float>(Step::self().attr.value);
    std::ranges::transform(Step::template in<0>(f), Step::out(f).begin(),
                           [&](float x) { return std::clamp(x, -limit, limit); });
  }
};

namespace {

struct twice {
  static constexpr auto value = around([](builder& b) {
    const expr y = clamped(input(b), 2);
    b.output("y", (y + y).id);
  });
};

// A row with more arguments than a node can have is a problem of the node.
constexpr op_schema wide = custom_op("wide", 11, like_x);
constexpr diagnostic eleven = around([](builder& b) {
                                const expr x = input(b);
                                apply(wide, {}, x, x, x, x, x, x, x, x, x, x, x);
                              }).error;
static_assert(eleven.what == error_code::too_many_arguments && eleven.where == "mlp/wide" && eleven.expected == "10" &&
              eleven.found == "11");

// Traits: a matrix argument that schemes store as codes, and a state that is updated in place.
constexpr op_schema counted = custom_op("counted", 2, like_x).with_state(1, 0);
struct counting {
  static constexpr auto value = around([](builder& b) {
    const expr seen = state(b, "seen", {dtype::f32, {1, 4}}, state_update::replace);
    const expr y = apply(counted, {}, input(b), seen);
    b.output("y", y.id);
    b.output("seen", get_tuple_element(y, 0, {dtype::f32, {1, 4}}).id);
  });
};
static_assert(planned<counting>::layout.states.size() == 1);
static_assert(planned<counting>::layout.of[counting::value.outputs[1].id].where == storage_class::state);

}  // namespace

/// y = x + what was seen before; the state is the sum of all that was seen.
template <>
struct qwq::custom_kernel<counted> {
  template <class Step>
  static void run(execution_context& f) {
    const auto x = Step::template in<0>(f);
    const auto y = Step::out(f);
    auto* seen = static_cast<float*>(Step::template state<1>(f).data);
    for (std::size_t i = 0; i < x.size(); ++i) seen[i] = y[i] = x[i] + seen[i];
  }
};

namespace {

TEST_CASE("a state lasts from run to run") {
  float x[4] = {1, 2, 3, 4}, seen[4] = {10, 0, 0, 0};
  void* inputs[] = {x};
  const state_view states[] = {{seen, nullptr}};
  alignas(buffer_alignment) std::byte arena[planned<counting>::layout.arena_bytes];
  execution_context f;
  f.arena = arena;
  f.inputs = inputs;
  f.states = states;
  execute<counting>(f);
  const float* y = execute<counting>(f);
  CHECK(std::vector(y, y + 4) == std::vector<float>{12, 4, 6, 8});
  CHECK(std::vector(seen, seen + 4) == std::vector<float>{12, 4, 6, 8});
  CHECK(output_address<counting, 1>(f) == seen);
}

// Fifty weights, nine inputs and an i32 input that is no position: there is a place for each.
constexpr op_schema pick = custom_op("pick", 2, like_x);
struct many {
  static constexpr auto value = [] {
    graph<160> g;
    builder b{g};
    expr sum = input(b);
    for (int i = 0; i < 50; ++i) sum = sum + leaf(b, op::weight, fixed_string<47>{"w"}.append(i), {dtype::f32, {1, 4}});
    for (int i = 0; i < 8; ++i) sum = sum + leaf(b, op::input, fixed_string<47>{"x"}.append(i), {dtype::f32, {1, 4}});
    b.output("y", apply(pick, {}, sum, leaf(b, op::input, "which", {dtype::i32, {1, 4}})).id);
    return g;
  }();
};
static_assert(planned<many>::layout.parameters.size() == 50 && planned<many>::layout.inputs.size() == 10);

}  // namespace

/// y[i] = x[which[i]]
template <>
struct qwq::custom_kernel<pick> {
  template <class Step>
  static void run(execution_context& f) {
    const auto x = Step::template in<0>(f);
    const auto which = Step::template in<1, std::int32_t>(f);
    for (std::size_t i = 0; i < x.size(); ++i) Step::out(f)[i] = x[static_cast<std::size_t>(which[i])];
  }
};

namespace {

TEST_CASE("a graph may have any number of weights and inputs") {
  std::vector<float> ones(4, 1);
  std::int32_t which[] = {3, 0, 1, 2};
  float x[] = {1, 2, 3, 4};
  std::vector<bound_constant> weights(50, bound_constant{dtype::f32, ones.data()});
  std::vector<void*> inputs(9, ones.data());
  inputs[0] = x;
  inputs.push_back(which);
  alignas(buffer_alignment) std::byte arena[planned<many>::layout.arena_bytes];
  execution_context f;
  f.arena = arena;
  f.inputs = inputs.data();
  f.parameters = weights.data();
  const float* y = execute<many>(f);
  CHECK(std::vector(y, y + 4) == std::vector<float>{62, 59, 60, 61});
}

// A gain that is a fill is as long as a norm reads it.
struct unit_norm {
  static constexpr auto value = around([](builder& b) {
    b.output("y", rms_norm(input(b), leaf(b, op::splat, "half", {dtype::f32, {4}}, 0.5), 0).id);
  });
};
TEST_CASE("a norm reads a gain of equal elements") {
  float x[] = {3, 3, 3, 3};
  std::vector<float> gain(4, 0.5f);
  const bound_constant parameters[] = {{dtype::f32, gain.data()}};
  void* inputs[] = {x};
  alignas(buffer_alignment) std::byte arena[planned<unit_norm>::layout.arena_bytes];
  inline_executor here;
  execution_context f;
  f.threads = &here;
  f.arena = arena;
  f.inputs = inputs;
  f.parameters = parameters;
  const float* y = execute<unit_norm>(f);
  CHECK(std::vector(y, y + 4) == std::vector<float>{0.5f, 0.5f, 0.5f, 0.5f});
}

TEST_CASE("a graph with an operator of the user's runs, is printed and is written") {
  float x[4] = {-3, 0.5f, 2, 7};
  void* inputs[] = {x};
  alignas(buffer_alignment) std::byte arena[planned<twice>::layout.arena_bytes];
  execution_context f;
  f.arena = arena;
  f.inputs = inputs;
  const float* y = execute<twice>(f);
  CHECK(std::vector(y, y + 4) == std::vector<float>{-4, 1, 4, 4});

  std::ostringstream text;
  print(text, twice::value);
  CHECK(text.str().find("%1 = clamp(%0) limit=2 : f32[1,4]  # mlp\n") != std::string::npos);

  writer w;
  for (std::size_t i = 0; i < 2; ++i) one[twice::value[i]](w);
  CHECK(w.written == std::vector<std::string_view>{"input", "clamp"});
}

}  // namespace
