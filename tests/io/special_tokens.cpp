// SPDX-License-Identifier: Apache-2.0
// Token ids of config.json and generation_config.json.
#include <qwq/io/special_tokens.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "scratch.hpp"

namespace {

qwq::special_tokens parse(const std::string& config) {
  qwq::special_tokens known;
  qwq::read_special_tokens(known, config, "g", 320);
  return known;
}
std::string refusal(const std::string& config) {
  return complaint([&] { parse(config); });
}

}  // namespace

TEST_CASE("generation_config.json decides the token ids") {
  const auto known = qwq::read_special_tokens(QWQ_TEST_DATA "/tinyqwen", 1280);
  CHECK(known.eos_token_ids == std::vector<std::int32_t>{1216, 1214});
  CHECK(known.bos_token_id == 1214);
  CHECK(known.pad_token_id == 1214);

  const scratch temp;
  temp.put("config.json", slurp(QWQ_TEST_DATA "/tinyqwen/config.json"));
  const auto alone = qwq::read_special_tokens(temp.folder(), 1280);
  CHECK(alone.eos_token_ids == std::vector<std::int32_t>{1216});
  CHECK(alone.pad_token_id == std::nullopt);
  temp.put("generation_config.json", R"({"eos_token_id": []})");
  CHECK(qwq::read_special_tokens(temp.folder(), 1280) == alone);
  CHECK(complaint([&] { qwq::read_special_tokens(temp.folder(), 1000); }) ==
        (temp / "config.json").string() + ": bos_token_id: expected an integer from 0 to 999, found 1214");
}

TEST_CASE("what is no token id is refused") {
  CHECK(refusal("{}") == "");
  CHECK(refusal("") == "g: invalid JSON at line 1, column 1: expected a value, found the end");
  CHECK(refusal("[1]") == "g: expected a JSON object, found a list of 1");
  CHECK(refusal(std::string("{}\0", 3)) ==
        "g: invalid JSON at line 1, column 3: expected nothing more, found \"\\x00\"");
  CHECK(refusal(R"({"eos_token_id": 320})") == "g: eos_token_id: expected an integer from 0 to 319, found 320");
  CHECK(refusal(R"({"eos_token_id": [1, 320]})") == "g: eos_token_id[1]: expected an integer from 0 to 319, found 320");
  CHECK(refusal(R"({"eos_token_id": [1, null]})") == "g: eos_token_id[1]: expected a token id, found null");
  CHECK(refusal(R"({"pad_token_id": "x"})") == "g: pad_token_id: expected an integer from 0 to 319, found \"x\"");
  CHECK(refusal(R"({"pad_token_id": 1.5})") == "g: pad_token_id: expected an integer from 0 to 319, found 1.5");
}

TEST_CASE("negative token ids and empty lists say that there is none") {
  CHECK(parse(R"({"pad_token_id": -1, "bos_token_id": null, "eos_token_id": -1})") == qwq::special_tokens{});
  CHECK(parse(R"({"eos_token_id": []})").eos_token_ids.empty());
  CHECK(parse(R"({"eos_token_id": [5, -1, 7]})").eos_token_ids == std::vector<std::int32_t>{5, 7});
}

TEST_CASE("a generation_config.json that cannot be read is not taken for absent") {
  const scratch temp;
  temp.put("config.json", "{}");
  std::filesystem::create_symlink("gone", temp / "generation_config.json");
  CHECK(complaint([&] { qwq::read_special_tokens(temp.folder(), 320); }) ==
        (temp / "generation_config.json").string() + ": cannot open: it is a link to gone, which is not there");
}
