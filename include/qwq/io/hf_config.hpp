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
#include <utility>
#include <vector>

#include <qwq/core/dtype.hpp>
#include <qwq/core/error.hpp>
#include <qwq/io/json.hpp>
#include <qwq/io/mapped_file.hpp>

namespace qwq {

/// The dense Qwen3 model that a checkpoint holds. `read_config` returns only what qwq can compute: `attention_bias` and
/// `use_sliding_window` are false, `hidden_act` is "silu", RoPE is the default one.
struct hf_config {
  std::string model_type;
  std::int64_t vocab_size = 0;  ///< Rows of the embedding; may exceed the number of tokens of the tokenizer.
  std::int64_t hidden_size = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t num_hidden_layers = 0;
  std::int64_t num_attention_heads = 0;
  std::int64_t num_key_value_heads = 0;  ///< Divides `num_attention_heads`.
  std::int64_t head_dim = 0;             ///< Even. Not always hidden_size / num_attention_heads.
  std::int64_t max_position_embeddings = 0;
  double rms_norm_eps = 0;
  double rope_theta = 0;
  bool tie_word_embeddings = false;
  bool attention_bias = false;
  bool use_sliding_window = false;
  std::string hidden_act;
  std::optional<std::int32_t> bos_token_id, pad_token_id;
  std::vector<std::int32_t> eos_token_ids;  ///< Any of them ends a text; empty when no file says.
  std::optional<dtype> type;                ///< f32, f16 or bf16: what the checkpoint mostly holds.

  bool operator==(const hf_config&) const = default;
};

namespace detail {

/// Checked access to the fields of one JSON object of `file`.
class config_fields {
 public:
  config_fields(const json& object, std::string file, std::string prefix = {})
      : object_(object), file_(std::move(file)), prefix_(std::move(prefix)) {}

  /// The value; null when it is absent or null.
  const json* find(const char* key) const {
    const auto at = object_.find(key);
    return at == object_.end() || at->is_null() ? nullptr : &*at;
  }

  error fail(const std::string& key, const std::string& expected) const {
    const auto at = object_.find(key);
    return error(file_ + ": " + prefix_ + key + ": expected " + expected + ", found " +
                 (at == object_.end() ? "no such field" : describe(*at)));
  }

  std::int64_t integer(const char* key, std::int64_t min, std::int64_t max) const {
    const json* value = find(key);
    if (value == nullptr || !integer_between(*value, min, max))
      throw fail(key, "an integer from " + std::to_string(min) + " to " + std::to_string(max));
    return value->get<std::int64_t>();
  }

  double number(const char* key, double min, double max) const {
    const json* value = find(key);
    if (value == nullptr || !value->is_number() || !(value->get<double>() >= min && value->get<double>() <= max))
      throw fail(key, "a number from " + json(min).dump() + " to " + json(max).dump());
    return value->get<double>();
  }

  bool flag(const char* key) const {
    const json* value = find(key);
    if (value == nullptr || !value->is_boolean()) throw fail(key, "true or false");
    return value->get<bool>();
  }

  /// Throws unless the field equals `wanted`, or is absent where `optional` says that it then means `wanted`.
  void require(const char* key, const json& wanted, bool optional) const {
    const json* value = find(key);
    if (value == nullptr ? !optional : *value != wanted) throw fail(key, wanted.dump());
  }

  std::optional<std::int32_t> token(const char* key, std::int64_t vocab_size) const {
    if (find(key) == nullptr) return std::nullopt;
    return static_cast<std::int32_t>(integer(key, 0, vocab_size - 1));
  }

  /// A token id or a list of them; empty when absent.
  std::vector<std::int32_t> tokens(const char* key, std::int64_t vocab_size) const {
    const json* value = find(key);
    if (value == nullptr) return {};
    if (!value->is_array()) return {*token(key, vocab_size)};
    std::vector<std::int32_t> ids;
    for (const json& id : *value) {
      if (!integer_between(id, 0, vocab_size - 1)) break;
      ids.push_back(id.get<std::int32_t>());
    }
    if (ids.empty() || ids.size() != value->size())
      throw fail(key, "token ids from 0 to " + std::to_string(vocab_size - 1));
    return ids;
  }

  const std::string& file() const { return file_; }

 private:
  static bool integer_between(const json& value, std::int64_t min, std::int64_t max) {
    if (value.is_number_unsigned() && value.get<std::uint64_t>() > static_cast<std::uint64_t>(max)) return false;
    return value.is_number_integer() && value.get<std::int64_t>() >= min && value.get<std::int64_t>() <= max;
  }

