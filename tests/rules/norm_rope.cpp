// SPDX-License-Identifier: Apache-2.0
// The norm and the rotation of queries and keys in one step.
#include "qwq/rules/fusion_rules.hpp"
#include "support.hpp"

using namespace qwq;
using namespace qwq::test;

namespace {

constexpr std::int64_t heads = 3, head_dim = channels / heads;

enum class form : std::uint8_t { plain, fake_quant_between, norm_read_twice, norm_on_grid, whole_rows };

/// rope(rms_norm(x, w)) over heads, or something near it.
template <form Form>
struct rotated {
  static constexpr auto value = around([](builder& b) {
    const dim rows{rows_bound, "sequence_length"};
    tensor_type table{dtype::f32, {rows_bound, head_dim / 2}};
    const expr x = reshape(input(b, "x"), {1, rows, heads, head_dim});
    const expr w = leaf(b, op::weight, "w", {dtype::f32, {head_dim}});
    expr normed = rms_norm(x, w, 0.25);
    if (Form == form::whole_rows)  // the norm is of whole rows, the rotation of heads
      normed = reshape(rms_norm(input(b, "x"), vector(b, "gain"), 0.25), x.dims());
    if (Form == form::fake_quant_between) {
      normed = apply(op::fake_quant, {}, normed);
      b[normed.id].slot = 0;
    }
    if (Form == form::norm_on_grid) b[normed.id].slot = 0;
    if (Form == form::norm_read_twice) b.output("normed", normed.id);
    const expr last = leaf(b, op::input, "last_position", {dtype::i32, {1, 1}});
    return rope(normed, table_rows(leaf(b, op::weight, "cos", table), last, rows),
                table_rows(leaf(b, op::weight, "sin", table), last, rows));
  });
};

constexpr std::array fuse{rules::fuse_qk_norm_rope};

static_assert(fires(rules::fuse_qk_norm_rope, rotated<form::plain>::value) == 1);
static_assert(fires(rules::fuse_qk_norm_rope, rotated<form::fake_quant_between>::value) == 0);
static_assert(fires(rules::fuse_qk_norm_rope, rotated<form::norm_on_grid>::value) == 0);
static_assert(fires(rules::fuse_qk_norm_rope, rotated<form::norm_read_twice>::value) == 0);
static_assert(fires(rules::fuse_qk_norm_rope, rotated<form::whole_rows>::value) == 0);

using fused = after<rotated<form::plain>, fuse>;
static_assert(count(op::norm_rope, fused::value) == 1);
static_assert(count(op::rms_norm, fused::value) == 0 && count(op::rope, fused::value) == 0);

}  // namespace

TEST_CASE("norm and rotation are the same in one step, at the start of a text and further on") {
  check_same(evaluate<rotated<form::plain>>(), evaluate<fused>());
  check_same(evaluate<rotated<form::plain>>(2, 5), evaluate<fused>(2, 5));
}
