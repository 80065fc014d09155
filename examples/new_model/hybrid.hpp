// SPDX-License-Identifier: Apache-2.0
// A hybrid model that the library does not know: attention and a gated recurrence in turn, sparse MLPs of four experts.
#pragma once

#include <array>

#include <boost/hana/adapt_struct.hpp>

#include <qwq/core/math.hpp>
#include <qwq/layer/layers.hpp>
#include <qwq/model/model_parts.hpp>
#include <qwq/model/model_table.hpp>

namespace mine {

using namespace qwq;

// What config.json has. A field without a default must be there, because 0 is beyond its limits.
struct hybrid_config {
  std::int64_t vocab_size, hidden_size, num_hidden_layers, num_attention_heads, num_key_value_heads, head_dim;
  std::int64_t rotary_dim;  // channels of a head that turn
  std::int64_t num_experts, num_experts_per_tok, moe_intermediate_size, max_position_embeddings;
  double rms_norm_eps = 1e-6, rope_theta = 1e4;

  static constexpr std::string_view model_type = "hybrid";
  static constexpr std::array limits{
      config_limit{"vocab_size", "1", "1000000"},
      config_limit{"hidden_size", "1", "10000"},
      config_limit{"num_hidden_layers", "1", "100"},
      config_limit{"num_attention_heads", "1", "100"},
      config_limit{"num_key_value_heads", "1", "100"},
      config_limit{"head_dim", "2", "1000"},
      config_limit{"rotary_dim", "2", "1000"},
      config_limit{"num_experts", "1", "256"},
      config_limit{"num_experts_per_tok", "1", "256"},
      config_limit{"moe_intermediate_size", "1", "10000"},
      config_limit{"rms_norm_eps", "1e-12", "0.1"},
      config_limit{"rope_theta", "1", "1e12"},
      config_limit{"max_position_embeddings", "1", "1000000"},
  };
  static constexpr void check(json_value file, const hybrid_config& c) {
    if (c.rotary_dim > c.head_dim)
      file["rotary_dim"].refuse(fixed_string<63>("at most head_dim = ").append(c.head_dim));
    if (c.num_experts_per_tok > c.num_experts)
      file["num_experts_per_tok"].refuse(fixed_string<63>("at most num_experts = ").append(c.num_experts));
  }
};

// h = decay * h + u, token by token: (u [1,S,C], decay [1,S,C], h [1,C]) -> every h; result 0 is the last one.
inline constexpr op_schema gated_scan =
    custom_op("gated_scan", 3, [](type_inference& in) {
      if (in.want_float(0) && in.want_rank(0, 3) &&
          in.want_shape(in.dims(0), in.dims(1), error_code::shapes_do_not_broadcast))
        in.out = in.args[0];
    }).with_state(2, 0);

template <hybrid_config C>
struct hybrid {
  static constexpr hybrid_config config = C;
  static constexpr std::string_view model_type = hybrid_config::model_type;
  static constexpr std::int64_t H = C.hidden_size, E = C.num_experts, I = C.moe_intermediate_size, D = C.head_dim;
  static constexpr std::int64_t queries = C.num_attention_heads, keys = C.num_key_value_heads;
  using floats = qwq::value<dtype::f32>;
  template <std::int64_t N>
  using norm = layer::rms_norm<N, layer::gain::one_plus>;  // (1 + w) x / rms(x)

  static constexpr dim rows(std::int64_t n) { return n == 1 ? dim{1} : dim{n, "sequence_length"}; }
  template <std::int64_t Rows>
  static constexpr tensor_type hidden{dtype::f32, {1, rows(Rows), H}};

  // Each token goes through its two most likely experts, weighted by their probabilities.
  static constexpr floats sparse_mlp(floats x) {
    const in_module scope{*x.b, "mlp"};
    const expr p = top_k(softmax(layer::linear<H, E>{"gate", role::router}(x)), C.num_experts_per_tok);
    const expr who = get_tuple_element(p, 0, {dtype::i32, p.dims()});
    const auto experts = [&](const char* name, std::int64_t out, std::int64_t in, expr y) {
      const in_module inner{*x.b, name};
      return expert_linear(y, who, weight_leaf(*x.b, inner.tensor("weight"), {dtype::f32, {E, out, in}}, role::expert));
    };
    const expr y = silu(experts("experts.*.gate_proj", I, H, x)) * experts("experts.*.up_proj", I, H, x);
    return floats{weighted_sum(experts("experts.*.down_proj", H, I, y), p)};
  }

  // What both kinds of layers are: h + mixer(norm(h)), then h + sparse_mlp(norm(h)).
  template <class Mixer>
  static constexpr floats block(floats h, Mixer mixer) {
    const floats mixed{h + mixer(norm<H>{"input_layernorm", C.rms_norm_eps}(h))};
    return floats{mixed + sparse_mlp(norm<H>{"post_attention_layernorm", C.rms_norm_eps}(mixed))};
  }

