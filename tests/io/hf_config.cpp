// SPDX-License-Identifier: Apache-2.0
// Reading config.json in both spellings, and refusing what is missing, absurd or not computed.
#include <qwq/io/hf_config.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "scratch.hpp"

namespace {

using nlohmann::json;

json good() { return json::parse(slurp(QWQ_TEST_DATA "/arch/qwen3-dense-tied/config.json")); }
json legacy() { return json::parse(slurp(QWQ_TEST_DATA "/arch/qwen3-dense-tied/config.legacy.json")); }

qwq::hf_config parse(const json& config) { return qwq::parse_config(config.dump(), "c"); }
std::string refusal(const json& config) {
  return complaint([&] { parse(config); });
}
std::string refusal_with(const char* field, const json& value, json config = good()) {
  config[field] = value;
  return refusal(config);
}
std::string refusal_without(const char* field, json config = good()) {
  config.erase(field);
  return refusal(config);
}

}  // namespace

TEST_CASE("every field of a config of transformers 5") {
  qwq::hf_config expected;
  expected.model_type = "qwen3";
  expected.vocab_size = 320;
  expected.hidden_size = 64;
  expected.intermediate_size = 96;
  expected.num_hidden_layers = 3;
  expected.num_attention_heads = 4;
  expected.num_key_value_heads = 2;
  expected.head_dim = 32;
  expected.max_position_embeddings = 512;
  expected.rms_norm_eps = 1e-6;
  expected.rope_theta = 1e6;
  expected.tie_word_embeddings = true;
  expected.hidden_act = "silu";
  expected.bos_token_id = 1;
  expected.eos_token_ids = {2};
  expected.type = qwq::dtype::f32;
  CHECK(qwq::read_config(QWQ_TEST_DATA "/arch/qwen3-dense-tied") == expected);
}

TEST_CASE("the spelling of transformers 4 means the same") {
  for (const std::string name : {"arch/qwen3-dense-tied", "arch/qwen3-dense-fp16",
                                 "arch/qwen3-dense-untied-bf16-sharded", "tinyqwen", "tinyqwen-outlier"}) {
    const std::string folder = QWQ_TEST_DATA "/" + name;
    CHECK(qwq::read_config(folder) == qwq::read_config(folder + "/config.legacy.json"));
    CHECK(qwq::read_config(folder) == qwq::read_config(folder + "/config.json"));
  }
  CHECK(qwq::read_config(QWQ_TEST_DATA "/arch/qwen3-dense-fp16").type == qwq::dtype::f16);
  CHECK(qwq::read_config(QWQ_TEST_DATA "/arch/qwen3-dense-untied-bf16-sharded").type == qwq::dtype::bf16);
  CHECK_FALSE(qwq::read_config(QWQ_TEST_DATA "/arch/qwen3-dense-untied-bf16-sharded").tie_word_embeddings);
}

TEST_CASE("generation_config.json decides the token ids") {
  const auto config = qwq::read_config(QWQ_TEST_DATA "/tinyqwen");
  CHECK(config.eos_token_ids == std::vector<std::int32_t>{1216, 1214});
  CHECK(config.bos_token_id == 1214);
  CHECK(config.pad_token_id == 1214);
  const auto alone = qwq::parse_config(slurp(QWQ_TEST_DATA "/tinyqwen/config.json"), "c");
  CHECK(alone.eos_token_ids == std::vector<std::int32_t>{1216});
  CHECK(alone.pad_token_id == std::nullopt);

  const auto refusal_of = [](const std::string& generation) {
    return complaint([&] { qwq::parse_config(good().dump(), "c", generation, "g"); });
  };
  CHECK(refusal_of("{}") == "");
  CHECK(refusal_of("").starts_with("g: invalid JSON at byte 1: "));
  CHECK(refusal_of(R"({"eos_token_id": 320})") == "g: eos_token_id: expected an integer from 0 to 319, found 320");
  CHECK(refusal_of(R"({"eos_token_id": [1, 320]})") ==
        "g: eos_token_id[1]: expected an integer from 0 to 319, found 320");
  CHECK(refusal_of(R"({"eos_token_id": [1, null]})") == "g: eos_token_id[1]: expected a token id, found null");
  CHECK(refusal_of(R"({"pad_token_id": "x"})") == "g: pad_token_id: expected an integer from 0 to 319, found \"x\"");
}

TEST_CASE("a config without the optional fields") {
  const auto config = qwq::read_config(QWQ_TEST_DATA "/ort_quant/tiny_qwen3_config.json");
  CHECK(config.head_dim == 16);
  CHECK(config.hidden_act == "silu");
  CHECK(config.eos_token_ids.empty());
  CHECK(config.type == std::nullopt);
  json headless = good();
  headless.erase("head_dim");
  CHECK(parse(headless).head_dim == 128);
  headless["head_dim"] = nullptr;
  CHECK(parse(headless).head_dim == 128);
}

