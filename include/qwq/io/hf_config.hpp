// SPDX-License-Identifier: Apache-2.0
// config.json of a Hugging Face Qwen3 checkpoint, in the spelling of transformers 4 or 5.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "qwq/core/dtype.hpp"
#include "qwq/core/error.hpp"
#include "qwq/io/json.hpp"
#include "qwq/io/json_place.hpp"
#include "qwq/io/mapped_file.hpp"
#include "qwq/io/presence.hpp"

namespace qwq {

/// Token ids with a meaning of their own, of config.json and generation_config.json; those of the latter win.
struct special_tokens {
  std::optional<std::int32_t> bos_token_id, pad_token_id;
  std::vector<std::int32_t> eos_token_ids;  ///< Any of them ends a text; empty when no file says.

  bool operator==(const special_tokens&) const = default;
};

/// The dense Qwen3 model that a checkpoint holds. `read_config` returns only what qwq can compute: `attention_bias` and
/// `use_sliding_window` are false, `hidden_act` is "silu", RoPE is the default one.
struct hf_config : special_tokens {
  std::string model_type;
  std::int64_t vocab_size = 0;  ///< Rows of the embedding; may exceed the number of tokens of the tokenizer.
  std::int64_t hidden_size = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t num_hidden_layers = 0;
  std::int64_t num_attention_heads = 0;
  std::int64_t num_key_value_heads = 0;  ///< Divides `num_attention_heads`.
  std::int64_t head_dim = 0;  ///< Even; 128 where the file does not say. Not always hidden_size / num_attention_heads.
  std::int64_t max_position_embeddings = 0;
  double rms_norm_eps = 0;
  double rope_theta = 0;
  bool tie_word_embeddings = false;
  bool attention_bias = false;
  bool use_sliding_window = false;
  std::string hidden_act;
  std::optional<dtype> type;  ///< f32, f16 or bf16: what the checkpoint mostly holds.

  bool operator==(const hf_config&) const = default;
};

namespace detail {

inline bool is_between(const json& value, std::int64_t min, std::int64_t max) {
  if (value.is_number_unsigned() && value.get<std::uint64_t>() > static_cast<std::uint64_t>(max)) return false;
  return value.is_number_integer() && value.get<std::int64_t>() >= min && value.get<std::int64_t>() <= max;
}

inline std::int64_t integer(const json_place& at, std::int64_t min, std::int64_t max) {
  if (!is_between(*at, min, max)) at.refuse("an integer from " + std::to_string(min) + " to " + std::to_string(max));
  return at->get<std::int64_t>();
}

inline double number(const json_place& at, double min, double max) {
  if (!at->is_number() || !(at->get<double>() >= min && at->get<double>() <= max))
    at.refuse("a number from " + json(min).dump() + " to " + json(max).dump());
  return at->get<double>();
}

/// A token id; none when it is absent, or negative, which older tools write for "none".
inline std::optional<std::int32_t> token(const json_place& at, std::int64_t vocab_size) {
  if (at->is_null() || (at->is_number_integer() && !at->is_number_unsigned())) return std::nullopt;
  return static_cast<std::int32_t>(integer(at, 0, vocab_size - 1));
}

/// A token id or a list of them; may be empty.
inline std::vector<std::int32_t> tokens(const json_place& at, std::int64_t vocab_size) {
  std::vector<std::int32_t> ids;
  if (!at->is_array()) {
    if (const auto id = token(at, vocab_size)) ids.push_back(*id);
    return ids;
  }
  for (std::size_t i = 0; i < at->size(); ++i) {
    if (at[i]->is_null()) at[i].refuse("a token id");
    if (const auto id = token(at[i], vocab_size)) ids.push_back(*id);
  }
  return ids;
}

/// transformers 5 writes rope_parameters; 4 writes rope_theta and rope_scaling (null, or what changes the frequencies).
inline double rope_theta(const json_place& config) {
  const auto theta = [](const json_place& at) { return number(at, 1.0, 1e12); };
  const json_place top = config["rope_theta"];
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    const json_place rope = config[key];
    if (rope->is_null()) continue;
    const json_place kind = rope["rope_type"]->is_null() ? rope["type"] : rope["rope_type"];
    kind.must_be("default");
    const json_place part = rope["partial_rotary_factor"];
    if (!part->is_null() && *part != 1.0) part.refuse("1");
    if (rope["rope_theta"]->is_null()) continue;
    if (!top->is_null() && theta(top) != theta(rope["rope_theta"]))
      rope["rope_theta"].refuse("the top-level rope_theta " + describe(*top));
    return theta(rope["rope_theta"]);
  }
  return theta(top);
}

/// Takes the token ids of one file over those that are known.
inline void read_special_tokens(special_tokens& known, const json_place& from, std::int64_t vocab_size) {
  if (const auto id = token(from["bos_token_id"], vocab_size)) known.bos_token_id = id;
  if (const auto id = token(from["pad_token_id"], vocab_size)) known.pad_token_id = id;
  if (const auto ids = tokens(from["eos_token_id"], vocab_size); !ids.empty()) known.eos_token_ids = ids;
}

}  // namespace detail

