// SPDX-License-Identifier: Apache-2.0
// Checkpoint folders: one file, shards, and indexes that must not be believed.
#include <qwq/io/checkpoint.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <qwq/io/safetensors_writer.hpp>

#include "scratch.hpp"

namespace {
std::string refusal(const std::filesystem::path& folder) {
  return complaint([&] { qwq::checkpoint::open(folder); });
}

/// Writes a shard that holds the u8 scalar `tensor`.
void put_shard(const std::filesystem::path& path, const std::string& tensor) {
  qwq::safetensors_writer writer(path);
  const std::byte value{7};
  writer.declare(tensor, qwq::dtype::u8, {});
  writer.write(tensor, {&value, 1});
  writer.commit();
}
}  // namespace

TEST_CASE("a folder with one file") {
  auto opened = qwq::checkpoint::open(QWQ_TEST_DATA "/tinyqwen");
  const auto* address = opened.at("model.norm.weight").data;
  const qwq::checkpoint weights = std::move(opened);
  CHECK(weights.at("model.norm.weight").data == address);
  CHECK(weights.names().size() == 68);
  CHECK(weights.names().front() == "model.embed_tokens.weight");
  CHECK(weights.find("lm_head.weight") == nullptr);
  CHECK(complaint([&] { weights.at("lm_head.weight"); }) == QWQ_TEST_DATA
        "/tinyqwen: tensor \"lm_head.weight\": missing");
  const std::vector<std::int64_t> shape{128};
  CHECK(weights.at("model.norm.weight", shape).data == address);
  CHECK(complaint([&] { weights.at("model.embed_tokens.weight", shape); }) == QWQ_TEST_DATA
        "/tinyqwen/model.safetensors: tensor \"model.embed_tokens.weight\": expected shape [128], "
        "found [1280, 128]");
}

TEST_CASE("a folder with shards holds every tensor of its index") {
  const auto weights = qwq::checkpoint::open(QWQ_TEST_DATA "/arch/qwen3-dense-untied-bf16-sharded");
  std::set<std::string_view> files;
  std::size_t bytes = 0;
  for (const auto name : weights.names()) {
    files.insert(weights.at(name).file);
    bytes += weights.at(name).bytes;
    weights.sequential(weights.at(name));
  }
  CHECK(weights.names().size() == 25);
  CHECK(files.size() == 3);
  CHECK(bytes == 254848);  // total_size in the index
  std::vector<float> before(weights.at("lm_head.weight").size()), after(before.size());
  qwq::to_f32(weights.at("lm_head.weight"), before);
  weights.release(weights.at("lm_head.weight"));
  qwq::to_f32(weights.at("lm_head.weight"), after);
  CHECK(before == after);
}

TEST_CASE("a folder without weights is named") {
  const scratch temp;
  const std::string neither = ": expected model.safetensors or model.safetensors.index.json, found neither";
  CHECK(refusal(temp.folder()) == temp.folder().string() + neither);
  CHECK(refusal(temp / "missing") == (temp / "missing").string() + neither);
  CHECK(refusal(temp.put("file", "")) == (temp / "file").string() + neither);
}

TEST_CASE("a link that leads nowhere is no absent file") {
  for (const char* name : {"model.safetensors", "model.safetensors.index.json"}) {
    const scratch temp;
    std::filesystem::create_symlink("../../blobs/0123", temp / name);
    CHECK(refusal(temp.folder()) ==
          (temp / name).string() + ": cannot open: it is a link to ../../blobs/0123, which is not there");
  }
}

TEST_CASE("a message about a file with a line break in its name is one line") {
  const scratch temp;
  temp.put("model.safetensors.index.json", R"({"weight_map": {"a": "a\nb.safetensors"}})");
  CHECK(refusal(temp.folder()) ==
        temp.folder().string() + "/a\\x0ab.safetensors: cannot open: No such file or directory");
}

TEST_CASE("a broken file or shard is refused when the folder is opened") {
  const scratch temp;
  SUBCASE("file") {
    temp.put("model.safetensors", "short");
    CHECK(refusal(temp.folder()) ==
          (temp / "model.safetensors").string() + ": expected a safetensors file (at least 8 bytes), found 5");
  }
  SUBCASE("shard") {
    temp.put("model.safetensors.index.json", R"({"weight_map": {"a": "s.safetensors"}})");
    CHECK(refusal(temp.folder()) == (temp / "s.safetensors").string() + ": cannot open: No such file or directory");
    temp.put("s.safetensors", "");
    CHECK(refusal(temp.folder()) ==
          (temp / "s.safetensors").string() + ": expected a safetensors file (at least 8 bytes), found 0");
  }
}

