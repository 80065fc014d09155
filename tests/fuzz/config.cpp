// SPDX-License-Identifier: Apache-2.0
// Fuzz entry: any bytes as JSON; and as config.json, with what follows a NUL as generation_config.json.
#include <qwq/io/json_reader.hpp>
#include <qwq/io/special_tokens.hpp>
#include <qwq/model/config_reader.hpp>
#include <qwq/model/qwen3_config.hpp>

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "check.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  // Both readers of JSON take the same texts.
  bool taken = false;
  fuzz::parse([&] {
    qwq::detail::json_reader reader(text, "fuzz");
    reader.skip();
    reader.end();
    taken = true;
  });
  fuzz::expect(qwq::json_tree(text).problem().ok() == taken);

  const auto end = text.find('\0');
  fuzz::parse([&] {
    const auto config = qwq::from_json<qwq::qwen3_config>(text.substr(0, end), "fuzz");
    fuzz::expect(config.vocab_size > 0 && config.hidden_size > 0 && config.intermediate_size > 0);
    fuzz::expect(config.num_hidden_layers > 0 && config.max_position_embeddings > 0);
    fuzz::expect(config.num_key_value_heads > 0 && config.num_attention_heads % config.num_key_value_heads == 0);
    fuzz::expect(config.head_dim > 0 && config.head_dim % 2 == 0);
    fuzz::expect(config.rms_norm_eps > 0 && config.rope_theta >= 1);
  });
  fuzz::parse([&] {
    qwq::special_tokens known;
    qwq::read_special_tokens(known, text.substr(0, end), "fuzz", 1000);
    if (end != text.npos) qwq::read_special_tokens(known, text.substr(end + 1), "fuzz", 1000);
    for (const auto id : known.eos_token_ids) fuzz::expect(id >= 0 && id < 1000);
  });
  return 0;
}
