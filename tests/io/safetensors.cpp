// SPDX-License-Identifier: Apache-2.0
// Reading safetensors: real files, and every way in which a file can lie.
#include <qwq/io/safetensors.hpp>

#include <doctest/doctest.h>

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "scratch.hpp"

namespace {

/// A file of `header` and `data`, with the length that belongs to it or another one.
std::string file_of(const std::string& header, const std::string& data, std::uint64_t length) {
  return std::string(reinterpret_cast<const char*>(&length), 8) + header + data;
}
std::string file_of(const std::string& header, std::size_t data = 0) {
  return file_of(header, std::string(data, '\1'), header.size());
}

qwq::safetensors_content parse(const std::string& bytes) {
  return qwq::parse_safetensors(std::as_bytes(std::span{bytes}), "f");
}
std::string refusal(const std::string& bytes) {
  return complaint([&] { parse(bytes); });
}
std::string tensor(const std::string& name, const std::string& dtype, const std::string& shape,
                   const std::string& offsets) {
  return '"' + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":" + offsets + '}';
}
/// The complaint about a file with the one tensor "t".
std::string refusal(const std::string& dtype, const std::string& shape, const std::string& offsets, std::size_t data) {
  return refusal(file_of('{' + tensor("t", dtype, shape, offsets) + '}', data));
}

}  // namespace

TEST_CASE("a checkpoint of bf16 tensors: names, shapes, metadata and values") {
  const qwq::safetensors_file file(QWQ_TEST_DATA "/tinyqwen/model.safetensors");
  CHECK(file.tensors().size() == 68);
  CHECK(file.metadata().at("format") == "pt");
  const auto& embedding = file.at("model.embed_tokens.weight");
  CHECK(embedding.type == qwq::dtype::bf16);
  CHECK(embedding.shape == std::vector<std::int64_t>{1280, 128});
  CHECK(embedding.size() == 1280 * 128);
  CHECK(embedding.bytes == 1280 * 128 * 2);
  CHECK(embedding.file == QWQ_TEST_DATA "/tinyqwen/model.safetensors");
  CHECK(file.file().contains(embedding.span()));
  CHECK(file.find("model.embed_tokens") == nullptr);
  CHECK(complaint([&] { file.at("model.embed_tokens"); }) == QWQ_TEST_DATA
        "/tinyqwen/model.safetensors: tensor \"model.embed_tokens\": missing");
}

TEST_CASE("f32, i64 and f16 files agree with each other") {
  const qwq::safetensors_file golden(QWQ_TEST_DATA "/arch/qwen3-dense-fp16/golden.safetensors");
  const qwq::safetensors_file model(QWQ_TEST_DATA "/arch/qwen3-dense-fp16/model.safetensors");
  const auto& ids = golden.at("base.input_ids");
  const auto& hidden = golden.at("base.hidden.0");  // the embedding rows of the ids
  const auto& weight = model.at("model.embed_tokens.weight");
  REQUIRE(ids.type == qwq::dtype::i64);
  REQUIRE(weight.type == qwq::dtype::f16);
  REQUIRE(hidden.shape == std::vector<std::int64_t>{2, 13, 128});
  std::vector<float> expected(hidden.size()), table(weight.size());
  qwq::to_f32(hidden, expected);
  qwq::to_f32(weight, table);
  for (std::size_t row = 0; row < ids.size(); ++row) {
    std::int64_t id = 0;
    std::memcpy(&id, ids.data + row * 8, 8);
    for (std::size_t i = 0; i < 128; ++i)
      REQUIRE(expected[row * 128 + i] == table[static_cast<std::size_t>(id) * 128 + i]);
  }
}

