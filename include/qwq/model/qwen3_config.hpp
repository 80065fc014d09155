// SPDX-License-Identifier: Apache-2.0
// Defines `qwen3_config`, the sizes of Qwen3 dense models, and `configs`, the published models.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <boost/hana/adapt_struct.hpp>

#include "qwq/core/fixed_string.hpp"
#include "qwq/model/config_limit.hpp"

namespace qwq {

/// Fields of a Qwen3 dense model's config.json that affect the computation. Defaults are those of the reference
/// (Qwen3Config of transformers 5.12.1), for fields that a file omits.
struct qwen3_config {
  std::int64_t vocab_size = 151936;        ///< Rows of the embedding table.
  std::int64_t hidden_size = 4096;         ///< Channels of the residual stream.
  std::int64_t intermediate_size = 22016;  ///< Channels inside the MLP.
  std::int64_t num_hidden_layers = 32;     ///< Decoder layers.
  std::int64_t num_attention_heads = 32;   ///< Query heads.
  std::int64_t num_key_value_heads = 32;   ///< Key/value heads; a divisor of `num_attention_heads`.
  std::int64_t head_dim = 128;  ///< Channels per head; even, and not always hidden_size / num_attention_heads.
  std::int64_t max_position_embeddings = 32768;  ///< Maximum length of a text, in tokens.
  double rms_norm_eps = 1e-6;                    ///< Epsilon of RMSNorm.
  double rope_theta = 10000;                     ///< Base of RoPE; also read from rope_parameters or rope_scaling.
  bool tie_word_embeddings = false;              ///< True if the head uses the embedding table.

  /// Compares all members.
  friend constexpr bool operator==(const qwen3_config&, const qwen3_config&) = default;

  /// `model_type` in config.json.
  static constexpr std::string_view model_type = "qwen3";

  /// Bounds of numeric fields in files.
  static constexpr std::array limits{
      config_limit{"vocab_size", "1", "16777216"},
      config_limit{"hidden_size", "1", "131072"},
      config_limit{"intermediate_size", "1", "1048576"},
      config_limit{"num_hidden_layers", "1", "1024"},
      config_limit{"num_attention_heads", "1", "1024"},
      config_limit{"num_key_value_heads", "1", "1024"},
      config_limit{"head_dim", "2", "1024"},
      config_limit{"max_position_embeddings", "1", "16777216"},
      config_limit{"rms_norm_eps", "1e-12", "0.1"},
      config_limit{"rope_theta", "1", "1e12"},
  };

  /// Refuses configs that are inconsistent or need another computation than `qwen3`. `file` is the `json_value` with
  /// the fields.
  template <class Json>
  static constexpr void check(Json file, const qwen3_config& c) {
    if (c.num_key_value_heads > c.num_attention_heads)
      file["num_key_value_heads"].refuse(fixed_string<63>("an integer from 1 to ").append(c.num_attention_heads));
    else if (c.num_key_value_heads > 0 && c.num_attention_heads % c.num_key_value_heads != 0)
      file["num_key_value_heads"].refuse(
          fixed_string<63>("a divisor of num_attention_heads = ").append(c.num_attention_heads));
    // RoPE rotates pairs of channels
    if (c.head_dim % 2 != 0) file["head_dim"].refuse("an even number from 2 to 1024");
    for (const Json& rotated : {file, file["rope_parameters"], file["rope_scaling"]})
      if (const Json part = rotated["partial_rotary_factor"]; !part.is_null() && part.number() != 1.0) part.refuse("1");
    file["attention_bias"].must_be_false();
    if (!file["hidden_act"].is_null()) file["hidden_act"].must_be("silu");

    // layer_types determines sliding-window attention; the other fields do so only if it is absent.
    const Json layers = file["layer_types"], sliding = file["use_sliding_window"];
    if (!sliding.is_null() && !sliding.is_boolean()) sliding.refuse("true or false");
    if (!layers.is_null()) {
      if (!layers.is_list() || layers.size() != static_cast<std::size_t>(c.num_hidden_layers))
        layers.refuse(fixed_string<63>("a list of ").append(c.num_hidden_layers));
      for (const Json& layer : layers.elements()) layer.must_be("full_attention");
    } else if (sliding.is_true() && (file["sliding_window"].is_absent() || !file["sliding_window"].is_null())) {
      const Json first = file["max_window_layers"];
      if (!first.is_null() && !first.integer()) first.refuse("an integer");
      if (first.integer().value_or(28) < c.num_hidden_layers) sliding.refuse("false");
    }
  }
};

namespace configs {

/// Qwen3-0.6B.
inline constexpr qwen3_config qwen3_0_6b{151936, 1024, 3072, 28, 16, 8, 128, 40960, 1e-6, 1e6, true};
/// Qwen3-1.7B.
inline constexpr qwen3_config qwen3_1_7b{151936, 2048, 6144, 28, 16, 8, 128, 40960, 1e-6, 1e6, true};
/// Qwen3-4B.
inline constexpr qwen3_config qwen3_4b{151936, 2560, 9728, 36, 32, 8, 128, 40960, 1e-6, 1e6, true};
/// Qwen3-8B.
inline constexpr qwen3_config qwen3_8b{151936, 4096, 12288, 36, 32, 8, 128, 40960, 1e-6, 1e6, false};
/// Qwen3-14B.
inline constexpr qwen3_config qwen3_14b{151936, 5120, 17408, 40, 40, 8, 128, 40960, 1e-6, 1e6, false};
/// Qwen3-32B.
inline constexpr qwen3_config qwen3_32b{151936, 5120, 25600, 64, 64, 8, 128, 40960, 1e-6, 1e6, false};

}  // namespace configs

}  // namespace qwq

// Reflects the fields by name, to read config.json and to compare it with a compiled config.
BOOST_HANA_ADAPT_STRUCT(qwq::qwen3_config, vocab_size, hidden_size, intermediate_size, num_hidden_layers,
                        num_attention_heads, num_key_value_heads, head_dim, max_position_embeddings, rms_norm_eps,
                        rope_theta, tie_word_embeddings);