TEST_CASE("a missing or absurd size is refused") {
  for (const char* field : {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
                            "num_attention_heads", "num_key_value_heads", "max_position_embeddings"}) {
    CAPTURE(field);
    const std::string start = "c: " + std::string(field) + ": expected an integer from 1 to ";
    const auto refused = [&](const std::string& found, const std::string& message) {
      CHECK(message.starts_with(start));
      CHECK(message.ends_with(", found " + found));
    };
    refused("null", refusal_without(field));
    refused("null", refusal_with(field, nullptr));
    refused("0", refusal_with(field, 0));
    refused("-1", refusal_with(field, -1));
    refused("64.0", refusal_with(field, 64.0));
    refused("\"64\"", refusal_with(field, "64"));
    refused("true", refusal_with(field, true));
    refused("a list of 1", refusal_with(field, {64}));
    refused("1073741824", refusal_with(field, 1 << 30));
    refused("18446744073709551615", refusal_with(field, ~std::uint64_t{0}));
  }
  CHECK(refusal_with("num_key_value_heads", 3) ==
        "c: num_key_value_heads: expected a divisor of num_attention_heads = 4, found 3");
  CHECK(refusal_with("num_key_value_heads", 8) == "c: num_key_value_heads: expected an integer from 1 to 4, found 8");
  CHECK(refusal_with("head_dim", 33) == "c: head_dim: expected an even number from 2 to 1024, found 33");
  CHECK(refusal_with("head_dim", 0) == "c: head_dim: expected an integer from 2 to 1024, found 0");
}

TEST_CASE("a missing or absurd number is refused") {
  for (const json& value : {json(0), json(-1e-6), json(1), json("1e-6"), json(nullptr)})
    CHECK(refusal_with("rms_norm_eps", value) ==
          "c: rms_norm_eps: expected a number from 1e-12 to 0.1, found " + value.dump());
  for (const json& value : {json(0), json(-1), json(1e30), json("1e6"), json(nullptr)}) {
    CHECK(refusal_with("rope_theta", value, legacy()) ==
          "c: rope_theta: expected a number from 1.0 to 1000000000000.0, found " + value.dump());
  }
  CHECK(refusal_with("rope_theta", 10000, legacy()) == "");
}

TEST_CASE("only the default RoPE is computed, and theta must be said once") {
  const auto parameters = [](const json& value) { return refusal_with("rope_parameters", value); };
  CHECK(parameters({{"rope_type", "yarn"}, {"rope_theta", 1e6}, {"factor", 4.0}}) ==
        "c: rope_parameters.rope_type: expected \"default\", found \"yarn\"");
  CHECK(parameters({{"rope_type", "default"}}) ==
        "c: rope_theta: expected a number from 1.0 to 1000000000000.0, found null");
  CHECK(parameters({{"rope_type", "default"}, {"rope_theta", -1}}) ==
        "c: rope_parameters.rope_theta: expected a number from 1.0 to 1000000000000.0, found -1");
  CHECK(parameters({{"rope_type", "default"}, {"rope_theta", 1e6}, {"partial_rotary_factor", 0.25}}) ==
        "c: rope_parameters.partial_rotary_factor: expected 1, found 0.25");
  CHECK(parameters("default") == "c: rope_parameters: expected an object, found \"default\"");
  CHECK(refusal_without("rope_parameters") ==
        "c: rope_theta: expected a number from 1.0 to 1000000000000.0, found null");
  const auto scaling = [](const json& value) { return refusal_with("rope_scaling", value, legacy()); };
  CHECK(scaling({{"type", "yarn"}, {"factor", 4.0}}) == "c: rope_scaling.type: expected \"default\", found \"yarn\"");
  CHECK(scaling({{"rope_type", "linear"}}) == "c: rope_scaling.rope_type: expected \"default\", found \"linear\"");
  CHECK(scaling({{"factor", 4.0}}) == "c: rope_scaling.type: expected a string, found null");
  CHECK(scaling({{"type", "default"}}) == "");
  CHECK(refusal_with("rope_theta", 1e6) == "");
  CHECK(refusal_with("rope_theta", 5e6) ==
        "c: rope_parameters.rope_theta: expected the top-level rope_theta 5000000.0, found 1000000.0");
}

