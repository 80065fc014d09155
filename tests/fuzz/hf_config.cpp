// SPDX-License-Identifier: Apache-2.0
// Fuzz entry: any bytes as config.json, and what follows a NUL as generation_config.json.
#include <qwq/io/hf_config.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "check.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto end = text.find('\0');
  fuzz::parse([&] {
    const auto config = qwq::parse_config(
        text.substr(0, end), "fuzz", end == text.npos ? std::nullopt : std::optional(text.substr(end + 1)), "fuzz");
    fuzz::expect(config.vocab_size > 0 && config.hidden_size > 0 && config.intermediate_size > 0);
    fuzz::expect(config.num_hidden_layers > 0 && config.max_position_embeddings > 0);
    fuzz::expect(config.num_key_value_heads > 0 && config.num_attention_heads % config.num_key_value_heads == 0);
    fuzz::expect(config.head_dim > 0 && config.head_dim % 2 == 0);
    fuzz::expect(config.rms_norm_eps > 0 && config.rope_theta >= 1);
    fuzz::expect(!config.attention_bias && !config.use_sliding_window && config.hidden_act == "silu");
    for (const auto id : config.eos_token_ids) fuzz::expect(id >= 0 && id < config.vocab_size);
  });
  return 0;
}
