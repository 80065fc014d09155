// SPDX-License-Identifier: Apache-2.0
// A model that says how a leaf is stored which none of its parts has.
// expect: no_leaf_is_named_so
// expect: "mlp.experts.*.gate_prj.weight"
#include <qwq/model/qwen3.hpp>
#include <qwq/runtime/session.hpp>

using namespace qwq;

using qwen = qwen3<qwen3_config{32, 8, 16, 1, 2, 1, 4, 16, 1e-6, 1e6, false}>;
struct right : qwen {
  static constexpr stored_as stored[] = {{"mlp.gate_proj.weight", "mlp.gate_up_proj", 0, 2}};
};
struct wrong : qwen {
  static constexpr stored_as stored[] = {{"mlp.experts.*.gate_prj.weight", "mlp.experts.gate_up_proj", 0, 2}};
};

static_assert(program<right, native<>, f32, 1>::layer_count == 1);
#ifdef FAIL
static_assert(program<wrong, native<>, f32, 1>::layer_count == 1);
#endif
