// SPDX-License-Identifier: Apache-2.0
// A recurrence holds one value for the whole text: its session can go back to a mark, and cannot be truncated.
// expect-gcc: no matching function for call to 'qwq::session<recurrence
// expect-gcc: has_running_states
// expect-clang: invalid reference to function 'truncate'
// expect-clang: has_running_states
#include <qwq/model/model_parts.hpp>
#include <qwq/runtime/session.hpp>

using namespace qwq;

/// y = x + what was seen before, of a text of hidden states.
inline constexpr op_schema counted =
    custom_op("counted", 2, [](type_inference& in) { in.out = in.args[0]; }).with_state(1, 0);
template <>
struct qwq::custom_kernel<counted> {
  template <class Step>
  static void run(execution_context&) {}
};

struct recurrence_config {
  std::int64_t vocab_size, max_position_embeddings;
};
struct recurrence {
  static constexpr recurrence_config config{8, 16};
  static constexpr std::string_view model_type = "recurrence";
  template <std::int64_t Rows>
  struct embedding {
    static constexpr std::string_view prefix = "model.";
    static constexpr auto value = [] {
      graph<> g;
      builder b{g};
      const expr table = leaf(b, op::weight, "embed_tokens.weight", {dtype::f32, {8, 4}});
      b.output("hidden_states", qwq::embedding(table, leaf(b, op::input, "input_ids", {dtype::i64, {1, 1}})).id);
      return g;
    }();
  };
  template <std::int64_t Rows>
  struct layer {
    static constexpr std::string_view prefix = "model.layers.";
    static constexpr auto value = [] {
      graph<> g;
      builder b{g};
      const expr seen = state(b, "seen", {dtype::f32, {1, 1, 4}}, state_update::replace);
      const expr y = apply(counted, {}, leaf(b, op::input, "hidden_states", {dtype::f32, {1, 1, 4}}), seen);
      b.output("hidden_states", y.id);
      b.output("seen", get_tuple_element(y, 0, {dtype::f32, {1, 1, 4}}).id);
      return g;
    }();
  };
  template <std::int64_t Rows>
  struct head {
    static constexpr std::string_view prefix = "";
    static constexpr auto value = [] {
      graph<> g;
      builder b{g};
      const expr w = leaf(b, op::weight, "lm_head.weight", {dtype::f32, {8, 4}});
      b.output("logits", linear(leaf(b, op::input, "hidden_states", {dtype::f32, {1, 1, 4}}), w).id);
      return g;
    }();
  };
  template <std::int64_t Rows, dtype Cache>
  using part_types = type_list<embedding<Rows>, layer<Rows>, head<Rows>>;
  static constexpr auto parts =
      join_parts(single_part(stage::embedding, 0), layer_parts<1>([](auto) { return 1; }), single_part(stage::head, 2));
};

void right(session<recurrence>& s) { s.reset(); }
#ifdef FAIL
void wrong(session<recurrence>& s) { s.truncate(3); }
#endif