TEST_CASE("what qwq does not compute is refused") {
  CHECK(refusal_with("model_type", "qwen3_moe") == "c: model_type: expected \"qwen3\", found \"qwen3_moe\"");
  CHECK(refusal_without("model_type") == "c: model_type: expected a string, found null");
  CHECK(refusal_with("attention_bias", true) == "c: attention_bias: expected false, found true");
  CHECK(refusal_with("attention_bias", 0) == "c: attention_bias: expected true or false, found 0");
  CHECK(refusal_with("use_sliding_window", true) == "c: use_sliding_window: expected false, found true");
  CHECK(refusal_with("hidden_act", "gelu") == "c: hidden_act: expected \"silu\", found \"gelu\"");
  CHECK(refusal_with("tie_word_embeddings", "yes") == "c: tie_word_embeddings: expected true or false, found \"yes\"");
  CHECK(refusal_without("tie_word_embeddings") == "c: tie_word_embeddings: expected true or false, found null");
  CHECK(refusal_with("dtype", "float8") ==
        "c: dtype: expected \"float32\", \"float16\" or \"bfloat16\", found \"float8\"");
  CHECK(refusal_with("torch_dtype", 16, legacy()) ==
        "c: torch_dtype: expected \"float32\", \"float16\" or \"bfloat16\", found 16");
  CHECK(refusal_with("layer_types", {"full_attention", "sliding_attention", "full_attention"}) ==
        "c: layer_types[1]: expected \"full_attention\", found \"sliding_attention\"");
  CHECK(refusal_with("layer_types", {"full_attention"}) == "c: layer_types: expected a list of 3, found a list of 1");
  CHECK(refusal_with("eos_token_id", 320) == "c: eos_token_id: expected an integer from 0 to 319, found 320");
}

TEST_CASE("negative token ids and empty lists say that there is none") {
  const auto with = [](const char* field, const json& value) {
    json config = good();
    config[field] = value;
    return parse(config);
  };
  CHECK(with("pad_token_id", -1).pad_token_id == std::nullopt);
  CHECK(with("bos_token_id", -1).bos_token_id == std::nullopt);
  CHECK(with("eos_token_id", -1).eos_token_ids.empty());
  CHECK(with("eos_token_id", json::array()).eos_token_ids.empty());
  CHECK(with("eos_token_id", {5, -1, 7}).eos_token_ids == std::vector<std::int32_t>{5, 7});
  CHECK(qwq::parse_config(good().dump(), "c", R"({"eos_token_id": []})", "g").eos_token_ids ==
        std::vector<std::int32_t>{2});
  CHECK(refusal_with("pad_token_id", 320) == "c: pad_token_id: expected an integer from 0 to 319, found 320");
}

TEST_CASE("a quantized checkpoint is refused by its method") {
  const auto refusal_of = [](const json& value) { return refusal_with("quantization_config", value); };
  const std::string method = "c: quantization_config.quant_method: expected a checkpoint in floats, found ";
  for (const char* name : {"fp8", "gptq", "awq", "bitsandbytes", "compressed-tensors"})
    CHECK(refusal_of({{"quant_method", name}, {"bits", 4}}) == method + '"' + name + '"');
  CHECK(refusal_of(json::object()) == method + "null");
  CHECK(refusal_of("int8") == "c: quantization_config: expected an object, found \"int8\"");
  CHECK(refusal_of(nullptr) == "");
}

TEST_CASE("a file that is not a JSON object is refused by name") {
  const scratch temp;
  const auto missing = (temp / "config.json").string();
  CHECK(complaint([&] { qwq::read_config(temp.folder()); }) == missing + ": cannot open: No such file or directory");
  temp.put("config.json", "");
  CHECK(complaint([&] { qwq::read_config(temp.folder()); }).starts_with(missing + ": invalid JSON at byte 1: "));
  temp.put("config.json", "[1]");
  CHECK(complaint([&] { qwq::read_config(temp.folder()); }) == missing + ": expected a JSON object, found a list of 1");
  temp.put("config.json", good().dump());
  CHECK(qwq::read_config(temp.folder()) == parse(good()));
  const auto generation = temp.put("generation_config.json", "{").string();
  CHECK(complaint([&] { qwq::read_config(temp.folder()); }).starts_with(generation + ": invalid JSON at byte 2: "));
}

TEST_CASE("a NUL is no end: what follows the object is refused") {
  for (const std::string& rest : {std::string(1, '\0'), std::string("\0garbage{{{", 12), std::string("\n\0\0", 3)}) {
    const std::string text = good().dump();
    const std::string at = std::to_string(text.size() + 1 + rest.find('\0'));
    const std::string found = ": invalid JSON at byte " + at + ": expected text, found \"\\x00\"";
    CHECK(complaint([&] { qwq::parse_config(text + rest, "c"); }) == "c" + found);
  }
  const std::string generation("{}\0", 3);
  CHECK(complaint([&] { qwq::parse_config(good().dump(), "c", generation, "g"); }) ==
        "g: invalid JSON at byte 3: expected text, found \"\\x00\"");
}

TEST_CASE("a generation_config.json that cannot be read is not taken for absent") {
  const scratch temp;
  temp.put("config.json", good().dump());
  std::filesystem::create_symlink("gone", temp / "generation_config.json");
  CHECK(complaint([&] { qwq::read_config(temp.folder()); }) ==
        (temp / "generation_config.json").string() + ": cannot open: it is a link to gone, which is not there");
}