TEST_CASE("every dtype, an empty tensor, a scalar, and data that is not aligned") {
  const std::string bytes =
      file_of('{' + tensor("bool", "BOOL", "[3]", "[0,3]") + ',' + tensor("f32", "F32", "[1,2]", "[3,11]") + ',' +
                  tensor("f16", "F16", "[]", "[11,13]") + ',' + tensor("bf16", "BF16", "[1]", "[13,15]") + ',' +
                  tensor("i64", "I64", "[1]", "[15,23]") + ',' + tensor("i32", "I32", "[1]", "[23,27]") + ',' +
                  tensor("i16", "I16", "[1]", "[27,29]") + ',' + tensor("u16", "U16", "[1]", "[29,31]") + ',' +
                  tensor("i8", "I8", "[1]", "[31,32]") + ',' + tensor("u8", "U8", "[1]", "[32,33]") + ',' +
                  tensor("none", "F32", "[2,0]", "[33,33]") + "}  ",
              33);
  const auto content = parse(bytes);
  std::string types;
  for (const auto& t : content.tensors) types += t.name + ':' + std::string(qwq::name(t.type)) + ' ';
  CHECK(types == "bf16:bf16 bool:u8 f16:f16 f32:f32 i16:i16 i32:i32 i64:i64 i8:i8 none:f32 u16:u16 u8:u8 ");
  for (const auto& t : content.tensors) {
    if (!qwq::is_plain_float(t.type)) continue;
    std::vector<float> values(t.size());
    qwq::to_f32(t, values);
    const float expected = t.type == qwq::dtype::f32    ? std::bit_cast<float>(0x01010101u)
                           : t.type == qwq::dtype::bf16 ? std::bit_cast<float>(0x01010000u)
                                                        : 257.0f * 0x1p-24f;
    for (const float value : values) CHECK(value == expected);
  }
}

TEST_CASE("a file without tensors is sound") {
  CHECK(parse(file_of("{}")).tensors.empty());
  CHECK(parse(file_of(R"({"__metadata__":{"a":"b"}})")).metadata.at("a") == "b");
}

TEST_CASE("to_f32 refuses other types and other sizes") {
  const std::string bytes =
      file_of('{' + tensor("i", "I32", "[2]", "[0,8]") + ',' + tensor("w", "F32", "[2]", "[8,16]") + '}', 16);
  const auto content = parse(bytes);
  std::vector<float> out(2);
  CHECK(complaint([&] { qwq::to_f32(content.tensors[0], out); }) ==
        "f: tensor \"i\": expected f32, f16 or bf16, found i32");
  out.resize(3);
  CHECK(complaint([&] { qwq::to_f32(content.tensors[1], out); }) == "f: tensor \"w\": expected 3 elements, found 2");
}

TEST_CASE("the header length is checked against the file") {
  CHECK(refusal("") == "f: expected a safetensors file (at least 8 bytes), found 0");
  CHECK(refusal("1234567") == "f: expected a safetensors file (at least 8 bytes), found 7");
  CHECK(refusal(file_of("{}", "", 3)) == "f: expected at least 11 bytes, as its header says, found 10");
  CHECK(refusal(file_of("{}", "", std::uint64_t{1} << 63)) ==
        "f: header length: expected at most 2 bytes, found 9223372036854775808");
  CHECK(refusal(file_of("{}", "", ~std::uint64_t{0})) ==
        "f: header length: expected at most 2 bytes, found 18446744073709551615");
  CHECK(refusal(file_of("", "", 0)) == "f: header: expected to begin with '{', found \"\"");
  CHECK(refusal(file_of(" {}")) == "f: header: expected to begin with '{', found \" \"");
}

TEST_CASE("a truncated file is refused at every length") {
  const scratch temp;
  const std::string whole = file_of('{' + tensor("a", "F16", "[2,2]", "[0,8]") + '}', 8);
  CHECK(refusal(whole) == "");
  for (std::size_t size = 0; size < whole.size(); ++size) CHECK(refusal(whole.substr(0, size)) != "");
  const auto path = temp.put("cut.safetensors", whole.substr(0, whole.size() - 1));
  CHECK(complaint([&] { qwq::safetensors_file{path}; }) ==
        path.string() + ": expected " + std::to_string(whole.size()) + " bytes, as its header says, found " +
            std::to_string(whole.size() - 1));
  CHECK(refusal(whole + "x") == "f: expected 8 bytes of tensor data, found 9");
}