  const json& object_;
  std::string file_, prefix_;
};

/// transformers 5 writes rope_parameters; 4 writes rope_theta and rope_scaling (null, or what changes the frequencies).
inline double parse_rope_theta(const config_fields& fields) {
  constexpr double min = 1.0, max = 1e12;
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    const json* rope = fields.find(key);
    if (rope == nullptr) continue;
    if (!rope->is_object()) throw fields.fail(key, "an object");
    const config_fields inner(*rope, fields.file(), std::string(key) + '.');
    inner.require("rope_type", "default", inner.find("type") != nullptr);
    inner.require("type", "default", true);
    inner.require("partial_rotary_factor", 1.0, true);
    if (inner.find("rope_theta") == nullptr) continue;
    const double theta = inner.number("rope_theta", min, max);
    if (fields.find("rope_theta") != nullptr && fields.number("rope_theta", min, max) != theta)
      throw inner.fail("rope_theta", "the rope_theta of the top level");
    return theta;
  }
  return fields.number("rope_theta", min, max);
}

}  // namespace detail

/// Parses the text of config.json and, where there is one, of generation_config.json, whose token ids win. `file` and
/// `generation_file` name them in messages. Throws `error` naming the field that is missing, of the wrong type, absurd
/// or outside of what qwq computes.
inline hf_config parse_config(std::string_view text, const std::string& file,
                              std::optional<std::string_view> generation = {},
                              const std::string& generation_file = {}) {
  const detail::json parsed = detail::parse_object(text, file);
  const detail::config_fields fields(parsed, file);
  hf_config config;
  fields.require("model_type", "qwen3", false);
  config.model_type = "qwen3";
  config.vocab_size = fields.integer("vocab_size", 1, 1 << 24);
  config.hidden_size = fields.integer("hidden_size", 1, 1 << 17);
  config.intermediate_size = fields.integer("intermediate_size", 1, 1 << 20);
  config.num_hidden_layers = fields.integer("num_hidden_layers", 1, 1024);
  config.num_attention_heads = fields.integer("num_attention_heads", 1, 1024);
  config.num_key_value_heads = fields.integer("num_key_value_heads", 1, config.num_attention_heads);
  if (config.num_attention_heads % config.num_key_value_heads != 0)
    throw fields.fail("num_key_value_heads",
                      "a divisor of num_attention_heads (" + std::to_string(config.num_attention_heads) + ")");
  const bool divides = config.hidden_size % config.num_attention_heads == 0;
  config.head_dim = fields.find("head_dim") != nullptr ? fields.integer("head_dim", 2, 1024)
                    : divides ? config.hidden_size / config.num_attention_heads : 0;
  if (config.head_dim < 2 || config.head_dim > 1024 || config.head_dim % 2 != 0)  // RoPE rotates pairs
    throw fields.fail("head_dim", "an even number from 2 to 1024 (by default hidden_size / num_attention_heads)");
  config.max_position_embeddings = fields.integer("max_position_embeddings", 1, 1 << 24);
  config.rms_norm_eps = fields.number("rms_norm_eps", 1e-12, 1e-1);
  config.rope_theta = detail::parse_rope_theta(fields);
  config.tie_word_embeddings = fields.flag("tie_word_embeddings");

  fields.require("attention_bias", false, true);
  fields.require("use_sliding_window", false, true);
  fields.require("hidden_act", "silu", true);
  config.hidden_act = "silu";
  if (const detail::json* layers = fields.find("layer_types")) {
    const auto count = static_cast<std::size_t>(config.num_hidden_layers);
    if (!layers->is_array() || layers->size() != count)
      throw fields.fail("layer_types", "a list of " + std::to_string(count));
    for (const detail::json& layer : *layers)
      if (layer != "full_attention")
        throw error(file + ": layer_types: expected \"full_attention\", found " + detail::describe(layer));
  }

  const char* type_key = fields.find("dtype") != nullptr ? "dtype" : "torch_dtype";
  if (const detail::json* type = fields.find(type_key)) {
    if (*type == "float32") config.type = dtype::f32;
    if (*type == "float16") config.type = dtype::f16;
    if (*type == "bfloat16") config.type = dtype::bf16;
    if (!config.type) throw fields.fail(type_key, "\"float32\", \"float16\" or \"bfloat16\"");
  }

  const auto read_tokens = [&](const detail::config_fields& from) {
    if (const auto id = from.token("bos_token_id", config.vocab_size)) config.bos_token_id = id;
    if (const auto id = from.token("pad_token_id", config.vocab_size)) config.pad_token_id = id;
    if (auto ids = from.tokens("eos_token_id", config.vocab_size); !ids.empty()) config.eos_token_ids = std::move(ids);
  };
  read_tokens(fields);
  if (generation) {
    const detail::json parsed_generation = detail::parse_object(*generation, generation_file);
    read_tokens({parsed_generation, generation_file});
  }
  return config;
}

/// Reads a config file, or config.json of a checkpoint folder, and the generation_config.json beside it if there is one.
inline hf_config read_config(const std::filesystem::path& path) {
  std::error_code ignored;
  const auto file = std::filesystem::is_directory(path, ignored) ? path / "config.json" : path;
  const auto generation_file = file.parent_path() / "generation_config.json";
  const mapped_file text(file);
  if (!std::filesystem::exists(generation_file, ignored)) return parse_config(text.text(), file.string());
  const mapped_file generation(generation_file);
  return parse_config(text.text(), file.string(), generation.text(), generation_file.string());
}

}  // namespace qwq
