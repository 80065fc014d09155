// SPDX-License-Identifier: Apache-2.0
// Configs from config.json, while compiling and at run time: both spellings, defaults, nested structs, and refusals.
#include <qwq/model/model_table.hpp>
#include <qwq/runtime/read_config.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

#include <boost/hana/define_struct.hpp>
#include <nlohmann/json.hpp>

#include "../io/scratch.hpp"

namespace {

using nlohmann::json;
using qwq::qwen3_config;

/// The text of a row of cases.json.
std::string text_of(const json& row) {
  if (row.contains("text")) return row["text"];
  json config = json::parse(slurp(QWQ_TEST_DATA "/arch/qwen3-dense-tied/" + row["of"].get<std::string>()));
  config.update(row["change"]);
  return config.dump();
}

constexpr qwen3_config tied{320, 64, 96, 3, 4, 2, 32, 512, 1e-6, 1e6, true};

/// A model with parts that have configs of their own, as Qwen3-VL's.
struct vision_sizes {
  std::int32_t depth = 27;
  qwq::fixed_vector<std::uint8_t, 4> deepstack_visual_indexes{};
  bool operator==(const vision_sizes&) const = default;
};
struct nested {
  qwen3_config text_config;
  vision_sizes vision_config;
  std::optional<double> scale;
  std::array<std::int64_t, 3> mrope_section{24, 20, 20};
  qwq::fixed_vector<qwq::fixed_string<20>, 3> kinds;
  qwq::fixed_string<4> name{"none"};
  bool operator==(const nested&) const = default;
};
struct defined {
  BOOST_HANA_DEFINE_STRUCT(defined, (std::int64_t, sizes), (double, ratio), (bool, flag));
};

constexpr std::string_view nested_json = R"({"vision_config": {"depth": 2, "deepstack_visual_indexes": [0, 1]},
  "text_config": {"hidden_size": 8, "rope_parameters": {"rope_theta": 5e6}, "head_dim": null}, "scale": 0.5,
  "mrope_section": [1, 2, 3], "kinds": ["full_attention", "l\u0069near"], "name": "four"})";

template <class Config>
constexpr qwq::json_problem problem_of(std::string_view text) {
  return qwq::read_json<Config>(text).problem;
}
template <class Config>
std::string refusal(std::string_view text) {
  return complaint([&] { qwq::from_json<Config>(text, "c"); });
}

template <qwq::qwen3_config C>
struct some_model;
struct other_config {
  std::int64_t size;
  static constexpr std::string_view model_type = "other";
};
template <other_config C>
struct other_model;
using two_families =
    qwq::type_list<qwq::model_family<qwen3_config, some_model>, qwq::model_family<other_config, other_model>>;

}  // namespace

BOOST_HANA_ADAPT_STRUCT(vision_sizes, depth, deepstack_visual_indexes);
BOOST_HANA_ADAPT_STRUCT(nested, text_config, vision_config, scale, mrope_section, kinds, name);
BOOST_HANA_ADAPT_STRUCT(other_config, size);

struct other_file {
  static constexpr std::string_view file = "c";
  static constexpr std::string_view text = R"({"size": 7, "model_type": "other"})";
};

TEST_CASE("both spellings of a config mean the same") {
  for (const std::string name : {"arch/qwen3-dense-tied", "arch/qwen3-dense-fp16",
                                 "arch/qwen3-dense-untied-bf16-sharded", "tinyqwen", "tinyqwen-outlier"}) {
    const std::string folder = QWQ_TEST_DATA "/" + name;
    const auto config = qwq::read_config<qwen3_config>(folder);
    CHECK(config == qwq::read_config<qwen3_config>(folder + "/config.legacy.json"));
    CHECK(config == qwq::read_config<qwen3_config>(folder + "/config.json"));
  }
  CHECK(qwq::read_config<qwen3_config>(QWQ_TEST_DATA "/arch/qwen3-dense-tied") == tied);
  CHECK_FALSE(
      qwq::read_config<qwen3_config>(QWQ_TEST_DATA "/arch/qwen3-dense-untied-bf16-sharded").tie_word_embeddings);
  CHECK(qwq::read_config<qwen3_config>(QWQ_TEST_DATA "/ort_quant/tiny_qwen3_config.json").head_dim == 16);
}

TEST_CASE("the published configs are those of the exporters") {
  const auto of = [](const std::string& size) {
    return qwq::read_config<qwen3_config>(QWQ_TEST_DATA "/../../examples/exporters/qwen3-" + size + "/config.json");
  };
  CHECK(of("0.6b") == qwq::configs::qwen3_0_6b);
  CHECK(of("1.7b") == qwq::configs::qwen3_1_7b);
  CHECK(of("4b") == qwq::configs::qwen3_4b);
  CHECK(of("8b") == qwq::configs::qwen3_8b);
  CHECK(of("14b") == qwq::configs::qwen3_14b);
  CHECK(of("32b") == qwq::configs::qwen3_32b);
}