TEST_CASE("the header must be one JSON object without duplicate keys") {
  CHECK(refusal(file_of("{\"a\":")) == "f: header: invalid JSON at byte 6: expected a value, found the end");
  CHECK(refusal(file_of("{}x")) == "f: header: invalid JSON at byte 3: expected nothing more, found \"x\"");
  CHECK(refusal(file_of("{\"\xff\":1}")) == "f: header: invalid JSON at byte 3: expected UTF-8, found \"\\xff\"");
  CHECK(refusal(file_of("{\"a\":1e999}")) == "f: tensor \"a\": expected an object, found 1e999");
  const std::string a = tensor("a", "U8", "[1]", "[0,1]");
  CHECK(refusal(file_of('{' + a + ',' + a + '}', 1)) == "f: header: key \"a\": expected once, found twice");
  CHECK(refusal(file_of(R"({"a":{"shape":[1],"dtype":"U8","data_offsets":[0,1],"shape":[1]}})", 1)) ==
        "f: header: key \"shape\": expected once, found twice");
  CHECK(refusal(file_of("{\"a\":" + std::string(100, '['))) ==
        "f: header: invalid JSON: expected at most 64 levels of nesting, found more");
  CHECK(refusal(file_of(R"({"__metadata__":null})")) == "");
  CHECK(refusal(file_of(R"({"__metadata__":nul})")).starts_with("f: header: invalid JSON at byte 17: "));
  CHECK(refusal(file_of(R"({"__metadata__":["a"]})")) == "f: __metadata__: expected an object, found a list of 1");
  CHECK(refusal(file_of(R"({"__metadata__":{"a":1}})")) == "f: __metadata__: \"a\": expected a string, found 1");
  CHECK(refusal(file_of(R"({"a\n":{}})")) ==
        "f: tensor \"a\\x0a\": dtype: expected F32, F16, BF16, I64, I32, I16, "
        "U16, I8, U8 or BOOL, found null");
}

TEST_CASE("an entry must have a known dtype, dimensions and offsets") {
  const std::string types =
      "f: tensor \"t\": dtype: expected F32, F16, BF16, I64, I32, I16, U16, I8, U8 or BOOL, found ";
  CHECK(refusal("", "[1]", "[0,4]", 4) == types + "\"\"");
  CHECK(refusal(file_of(R"({"t":{"dtype":7,"shape":[1],"data_offsets":[0,1]}})", 1)) == types + "7");
  CHECK(refusal(file_of(R"({"t":[]})")) == "f: tensor \"t\": expected an object, found a list of 0");
  CHECK(refusal(file_of(R"({"t":{"dtype":"U8","data_offsets":[0,1]}})", 1)) ==
        "f: tensor \"t\": shape: expected a list, found null");
  CHECK(refusal(file_of(R"({"t":{"dtype":"U8","shape":[1]}})", 1)) ==
        "f: tensor \"t\": data_offsets: expected a list, found null");
  const std::string shape = "f: tensor \"t\": shape: expected ";
  CHECK(refusal("U8", "1", "[0,1]", 1) == shape + "a list, found 1");
  CHECK(refusal("U8", "[-1]", "[0,1]", 1) == shape + "dimensions >= 0, found -1");
  CHECK(refusal("U8", "[1.0]", "[0,1]", 1) == shape + "dimensions >= 0, found 1.0");
  CHECK(refusal("U8", "[\"1\"]", "[0,1]", 1) == shape + "dimensions >= 0, found \"1\"");
  CHECK(refusal("U8", "[18446744073709551615]", "[0,1]", 1) == shape + "dimensions >= 0, found 18446744073709551615");
  CHECK(refusal("U8", "[4294967296,4294967296]", "[0,0]", 0) ==
        shape + "a size that fits 64 bits, found [4294967296, 4294967296]");
  CHECK(refusal("I64", "[2305843009213693953]", "[0,8]", 8) ==
        shape + "a size that fits 64 bits, found [2305843009213693953]");  // 8 times that is 8 in 64 bits
  const std::string offsets = "f: tensor \"t\": data_offsets: expected ";
  CHECK(refusal("U8", "[1]", "[0]", 1) == offsets + "[begin, end], found [0]");
  CHECK(refusal("U8", "[1]", "[-1,0]", 1) == offsets + "[begin, end], found [-1,0]");
  CHECK(refusal("U8", "[1]", "[0,1.5]", 1) == offsets + "[begin, end], found [0,1.5]");
}

