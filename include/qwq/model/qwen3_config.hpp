// SPDX-License-Identifier: Apache-2.0
// Sizes of Qwen3 dense models, and the published ones by name.
#pragma once

#include <cstdint>

#include <boost/hana/adapt_struct.hpp>

namespace qwq {

/// What config.json says about a Qwen3 dense model (model_type "qwen3"), as far as it changes the computation.
struct qwen3_config {
  std::int64_t vocab_size;
  std::int64_t hidden_size;
  std::int64_t intermediate_size;
  std::int64_t num_hidden_layers;
  std::int64_t num_attention_heads;
  std::int64_t num_key_value_heads;
  std::int64_t head_dim;
  std::int64_t max_position_embeddings;
  double rms_norm_eps;
  double rope_theta;
  bool tie_word_embeddings;

  friend constexpr bool operator==(const qwen3_config&, const qwen3_config&) = default;
};

namespace configs {

inline constexpr qwen3_config qwen3_0_6b{151936, 1024, 3072, 28, 16, 8, 128, 40960, 1e-6, 1e6, true};
inline constexpr qwen3_config qwen3_1_7b{151936, 2048, 6144, 28, 16, 8, 128, 40960, 1e-6, 1e6, true};
inline constexpr qwen3_config qwen3_4b{151936, 2560, 9728, 36, 32, 8, 128, 40960, 1e-6, 1e6, true};
inline constexpr qwen3_config qwen3_8b{151936, 4096, 12288, 36, 32, 8, 128, 40960, 1e-6, 1e6, false};
inline constexpr qwen3_config qwen3_14b{151936, 5120, 17408, 40, 40, 8, 128, 40960, 1e-6, 1e6, false};
inline constexpr qwen3_config qwen3_32b{151936, 5120, 25600, 64, 64, 8, 128, 40960, 1e-6, 1e6, false};

}  // namespace configs

}  // namespace qwq

// Reflection by name, so that a checkpoint's config.json is compared with the compiled one field by field.
BOOST_HANA_ADAPT_STRUCT(qwq::qwen3_config, vocab_size, hidden_size, intermediate_size, num_hidden_layers,
                        num_attention_heads, num_key_value_heads, head_dim, max_position_embeddings, rms_norm_eps,
                        rope_theta, tie_word_embeddings);