TEST_CASE("a field that is missing is what the reference takes for it") {
  constexpr auto least = qwq::read_json<qwen3_config>(R"({"model_type": "qwen3", "head_dim": null})");
  static_assert(least.problem.ok() && least.config == qwen3_config{});
  static_assert(qwen3_config{} == qwen3_config{151936, 4096, 22016, 32, 32, 32, 128, 32768, 1e-6, 1e4, false});
}

TEST_CASE("what is refused and what is accepted") {
  const json cases = json::parse(slurp(QWQ_TEST_DATA "/config/cases.json"));
  for (const json& row : cases["refused"]) {
    const std::string text = text_of(row);
    CAPTURE(text);
    CHECK(refusal<qwen3_config>(text) == "c: " + row["refused"].get<std::string>());
    CHECK(qwq::check_config(qwq::model_families{}, text).message("c") == "c: " + row["refused"].get<std::string>());
  }
  for (const json& row : cases["accepted"]) {
    const std::string text = text_of(row);
    CAPTURE(text);
    CHECK(refusal<qwen3_config>(text) == "");
    CHECK(qwq::read_json<qwen3_config>(text).config == tied);
    CHECK(qwq::check_config(qwq::model_families{}, text).ok());
  }
}

TEST_CASE("a file that cannot be read is refused by name") {
  const scratch temp;
  const auto read = [&] { qwq::read_config<qwen3_config>(temp.folder()); };
  const auto file = (temp / "config.json").string();
  CHECK(complaint(read) == file + ": cannot open: No such file or directory");
  temp.put("config.json", "");
  CHECK(complaint(read) == file + ": invalid JSON at line 1, column 1: expected a value, found the end");
}

TEST_CASE("fields of every kind, while compiling and at run time") {
  constexpr auto read = qwq::read_json<nested>(nested_json);
  static_assert(read.problem.ok());
  static_assert(read.config.vision_config.depth == 2 && read.config.vision_config.deepstack_visual_indexes.size() == 2);
  static_assert(read.config.text_config.hidden_size == 8 && read.config.text_config.rope_theta == 5e6);
  static_assert(read.config.text_config.head_dim == 128 && read.config.scale == 0.5);
  static_assert(read.config.mrope_section == std::array<std::int64_t, 3>{1, 2, 3});
  static_assert(read.config.kinds[1] == "linear" && read.config.name == "four");
  static_assert(qwq::read_json<nested>("{}").config == nested{});
  CHECK(qwq::from_json<nested>(nested_json, "c") == read.config);
  constexpr auto own = qwq::read_json<defined>(R"({"sizes": -3, "ratio": 1, "flag": true, "more": []})");
  static_assert(own.problem.ok() && own.config.sizes == -3 && own.config.ratio == 1 && own.config.flag);
}

TEST_CASE("refusals name the field in its place") {
  static_assert(problem_of<nested>(R"({"text_config": {"hidden_size": 0}})").where == "text_config.hidden_size");
  CHECK(refusal<nested>(R"({"text_config": {"hidden_size": 0}})") ==
        "c: text_config.hidden_size: expected an integer from 1 to 131072, found 0");
  CHECK(refusal<nested>(R"({"text_config": {"rope_scaling": {"type": "yarn"}}})") ==
        "c: text_config.rope_scaling.type: expected \"default\", found \"yarn\"");
  CHECK(refusal<nested>(R"({"text_config": 3})") == "c: text_config: expected an object, found 3");
  CHECK(refusal<nested>(R"({"vision_config": {"depth": 2147483648}})") ==
        "c: vision_config.depth: expected an integer, found 2147483648");
  CHECK(refusal<nested>(R"({"vision_config": {"deepstack_visual_indexes": [0, 256]}})") ==
        "c: vision_config.deepstack_visual_indexes[1]: expected an integer, found 256");
  CHECK(refusal<nested>(R"({"vision_config": {"deepstack_visual_indexes": [0, 1, 2, 3, 4]}})") ==
        "c: vision_config.deepstack_visual_indexes: expected a list of at most 4, found a list of 5");
  CHECK(refusal<nested>(R"({"mrope_section": [1, 2]})") == "c: mrope_section: expected a list of 3, found a list of 2");
  CHECK(refusal<nested>(R"({"scale": "x"})") == "c: scale: expected a number, found \"x\"");
  CHECK(refusal<nested>(R"({"scale": 1e999})") == "c: scale: expected a number, found 1e999");
  CHECK(refusal<nested>(R"({"name": "fifth"})") ==
        "c: name: expected at most 4 characters, none of them NUL, found \"fifth\"");
  CHECK(refusal<nested>(R"({"kinds": ["a", 1]})") == "c: kinds[1]: expected a string, found 1");
}

TEST_CASE("model_type selects a row of the table") {
  static_assert(std::is_same_v<qwq::family_of<other_file, two_families>::config_type, other_config>);
  static_assert(qwq::require_config<other_config, other_file>().size == 7);
  static_assert(qwq::check_config(two_families{}, R"({"size": "7", "model_type": "other"})").where == "size");
  CHECK(qwq::check_config(two_families{}, R"({"model_type": "llama"})").message("c") ==
        "c: model_type: expected \"qwen3\" or \"other\", found \"llama\"");
}