TEST_CASE("the shape must fill the offsets exactly") {
  const std::string offsets = "f: tensor \"t\": data_offsets: expected ";
  CHECK(refusal("F32", "[2]", "[0,4]", 4) == offsets + "8 bytes for f32 [2], found 4");
  CHECK(refusal("F32", "[2,2]", "[0,17]", 17) == offsets + "16 bytes for f32 [2, 2], found 17");
  CHECK(refusal("U8", "[1]", "[1,0]", 1) == offsets + "begin <= end <= 1, found [1,0]");
  CHECK(refusal("U8", "[2]", "[0,2]", 1) == "f: expected 63 bytes, as its header says, found 62");
  CHECK(refusal("U8", "[9223372036854775807]", "[0,9223372036854775807]", 1) ==
        offsets + "begin <= end <= 1, found [0,9223372036854775807]");
  CHECK(refusal("U8", "[1]", "[18446744073709551615,0]", 1) ==
        offsets + "begin <= end <= 1, found [18446744073709551615,0]");
}

TEST_CASE("tensors may neither overlap nor leave holes") {
  const auto pair = [](const char* a, const char* b, std::size_t data) {
    return refusal(file_of('{' + tensor("a", "U8", "[4]", a) + ',' + tensor("b", "U8", "[4]", b) + '}', data));
  };
  CHECK(pair("[0,4]", "[4,8]", 8) == "");
  CHECK(pair("[4,8]", "[0,4]", 8) == "");
  CHECK(pair("[0,4]", "[3,7]", 7) ==
        "f: tensor \"b\": data_offsets: expected to begin at 4, where the tensor before "
        "it ends, found 3 (overlap)");
  CHECK(pair("[0,4]", "[0,4]", 4).ends_with("found 0 (overlap)"));
  CHECK(pair("[0,4]", "[5,9]", 9).ends_with("found 5 (hole)"));
  CHECK(pair("[1,5]", "[5,9]", 9) ==
        "f: tensor \"a\": data_offsets: expected to begin at 0, where the tensor before "
        "it ends, found 1 (hole)");
  CHECK(pair("[0,4]", "[4,8]", 9) == "f: expected 8 bytes of tensor data, found 9");
}

TEST_CASE("a tensor of a dtype that is not read matters when it is asked for") {
  const scratch temp;
  const std::string header = '{' + tensor("stats", "F64", "[2]", "[0,16]") + ',' +
                             tensor("w", "F32", "[2]", "[16,24]") + ',' + tensor("z", "F8_E4M3", "[3]", "[24,27]") +
                             '}';
  const auto path = temp.put("model.safetensors", file_of(header, 27));
  const qwq::safetensors_file file(path);
  REQUIRE(file.tensors().size() == 1);
  CHECK(file.at("w").size() == 2);
  CHECK(file.find("other") == nullptr);
  REQUIRE(file.unread().size() == 2);
  CHECK(file.unread()[0].name == "stats");
  CHECK(file.unread()[1].dtype == "F8_E4M3");
  const std::string types = "dtype: expected F32, F16, BF16, I64, I32, I16, U16, I8, U8 or BOOL, found ";
  CHECK(complaint([&] { file.at("stats"); }) == path.string() + ": tensor \"stats\": " + types + "\"F64\"");
  CHECK(complaint([&] { file.find("z"); }) == path.string() + ": tensor \"z\": " + types + "\"F8_E4M3\"");
  // Its bytes are still bytes of the file.
  CHECK(refusal(file_of('{' + tensor("a", "F64", "[1]", "[0,8]") + ',' + tensor("b", "U8", "[1]", "[7,8]") + '}', 8))
            .ends_with("found 7 (overlap)"));
}