TEST_CASE("an index must map tensors to files of its folder that hold them") {
  const scratch temp;
  std::filesystem::create_directory(temp / "model");
  put_shard(temp / "outside.safetensors", "a");
  put_shard(temp / "model/1.safetensors", "a");
  put_shard(temp / "model/2.safetensors", "b");
  const std::string where = (temp / "model/model.safetensors.index.json").string() + ": ";
  const auto with_index = [&](const std::string& text) {
    temp.put("model/model.safetensors.index.json", text);
    return refusal(temp / "model");
  };
  CHECK(with_index(R"({"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}})") == "");
  CHECK(with_index("{\"weight_map\"") == where + "invalid JSON at byte 14: expected ':', found the end");
  CHECK(with_index("[]") == where + "expected a JSON object, found a list of 0");
  CHECK(with_index("{}") == where + "weight_map: expected an object, found null");
  CHECK(with_index(R"({"weight_map": []})") == where + "weight_map: expected an object, found a list of 0");
  CHECK(with_index(R"({"weight_map": {}})") == where + "weight_map: expected at least one tensor, found none");
  CHECK(with_index(R"({"weight_map": {"a": "1.safetensors", "a": "2.safetensors"}})") ==
        where + "key \"a\": expected once, found twice");
  const std::string plain = where + "weight_map.a: expected a plain file name ending in .safetensors, found ";
  for (const std::string name : {"../outside.safetensors", "/outside.safetensors", "x/1.safetensors", "..", "",
                                 "1.safetensors/", "1.bin", "sub\\\\1.safetensors"}) {
    const std::string found = with_index(R"({"weight_map": {"a": ")" + name + R"("}})");
    CHECK(found == plain + '"' + (name == "sub\\\\1.safetensors" ? "sub\\1.safetensors" : name) + '"');
  }
  CHECK(with_index(R"({"weight_map": {"a": "\u00001.safetensors"}})") == plain + "\"\\x001.safetensors\"");
  CHECK(with_index(R"({"weight_map": {"a": 1}})") == plain + "1");
}

TEST_CASE("an index may be wrong about tensors, and a shard has more than it says") {
  const scratch temp;
  put_shard(temp / "1.safetensors", "a");
  put_shard(temp / "2.safetensors", "b");
  temp.put("model.safetensors.index.json",
           R"({"weight_map": {"a": "2.safetensors", "b": "./2.safetensors", "lm_head.weight": "1.safetensors"}})");
  const auto weights = qwq::checkpoint::open(temp.folder());
  CHECK(weights.names() == std::vector<std::string_view>{"a", "b"});
  CHECK(weights.at("a").file == (temp / "1.safetensors").string());
  CHECK(weights.find("lm_head.weight") == nullptr);
  CHECK(complaint([&] { weights.at("lm_head.weight"); }) ==
        (temp / "1.safetensors").string() + ": tensor \"lm_head.weight\": missing");
  CHECK(weights.files() == std::vector{(temp / "1.safetensors").string(), (temp / "2.safetensors").string()});

  temp.put("model.safetensors.index.json", R"({"weight_map": {"b": "2.safetensors", "c": "1.safetensors"}})");
  CHECK(qwq::checkpoint::open(temp.folder()).names() == std::vector<std::string_view>{"a", "b"});
}

TEST_CASE("the index decides which shard's tensor counts") {
  const scratch temp;
  for (const char* shard : {"1.safetensors", "2.safetensors", "3.safetensors"}) put_shard(temp / shard, "a");
  const auto shard_of_a = [&](const std::string& place) {
    const std::string shards = R"("x": "1.safetensors", "y": "2.safetensors", "z": "3.safetensors")";
    temp.put("model.safetensors.index.json", "{\"weight_map\": {" + place + shards + "}}");
    return std::string(qwq::checkpoint::open(temp.folder()).at("a").file);
  };
  for (const std::string shard : {"1.safetensors", "2.safetensors", "3.safetensors"})
    CHECK(shard_of_a("\"a\": \"" + shard + "\", ") == (temp / shard).string());
  CHECK(shard_of_a("") == (temp / "3.safetensors").string());
}

TEST_CASE("a tensor whose dtype is not read matters when it is asked for") {
  const scratch temp;
  const std::string header = R"({"w":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}})";
  const std::uint64_t length = header.size();
  temp.put("model.safetensors", std::string(reinterpret_cast<const char*>(&length), 8) + header + 'x');
  const auto weights = qwq::checkpoint::open(temp.folder());
  CHECK(weights.names() == std::vector<std::string_view>{"w"});
  const std::string message =
      (temp / "model.safetensors").string() +
      ": tensor \"w\": dtype: expected F32, F16, BF16, I64, I32, I16, U16, I8, U8 or BOOL, found \"F8_E4M3\"";
  CHECK(complaint([&] { weights.find("w"); }) == message);
  CHECK(complaint([&] { weights.at("w"); }) == message);
}