/// Parses the text of config.json and, where there is one, of generation_config.json, whose token ids win. `file` and
/// `generation_file` name them in messages. Throws `error` naming the field that is missing, of the wrong type, absurd
/// or outside of what qwq computes.
inline hf_config parse_config(std::string_view text, const std::string& file,
                              std::optional<std::string_view> generation = {},
                              const std::string& generation_file = {}) {
  const detail::json parsed = detail::parse_object(text, file);
  const auto fields = detail::json_place::root(parsed, file);
  hf_config config;
  fields["model_type"].must_be("qwen3");
  config.model_type = "qwen3";
  if (const auto quantization = fields["quantization_config"]; !quantization->is_null())
    quantization["quant_method"].refuse("a checkpoint in floats");
  config.vocab_size = detail::integer(fields["vocab_size"], 1, 1 << 24);
  config.hidden_size = detail::integer(fields["hidden_size"], 1, 1 << 17);
  config.intermediate_size = detail::integer(fields["intermediate_size"], 1, 1 << 20);
  config.num_hidden_layers = detail::integer(fields["num_hidden_layers"], 1, 1024);
  config.num_attention_heads = detail::integer(fields["num_attention_heads"], 1, 1024);
  config.num_key_value_heads = detail::integer(fields["num_key_value_heads"], 1, config.num_attention_heads);
  if (config.num_attention_heads % config.num_key_value_heads != 0)
    fields["num_key_value_heads"].refuse("a divisor of num_attention_heads = " +
                                         std::to_string(config.num_attention_heads));
  const auto head_dim = fields["head_dim"];
  config.head_dim = head_dim->is_null() ? 128 : detail::integer(head_dim, 2, 1024);  // the reference's default
  if (config.head_dim % 2 != 0) head_dim.refuse("an even number from 2 to 1024");    // RoPE rotates pairs
  config.max_position_embeddings = detail::integer(fields["max_position_embeddings"], 1, 1 << 24);
  config.rms_norm_eps = detail::number(fields["rms_norm_eps"], 1e-12, 1e-1);
  config.rope_theta = detail::rope_theta(fields);
  if (fields["tie_word_embeddings"]->is_null()) fields["tie_word_embeddings"].refuse("true or false");
  config.tie_word_embeddings = fields["tie_word_embeddings"].flag(false);

  fields["attention_bias"].must_be(false, false);
  fields["use_sliding_window"].must_be(false, false);
  if (!fields["hidden_act"]->is_null()) fields["hidden_act"].must_be("silu");
  config.hidden_act = "silu";
  if (const auto layers = fields["layer_types"]; !layers->is_null()) {
    if (layers.list().size() != static_cast<std::size_t>(config.num_hidden_layers))
      layers.refuse("a list of " + std::to_string(config.num_hidden_layers));
    for (std::size_t i = 0; i < layers->size(); ++i) layers[i].must_be("full_attention");
  }

  const auto type = fields["dtype"]->is_null() ? fields["torch_dtype"] : fields["dtype"];
  if (*type == "float32") config.type = dtype::f32;
  if (*type == "float16") config.type = dtype::f16;
  if (*type == "bfloat16") config.type = dtype::bf16;
  if (!config.type && !type->is_null()) type.refuse("\"float32\", \"float16\" or \"bfloat16\"");

  detail::read_special_tokens(config, fields, config.vocab_size);
  if (generation) {
    const detail::json parsed_generation = detail::parse_object(*generation, generation_file);
    detail::read_special_tokens(config, detail::json_place::root(parsed_generation, generation_file), config.vocab_size);
  }
  return config;
}

/// Reads a config file, or config.json of a checkpoint folder, and the generation_config.json beside it if there is
/// one.
inline hf_config read_config(const std::filesystem::path& path) {
  std::error_code ignored;
  const auto file = std::filesystem::is_directory(path, ignored) ? path / "config.json" : path;
  const auto generation_file = file.parent_path() / "generation_config.json";
  const mapped_file text(file);
  if (!detail::is_present(generation_file)) return parse_config(text.text(), file.string());
  const mapped_file generation(generation_file);
  return parse_config(text.text(), file.string(), generation.text(), generation_file.string());
}

/// Reads the special tokens of a checkpoint folder of any model; ids are below `vocab_size`.
inline special_tokens read_special_tokens(const std::filesystem::path& folder, std::int64_t vocab_size) {
  special_tokens known;
  for (const char* name : {"config.json", "generation_config.json"}) {
    const auto file = folder / name;
    if (!detail::is_present(file)) continue;
    const mapped_file text(file);
    const detail::json parsed = detail::parse_object(text.text(), file.string());
    detail::read_special_tokens(known, detail::json_place::root(parsed, file.string()), vocab_size);
  }
  return known;
}

}  // namespace qwq
