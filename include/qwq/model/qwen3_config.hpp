// SPDX-License-Identifier: Apache-2.0
// Defines `qwen3_config`, the sizes of Qwen3 dense models, and the published ones by name.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include <boost/hana/adapt_struct.hpp>

#include "qwq/core/fixed_string.hpp"
#include "qwq/model/config_limit.hpp"

namespace qwq {

/// What config.json says about a Qwen3 dense model, as far as it changes the computation. A field that the file does not
/// have is what the reference takes for it (Qwen3Config of transformers 5.12.1).
struct qwen3_config {
  std::int64_t vocab_size = 151936;
  std::int64_t hidden_size = 4096;
  std::int64_t intermediate_size = 22016;
  std::int64_t num_hidden_layers = 32;
  std::int64_t num_attention_heads = 32;
  std::int64_t num_key_value_heads = 32;  ///< Divides `num_attention_heads`.
  std::int64_t head_dim = 128;            ///< Even. Not always hidden_size / num_attention_heads.
  std::int64_t max_position_embeddings = 32768;
  double rms_norm_eps = 1e-6;
  double rope_theta = 10000;  ///< Also in rope_parameters or rope_scaling.
  bool tie_word_embeddings = false;

  friend constexpr bool operator==(const qwen3_config&, const qwen3_config&) = default;

  static constexpr std::string_view model_type = "qwen3";

  /// Bounds of the numbers, when they are read from a file.
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

  /// Refuses what contradicts itself or is another computation than `qwen3`'s. `file` has the fields: a `json_value`.
  template <class Json>
  static constexpr void check(Json file, const qwen3_config& c) {
    if (c.num_key_value_heads > c.num_attention_heads)
      file["num_key_value_heads"].refuse(fixed_string<63>("an integer from 1 to ").append(c.num_attention_heads));
    else if (c.num_key_value_heads > 0 && c.num_attention_heads % c.num_key_value_heads != 0)
      file["num_key_value_heads"].refuse(
          fixed_string<63>("a divisor of num_attention_heads = ").append(c.num_attention_heads));
    if (c.head_dim % 2 != 0) file["head_dim"].refuse("an even number from 2 to 1024");  // RoPE rotates pairs
    for (const Json& rotated : {file, file["rope_parameters"], file["rope_scaling"]})
      if (const Json part = rotated["partial_rotary_factor"]; !part.is_null() && part.number() != 1.0) part.refuse("1");
    file["attention_bias"].must_be_false();
    if (!file["hidden_act"].is_null()) file["hidden_act"].must_be("silu");

    // The types of the layers decide where attention looks; the other fields, when there are none.
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

inline constexpr qwen3_config qwen3_0_6b{151936, 1024, 3072, 28, 16, 8, 128, 40960, 1e-6, 1e6, true};
inline constexpr qwen3_config qwen3_1_7b{151936, 2048, 6144, 28, 16, 8, 128, 40960, 1e-6, 1e6, true};
inline constexpr qwen3_config qwen3_4b{151936, 2560, 9728, 36, 32, 8, 128, 40960, 1e-6, 1e6, true};
inline constexpr qwen3_config qwen3_8b{151936, 4096, 12288, 36, 32, 8, 128, 40960, 1e-6, 1e6, false};
inline constexpr qwen3_config qwen3_14b{151936, 5120, 17408, 40, 40, 8, 128, 40960, 1e-6, 1e6, false};
inline constexpr qwen3_config qwen3_32b{151936, 5120, 25600, 64, 64, 8, 128, 40960, 1e-6, 1e6, false};

}  // namespace configs

}  // namespace qwq

// Reflection by name: config.json is read into it, and compared with a compiled one, field by field.
BOOST_HANA_ADAPT_STRUCT(qwq::qwen3_config, vocab_size, hidden_size, intermediate_size, num_hidden_layers,
                        num_attention_heads, num_key_value_heads, head_dim, max_position_embeddings, rms_norm_eps,
                        rope_theta, tie_word_embeddings);