  template <std::int64_t Rows, dtype Kv>
  struct attention_layer {
    static constexpr std::string_view prefix = "model.layers.";
    static constexpr auto value = [] {
      graph<> g;
      builder b{g};
      tensor_type cache{Kv, {1, keys, dim{C.max_position_embeddings, "max_seq_len"}, D}};
      const floats h{leaf(b, op::input, "hidden_states", hidden<Rows>)};
      const expr past_key = state(b, "key", cache, state_update::append);
      const expr past_value = state(b, "value", cache, state_update::append);
      const qwq::value<dtype::i32> last{leaf(b, op::input, "last_position", {dtype::i32, {1, 1}})};
      b.output(
          "hidden_states",
          block(h, [&](floats x) {
            const in_module scope{b, "self_attn"};
            const auto heads = [&](expr y, std::int64_t n) { return floats{reshape(y, {1, rows(Rows), n, D})}; };
            const auto turn =
                layer::rope_table<C.rotary_dim, C.max_position_embeddings>{C.rope_theta}(last, rows(Rows));
            const floats q = turn(heads(layer::linear<H, queries * D>{"q_proj"}(x), queries));
            const floats k = turn(heads(layer::linear<H, keys * D>{"k_proj"}(x), keys));
            const floats v = heads(layer::linear<H, keys * D>{"v_proj"}(x), keys);
            const expr all_keys = kv_cache_update(past_key, k, last), all_values = kv_cache_update(past_value, v, last);
            b.output("key", all_keys.id);
            b.output("value", all_values.id);
            const double scale = 1 / square_root(static_cast<double>(D));
            const expr mixed = reshape(attention(q, all_keys, all_values, last, scale), {1, rows(Rows), queries * D});
            return layer::linear<queries * D, H>{"o_proj"}(floats{mixed});
          }).id);
      return g;
    }();
  };

  template <std::int64_t Rows>
  struct recurrent_layer {
    static constexpr std::string_view prefix = "model.layers.";
    static constexpr auto value = [] {
      graph<> g;
      builder b{g};
      const floats h{leaf(b, op::input, "hidden_states", hidden<Rows>)};
      const expr before = state(b, "recurrent", {dtype::f32, {1, H}}, state_update::replace);
      b.output("hidden_states", block(h, [&](floats x) {
                                  const in_module scope{b, "recurrence"};
                                  const expr decay = sigmoid(layer::linear<H, H>{"decay_proj", role::gate}(x));
                                  const expr y =
                                      apply(gated_scan, {}, layer::linear<H, H>{"in_proj"}(x), decay, before);
                                  b.output("recurrent", get_tuple_element(y, 0, before.definition().type).id);
                                  return layer::linear<H, H>{"out_proj"}(floats{y});
                                }).id);
      return g;
    }();
  };

  template <std::int64_t Rows>
  struct embedding {
    static constexpr std::string_view prefix = "model.";
    static constexpr auto value = [] {
      graph<> g;
      builder b{g};
      const expr ids = leaf(b, op::input, "input_ids", {dtype::i64, {1, rows(Rows)}});
      const expr table = weight_leaf(b, "embed_tokens.weight", {dtype::f32, {C.vocab_size, H}}, role::embedding);
      b.output("hidden_states", qwq::embedding(table, ids).id);
      return g;
    }();
  };

  template <std::int64_t Rows>
  struct final_norm {
    static constexpr std::string_view prefix = "model.";
    static constexpr auto value = [] {
      graph<> g;
      builder b{g};
      b.output("hidden_states",
               norm<H>{"norm", C.rms_norm_eps}(floats{leaf(b, op::input, "hidden_states", hidden<Rows>)}).id);
      return g;
    }();
  };

  template <std::int64_t Rows>
  struct lm_head {
    static constexpr std::string_view prefix = "";
    static constexpr auto value = [] {
      graph<> g;
      builder b{g};
      const floats h{leaf(b, op::input, "hidden_states", hidden<Rows>)};
      b.output("logits", layer::linear<H, C.vocab_size>{"lm_head", role::head}(h).id);
      return g;
    }();
  };

  template <std::int64_t Rows, dtype Kv>
  using part_types =
      type_list<embedding<Rows>, recurrent_layer<Rows>, attention_layer<Rows, Kv>, final_norm<Rows>, lm_head<Rows>>;
  static constexpr auto parts = join_parts(single_part(stage::embedding, 0),
                                           layer_parts<C.num_hidden_layers>([](std::int64_t i) { return 1 + i % 2; }),
                                           single_part(stage::norm, 3), single_part(stage::head, 4));
};

// What exporters are built from.
using hybrid_model = model_family<hybrid_config, hybrid>;

}  // namespace mine

BOOST_HANA_ADAPT_STRUCT(mine::hybrid_config, vocab_size, hidden_size, num_hidden_layers, num_attention_heads,
                        num_key_value_heads, head_dim, rotary_dim, num_experts, num_experts_per_tok,
                        moe_intermediate_size, max_position_embeddings, rms_norm_eps, rope_theta);
