// SPDX-License-Identifier: Apache-2.0
// A part with an input that is neither token ids, nor the position, nor a value of a part before it.
// expect: no_part_makes_the_input
// expect: "deepstack"
#include <qwq/model/qwen3.hpp>
#include <qwq/runtime/session.hpp>

using namespace qwq;

using qwen = qwen3<qwen3_config{32, 8, 16, 1, 2, 1, 4, 16, 1e-6, 1e6, false}>;

template <bool Known>
struct with_extra_input : qwen {
  template <std::int64_t Rows>
  struct extra_norm {
    static constexpr std::string_view prefix = "model.";
    static constexpr auto value = [] {
      graph<> g;
      builder b{g};
      const expr h = leaf(b, op::input, "hidden_states", hidden_type(Rows));
      b.output("hidden_states", (h + leaf(b, op::input, Known ? "hidden_states" : "deepstack", hidden_type(Rows))).id);
      return g;
    }();
  };
  template <std::int64_t Rows, dtype Kv>
  using part_types = type_list<embedding<Rows>, decoder_layer<Rows, Kv>, extra_norm<Rows>, lm_head<Rows>>;
};

std::span<const float> right(session<with_extra_input<true>>& s) { return s.decode(1); }
#ifdef FAIL
std::span<const float> wrong(session<with_extra_input<false>>& s) { return s.decode(1); }
#endif
