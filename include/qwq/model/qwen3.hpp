// SPDX-License-Identifier: Apache-2.0
// Defines `qwen3`, the dense Qwen3 models, as a list of parts.
#pragma once

#include "qwq/core/math.hpp"
#include "qwq/layer/layers.hpp"
#include "qwq/model/model_parts.hpp"
#include "qwq/model/qwen3_config.hpp"

namespace qwq {

/// One decoder layer: pre-norm attention and SwiGLU, both residual (modeling_qwen3.py, Qwen3DecoderLayer).
template <qwen3_config C, dtype Kv>
constexpr layer::attention_result<Kv> qwen3_decoder_layer(value<dtype::f32> h, const layer::kv_cache<Kv>& past) {
  constexpr std::int64_t hidden = C.hidden_size;
  const layer::rms_norm<hidden> input_layernorm{"input_layernorm", C.rms_norm_eps};
  const layer::rms_norm<hidden> post_attention_layernorm{"post_attention_layernorm", C.rms_norm_eps};
  const layer::attention<hidden, C.num_attention_heads, C.num_key_value_heads, C.head_dim, C.max_position_embeddings>
      self_attn{C.rms_norm_eps, C.rope_theta, 1.0 / square_root(static_cast<double>(C.head_dim))};

  const auto a = self_attn(input_layernorm(h), past);
  const auto h1 = layer::residual{"attn_residual"}(h, a.out);
  const auto h2 =
      layer::residual{"mlp_residual"}(h1, layer::mlp<hidden, C.intermediate_size>{}(post_attention_layernorm(h1)));
  return {h2, a.keys, a.values};
}

/// Qwen3 dense with the sizes `C`: embedding, decoder layers (one graph, executed once per layer with that layer's
/// weights), final norm and head. `Rows` is the maximum number of tokens per run: 64 or more for prefill, 1 for decode.
/// `Kv` is the element type of the KV cache.
template <qwen3_config C>
struct qwen3 {
  /// Sizes of the model.
  static constexpr qwen3_config config = C;
  /// `model_type` in config.json.
  static constexpr std::string_view model_type = qwen3_config::model_type;

  /// Dimension of n tokens: fixed if n is 1, else named "sequence_length".
  static constexpr dim rows(std::int64_t n) { return n == 1 ? dim{1} : dim{n, "sequence_length"}; }
  /// Type of the hidden states of n tokens, f32 [1,n,H].
  static constexpr tensor_type hidden_type(std::int64_t n) { return {dtype::f32, {1, rows(n), C.hidden_size}}; }

  /// Embedding: (input_ids [1,S]) -> hidden_states [1,S,H].
  template <std::int64_t Rows>
  struct embedding {
    /// Prefix of tensor names.
    static constexpr std::string_view prefix = "model.";
    /// The graph: input_ids [1,S] to hidden_states [1,S,H].
    static constexpr auto value = [] {
      graph<> g;
      builder b{g};
      const expr ids = leaf(b, op::input, "input_ids", {dtype::i64, {1, rows(Rows)}});
      const expr table =
          weight_leaf(b, "embed_tokens.weight", {dtype::f32, {C.vocab_size, C.hidden_size}}, role::embedding);
      b.module = "embed_tokens";
      b.output("hidden_states", qwq::embedding(table, ids).id);
      return g;
    }();
  };

  /// Decoder layer: (hidden_states [1,S,H], states key and value [1,Hk,max_seq_len,D], last_position [1,1]) ->
  /// hidden_states, key, value.
  template <std::int64_t Rows, dtype Kv>
  struct decoder_layer {
    /// Prefix of tensor names; the number of the layer follows it.
    static constexpr std::string_view prefix = "model.layers.";
    /// The graph: hidden_states [1,S,H] and the KV cache to hidden_states [1,S,H].
    static constexpr auto value = [] {
      graph<> g;
      builder b{g};
      tensor_type cache{Kv, {1, C.num_key_value_heads, dim{C.max_position_embeddings, "max_seq_len"}, C.head_dim}};
      const qwq::value<dtype::f32> h{leaf(b, op::input, "hidden_states", hidden_type(Rows))};
      const layer::kv_cache<Kv> past{qwq::value<Kv>{state(b, "key", cache, state_update::append)},
                                     qwq::value<Kv>{state(b, "value", cache, state_update::append)},
                                     qwq::value<dtype::i32>{leaf(b, op::input, "last_position", {dtype::i32, {1, 1}})}};
      const auto out = qwen3_decoder_layer<C>(h, past);
      b.output("hidden_states", out.out.id);
      b.output("key", out.keys.id);
      b.output("value", out.values.id);
      return g;
    }();
  };

  /// Final norm: (hidden_states [1,S,H]) -> hidden_states [1,S,H].
  template <std::int64_t Rows>
  struct final_norm {
    /// Prefix of tensor names.
    static constexpr std::string_view prefix = "model.";
    /// The graph: hidden_states [1,S,H] to hidden_states [1,S,H].
    static constexpr auto value = [] {
      graph<> g;
      builder b{g};
      const qwq::value<dtype::f32> h{leaf(b, op::input, "hidden_states", hidden_type(Rows))};
      b.output("hidden_states", layer::rms_norm<C.hidden_size>{"norm", C.rms_norm_eps}(h).id);
      return g;
    }();
  };

  /// Head: (hidden_states [1,S,H]) -> logits [1,S,V]. A tied head uses the embedding table.
  template <std::int64_t Rows>
  struct lm_head {
    /// Prefix of tensor names.
    static constexpr std::string_view prefix = C.tie_word_embeddings ? "model." : "";
    /// The graph: hidden_states [1,S,H] to logits [1,S,V].
    static constexpr auto value = [] {
      graph<> g;
      builder b{g};
      const qwq::value<dtype::f32> h{leaf(b, op::input, "hidden_states", hidden_type(Rows))};
      const parameter<dtype::f32, C.vocab_size, C.hidden_size> table{
          weight_leaf(b, C.tie_word_embeddings ? "embed_tokens.weight" : "lm_head.weight",
                      {dtype::f32, {C.vocab_size, C.hidden_size}}, role::head)};
      b.module = "lm_head";
      b.output("logits", layer::linear<C.hidden_size, C.vocab_size>{"lm_head"}(h, table).id);
      return g;
    }();
  };

  /// Types of the parts.
  template <std::int64_t Rows, dtype Kv>
  using part_types = type_list<embedding<Rows>, decoder_layer<Rows, Kv>, final_norm<Rows>, lm_head<Rows>>;
  /// Parts, in execution order.
  static constexpr auto parts =
      join_parts(single_part(stage::embedding, 0), layer_parts<C.num_hidden_layers>([](std::int64_t) { return 1; }),
                 single_part(stage::norm, 2), single_part(stage::head, 3));
};

}  // namespace qwq
