// SPDX-License-Identifier: Apache-2.0
// Writing safetensors: what is written is read back, byte for byte and every time the same.
#include <qwq/io/safetensors_writer.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "scratch.hpp"

namespace {
std::span<const std::byte> bytes(const std::string& s) { return std::as_bytes(std::span{s}); }
}  // namespace

TEST_CASE("a real checkpoint survives the way through the writer") {
  const scratch temp;
  const qwq::safetensors_file before(QWQ_TEST_DATA "/tinyqwen/model.safetensors");
  qwq::write_safetensors(temp / "a", before.tensors(), before.metadata());
  const qwq::safetensors_file after(temp / "a");
  CHECK(after.metadata() == before.metadata());
  REQUIRE(after.tensors().size() == before.tensors().size());
  for (const auto& tensor : before.tensors()) {
    const auto& copy = after.at(tensor.name);
    CHECK(copy.type == tensor.type);
    CHECK(copy.shape == tensor.shape);
    REQUIRE(copy.bytes == tensor.bytes);
    CHECK(std::memcmp(copy.data, tensor.data, tensor.bytes) == 0);
  }
  // That file lists its tensors by name too, as compact JSON: the copy is the same file.
  CHECK(slurp(temp / "a") == slurp(QWQ_TEST_DATA "/tinyqwen/model.safetensors"));
}

TEST_CASE("tensors lie in the order of their declaration, behind a header of a multiple of 8 bytes") {
  const scratch temp;
  for (const char* name : {"a", "b"}) {
    qwq::safetensors_writer writer(temp / name, {{"quote", "\"\n"}});
    writer.declare("z", qwq::dtype::f32, {1});
    writer.declare("a\"b", qwq::dtype::u8, {3});
    writer.declare("scalar", qwq::dtype::i64, {});
    writer.declare("none", qwq::dtype::bf16, {0, 5});
    writer.write("z", bytes("1234"));
    writer.write("a\"b", bytes("567"));
    writer.write("scalar", bytes("89abcdef"));
    writer.write("none", {});
    writer.commit();
  }
  CHECK(slurp(temp / "a") == slurp(temp / "b"));
  const qwq::safetensors_file file(temp / "a");
  CHECK(file.metadata().at("quote") == "\"\n");
  const auto place = [&](const char* name) { return file.at(name).data - file.file().bytes().data(); };
  CHECK(place("z") % 8 == 0);
  CHECK(place("a\"b") == place("z") + 4);
  CHECK(place("scalar") == place("z") + 7);
  CHECK(place("none") == place("z") + 15);
  CHECK(file.file().text().ends_with("123456789abcdef"));
}

TEST_CASE("a file without tensors can be written") {
  const scratch temp;
  qwq::write_safetensors(temp / "none", {});
  CHECK(qwq::safetensors_file(temp / "none").tensors().empty());
}

TEST_CASE("calls that do not fit the declarations are refused and change nothing") {
  const scratch temp;
  const std::string where = (temp / "out").string() + ": tensor ";
  {
    qwq::safetensors_writer writer(temp / "out");
    writer.declare("a", qwq::dtype::u8, {2});
    writer.declare("b", qwq::dtype::f16, {2});
    const auto declare = [&](const char* name, qwq::dtype type, std::vector<std::int64_t> shape) {
      return complaint([&] { writer.declare(name, type, shape); });
    };
    CHECK(declare("a", qwq::dtype::u8, {1}) == where + "\"a\": expected a new name, found it in use");
    CHECK(declare("__metadata__", qwq::dtype::u8, {1}) ==
          where + "\"__metadata__\": expected a new name, found it in use");
    CHECK(declare("i4", qwq::dtype::i4, {2}) == where + "\"i4\": expected a dtype of the format, found i4");
    CHECK(declare("minus", qwq::dtype::u8, {-1}) ==
          where + "\"minus\": expected dimensions >= 0 and a size that fits 64 bits, found [-1]");
    CHECK(declare("large", qwq::dtype::u8, {INT64_MAX, 4}) ==
          where + "\"large\": expected dimensions >= 0 and a size that fits 64 bits, found [9223372036854775807, 4]");
    CHECK(declare("\xff", qwq::dtype::u8, {1}) == where + "\"\\xff\": expected UTF-8 text, found something else");
    CHECK(complaint([&] { writer.write("b", bytes("1234")); }) == where + "\"b\": expected \"a\" next");
    CHECK(complaint([&] { writer.write("a", bytes("1")); }) == where + "\"a\": expected 2 bytes, found 1");
    CHECK(declare("c", qwq::dtype::u8, {1}) == where + "\"c\": expected every declaration before the first write");
    writer.write("a", bytes("12"));
    CHECK(complaint([&] { writer.commit(); }) == where + "\"b\": declared but not written");
    writer.write("b", bytes("1234"));
    CHECK(complaint([&] { writer.write("b", bytes("1234")); }) == where + "\"b\": expected no more tensors");
    CHECK(temp.count() == 1);  // the temporary file
    writer.commit();
  }
  const qwq::safetensors_file file(temp / "out");
  CHECK(file.tensors().size() == 2);
  CHECK(file.at("b").span().size() == 4);
}

TEST_CASE("without commit there is no file") {
  const scratch temp;
  {
    qwq::safetensors_writer writer(temp / "out");
    writer.declare("a", qwq::dtype::u8, {2});
    writer.write("a", bytes("12"));
  }
  CHECK(temp.count() == 0);
}
