// SPDX-License-Identifier: Apache-2.0
// A runtime for one model: weights that all share, and conversations that each have a cache.
#pragma once

#include <qwq.hpp>

#include <array>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>

using model = qwq::qwen3<qwq::qwen3_config{.vocab_size = 1280,
                                           .hidden_size = 128,
                                           .intermediate_size = 384,
                                           .num_hidden_layers = 6,
                                           .num_attention_heads = 4,
                                           .num_key_value_heads = 2,
                                           .head_dim = 64,
                                           .max_position_embeddings = 1024,
                                           .rms_norm_eps = 1e-6,
                                           .rope_theta = 1e6,
                                           .tie_word_embeddings = true}>;

/// The vocabulary, and weights that stay in their file and are read from there by any number of threads.
template <qwq::dtype Cache>
struct loaded_model {
  explicit loaded_model(const std::filesystem::path& folder)
      : words(qwq::tokenizer::open(folder)), file(qwq::checkpoint::open(folder)), weights(file, {.positions = 256}) {}

  qwq::tokenizer words;
  qwq::checkpoint file;
  qwq::bound_model<model, qwq::native<Cache>> weights;
};

/// One text at a time. The cache and every buffer are allocated here; reading and continuing texts allocates nothing.
template <qwq::dtype Cache>
class conversation {
 public:
  explicit conversation(const loaded_model<Cache>& m)
      : ends_{m.words.token_to_id("<|im_end|>").value(), m.words.token_to_id("<|endoftext|>").value()},
        session_(m.weights),
        choose_({}, model::config.vocab_size),
        text_(m.words, true) {}

  /// Reads `prompt` and calls `show(text)` with what follows, token by token, `limit` tokens at most.
  template <class F>
  void reply(std::span<const std::int32_t> prompt, std::int64_t limit, F&& show) {
    session_.truncate(0);
    qwq::generate(session_, session_.prefill(prompt), limit, choose_, ends_, [&](std::int32_t id) {
      show(text_.push(id));
      return true;
    });
    show(text_.finish());
  }

 private:
  std::array<std::int32_t, 2> ends_;
  qwq::session<model, qwq::native<Cache>> session_;
  qwq::sampler choose_;
  qwq::stream_decoder text_;
};
