// SPDX-License-Identifier: Apache-2.0
// Circle and TFLite files: what stands in their bytes, read back by a reader of its own, by flatc, and by our check.
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <doctest/doctest.h>

#include "../io/scratch.hpp"
#include "circle_reader.hpp"
#include <qwq/emit/circle/circle_check.hpp>
#include <qwq/io/atomic_file.hpp>
#include <qwq/io/mapped_file.hpp>

using namespace qwq;
using to_circle::file_format, to_circle::model_builder, to_circle::no_tensor;
using code = to_circle::schema::BuiltinOperator;

namespace {

to_circle::byte_source bytes_of(std::string bytes) {
  return [bytes = std::move(bytes)](const to_circle::byte_sink& sink) { sink(std::as_bytes(std::span(bytes))); };
}

std::string count_up(std::size_t n) {
  std::string s(n, '\0');
  for (std::size_t i = 0; i < n; ++i) s[i] = static_cast<char>(i % 251);
  return s;
}

/// y = rms_norm(x W^T, gain), W of 8 x 128 floats, which is too big for the tables; and a second subgraph that reads W.
void fill(model_builder& m) {
  namespace s = to_circle::schema;
  const dim rows{64, "sequence_length"};
  const auto weight = [&] { return m.constant("w", "w", {dtype::f32, {8, 128}}, bytes_of(count_up(4096))); };
  m.begin("main");
  const auto x = m.input("x", {dtype::f32, {1, rows, 128}});
  const auto product = m.tensor("product", {dtype::f32, {1, rows, 8}});
  s::FullyConnectedOptionsT fc;
  fc.keep_num_dims = true;
  m.node(code::FULLY_CONNECTED, {x, weight(), no_tensor}, {product}, fc);
  CHECK(weight() == weight());
  const auto y = m.tensor("product", {dtype::f32, {1, rows, 8}});
  s::RmsNormOptionsT norm;
  norm.epsilon = 1e-6f;
  m.node(code::RMS_NORM, {product, m.constant("gain", "gain", {dtype::f32, {8}}, bytes_of(count_up(32)))}, {y}, norm);
  const auto z = m.tensor("z", {dtype::f32, {1, rows, 8}});
  s::AddOptionsT add;
  add.pot_scale_int16 = false;
  m.node(code::ADD, {y, y}, {z}, add);
  m.output(z);
  m.signature({{"hidden", x}}, {{"result", z}});

  m.begin("second");
  const auto ids = m.input("ids", {dtype::i32, {1, 2}});
  const auto rows_of_w = m.tensor("rows", {dtype::f32, {1, 2, 128}});
  m.node(code::GATHER, {weight(), ids}, {rows_of_w}, s::GatherOptionsT{});
  const auto q = m.tensor("q", {dtype::i16, {1, 2, 128}}, {{0.5f}, {0}});
  m.node(code::QUANTIZE, {rows_of_w}, {q}, s::QuantizeOptionsT{});
  const auto t = m.tensor("t", {dtype::i16, {128, 2}}, {{0.5f}, {0}});
  m.node(code::TRANSPOSE, {q, m.ints({2, 1, 0})}, {t}, s::TransposeOptionsT{});
  m.output(t);
  m.signature({{"ids", ids}}, {{"t", t}});
}

/// What `write` makes of a model, as a file.
struct written {
  scratch dir;
  std::filesystem::path path = dir / "m";
  written(model_builder& m, bool external) {
    atomic_file file(path);
    m.write(file, external);
    file.commit();
  }
  mapped_file map() const { return mapped_file(path); }
};

}  // namespace

TEST_CASE("circle file: identifier, version and numbers of each file_format") {
  for (const file_format f : {file_format::circle, file_format::tflite}) {
    model_builder m(f);
    fill(m);
    const written file(m, false);
    const mapped_file map = file.map();
    to_circle::check_file(map.bytes(), f, "m");
    const auto read = circle_reader::read(map.bytes());
    CHECK(read.identifier == (f == file_format::circle ? "CIR0" : "TFL3"));
    CHECK(read.version == (f == file_format::circle ? 0 : 3));
    CHECK(read.description == "qwq");
    CHECK_THROWS_AS(
        to_circle::check_file(map.bytes(), f == file_format::circle ? file_format::tflite : file_format::circle, "m"),
        error);
    CHECK(map.size() % 16 == 0);
  }
  CHECK(static_cast<int>(to_circle::element_type(dtype::u4, file_format::circle)) == -1);
  CHECK(static_cast<int>(to_circle::element_type(dtype::u4, file_format::tflite)) == 20);
  const std::vector<std::pair<dtype, int>> numbers{
      {dtype::f32, 0}, {dtype::f16, 1}, {dtype::bf16, 18}, {dtype::i4, 17}, {dtype::i8, 9},
      {dtype::u8, 3},  {dtype::i16, 7}, {dtype::u16, 16},  {dtype::i32, 2}, {dtype::i64, 4}};
  for (const auto& [type, number] : numbers)
    for (const file_format f : {file_format::circle, file_format::tflite})
      CHECK(static_cast<int>(to_circle::element_type(type, f)) == number);
}

TEST_CASE("circle file: tensors, operators and signatures are read back") {
  model_builder m(file_format::circle);
  fill(m);
  for (const bool external : {false, true}) {
    const written file(m, external);
    const mapped_file map = file.map();
    to_circle::check_file(map.bytes(), file_format::circle, "m");
    const auto read = circle_reader::read(map.bytes());
    REQUIRE(read.subgraphs.size() == 2);
    const auto &main = read.subgraphs[0], &second = read.subgraphs[1];
    CHECK(main.name == "main");
    REQUIRE(main.nodes.size() == 3);

    // Opcodes: the byte is the smaller of 127 and the code, also when that is negative.
    CHECK(main.nodes[0].code == 9);
    CHECK(main.nodes[0].deprecated_code == 9);
    CHECK(main.nodes[0].tag == 8);
    CHECK(main.nodes[0].inputs == std::vector<std::int32_t>{0, 2, -1});
    CHECK(main.nodes[0].options.scalar<std::uint8_t>(2) == 1);  // keep_num_dims
    CHECK(main.nodes[1].code == -6);
    CHECK(main.nodes[1].deprecated_code == -6);
    CHECK(main.nodes[1].tag == 250);
    CHECK(main.nodes[1].options.scalar<float>(0) == 1e-6f);
    CHECK(main.nodes[2].tag == 11);
    CHECK(main.nodes[2].options.has(1));  // pot_scale_int16 = false is not its default
    CHECK(main.nodes[2].options.scalar<std::uint8_t>(1) == 0);
    CHECK(second.nodes[1].code == 114);
    CHECK(second.nodes[1].deprecated_code == 114);

    // Buffer 0 is empty and the one of all activations; constants are there once.
    CHECK(read.buffers.size() == 4);
    CHECK(read.buffers[0].data.empty());
    CHECK_FALSE(read.buffers[0].external);
    CHECK(main.find("x")->buffer == 0);
    CHECK(main.find("w")->buffer == second.find("w")->buffer);
    const auto& w = read.buffers[main.find("w")->buffer];
    CHECK(w.data == count_up(4096));
    CHECK(w.offset % 16 == 0);
    CHECK(w.external == external);
    CHECK(read.bytes_of(*main.find("gain")) == count_up(32));
    CHECK(read.bytes_of(*second.find("ints_2_1_0")) == std::string("\2\0\0\0\1\0\0\0\0\0\0\0", 12));

    // Names are unique, no shape is signed that is static, and no tensor has more fields than both readers agree on.
    CHECK(main.find("product_1") != nullptr);
    for (const auto& g : read.subgraphs)
      for (const auto& t : g.tensors) {
        CHECK(t.signature.empty());
        for (unsigned id = 8; id < 16; ++id) CHECK_FALSE(t.raw.has(id));
      }
    CHECK(main.find("x")->shape == std::vector<std::int32_t>{1, 64, 128});
    CHECK(second.find("q")->type == 7);
    CHECK(second.find("q")->scales == std::vector<float>{0.5f});
    CHECK(second.find("q")->zero_points == std::vector<std::int64_t>{0});
    CHECK_FALSE(second.find("q")->raw.sub(4).has(0));  // neither min nor max
    CHECK_FALSE(second.find("q")->raw.sub(4).has(1));
    CHECK(second.find("rows")->scales.empty());

    REQUIRE(read.signatures.size() == 2);
    CHECK(read.signatures[0].key == "main");
    CHECK(read.signatures[1].subgraph == 1);
    CHECK(read.signatures[1].outputs[0].first == "t");
    CHECK(second.tensors[read.signatures[1].outputs[0].second].name == "t");
  }
}

TEST_CASE("circle file: only dynamic extents are signed") {
  model_builder m(file_format::circle, true);
  fill(m);
  const written file(m, false);
  const mapped_file map = file.map();
  to_circle::check_file(map.bytes(), file_format::circle, "m");
  const auto read = circle_reader::read(map.bytes());
  const auto& main = read.subgraphs[0];
  CHECK(main.find("x")->shape == std::vector<std::int32_t>{1, 1, 128});
  CHECK(main.find("x")->signature == std::vector<std::int32_t>{1, -1, 128});
  CHECK_FALSE(main.find("w")->raw.has(7));
}

TEST_CASE("circle file: flatc reads it with the schema") {
  model_builder m(file_format::circle);
  fill(m);
  const written file(m, false);
  std::filesystem::rename(file.path, file.dir / "m.circle");
  const std::string command = "cd '" + file.dir.folder().string() + "' && flatc --json --strict-json --raw-binary '" +
                              QWQ_TEST_DATA + "/../../include/qwq/emit/circle/circle.fbs' -- m.circle";
  REQUIRE(std::system(command.c_str()) == 0);
  const std::string json = slurp(file.dir / "m.json");
  for (const char* expected : {"\"builtin_code\": \"RMS_NORM\"", "\"deprecated_builtin_code\": -6",
                               "\"builtin_options_type\": \"RmsNormOptions\"", "\"keep_num_dims\": true"}) {
    CAPTURE(expected);
    CHECK(json.find(expected) != std::string::npos);
  }
}

namespace {

/// A file that leaves holes where zeros are written.
class sparse_file final : public output_file {
 public:
  explicit sparse_file(const std::filesystem::path& path)
      : output_file(path.string()), fd_(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600)) {
    REQUIRE(fd_ >= 0);
  }
  ~sparse_file() override { ::close(fd_); }

 private:
  void put(std::span<const std::byte> piece) override {
    static constexpr std::byte zeros[1 << 16]{};
    const bool hole = piece.size() <= sizeof(zeros) && std::memcmp(piece.data(), zeros, piece.size()) == 0;
    if (!hole)
      REQUIRE(::pwrite(fd_, piece.data(), piece.size(), static_cast<off_t>(position())) ==
              static_cast<ssize_t>(piece.size()));
    REQUIRE(::ftruncate(fd_, static_cast<off_t>(position() + piece.size())) == 0);
  }

  int fd_;
};

}  // namespace

TEST_CASE("circle file: beyond 2 GB constants stand behind the tables, at absolute offsets") {
  constexpr std::int64_t rows = 3, width = 268435459;  // 3 GB and an odd rest, u8
  model_builder m(file_format::circle);
  m.begin("main");
  const auto ids = m.input("ids", {dtype::i32, {1}});
  std::vector<to_circle::tensor_id> joined;
  for (int i = 0; i < 4; ++i) {
    const auto table = m.constant("table", "table" + std::to_string(i), {dtype::u8, {rows, width}},
                                  [i](const to_circle::byte_sink& sink) {
                                    std::vector<std::byte> piece(1 << 16);
                                    std::uint64_t left = rows * width;
                                    piece.front() = static_cast<std::byte>(i + 1);
                                    for (; left > piece.size(); left -= piece.size()) {
                                      sink(piece);
                                      piece.front() = std::byte{0};
                                    }
                                    piece.resize(left);
                                    piece.back() = static_cast<std::byte>(i + 101);
                                    sink(piece);
                                  });
    const auto y = m.tensor("y", {dtype::u8, {1, width}}, {{1.0f}, {0}});
    m.node(code::GATHER, {table, ids}, {y}, to_circle::schema::GatherOptionsT{});
    m.output(y);
  }
  const scratch dir;
  const auto path = dir / "big.circle";
  {
    sparse_file file(path);
    m.write(file);
  }
  const mapped_file map(path);
  CHECK(map.size() > 3221225472u);
  CHECK(map.size() % 16 == 0);
  struct stat info {};
  REQUIRE(::stat(path.c_str(), &info) == 0);
  CHECK(info.st_blocks * 512 < (1 << 20));  // what it takes on the disk
  to_circle::check_file(map.bytes(), file_format::circle, "big");
  const auto read = circle_reader::read(map.bytes());
  REQUIRE(read.buffers.size() == 5);
  for (std::size_t i = 1; i < 5; ++i) {
    const auto& b = read.buffers[i];
    CHECK(b.external);
    CHECK(b.offset % 16 == 0);
    REQUIRE(b.data.size() == rows * width);
    CHECK(b.data.front() == static_cast<char>(i));
    CHECK(b.data[b.data.size() / 2] == 0);
    CHECK(b.data.back() == static_cast<char>(i + 100));
  }
}

TEST_CASE("circle file: the check finds what readers refuse") {
  const auto said = [](auto&& make) {
    model_builder m(file_format::circle);
    make(m);
    const written file(m, false);
    const mapped_file map = file.map();
    return complaint([&] { to_circle::check_file(map.bytes(), file_format::circle, "m"); });
  };
  const tensor_type two{dtype::f32, {2}};
  CHECK(said([&](model_builder& m) {
          m.begin("g");
          const auto x = m.input("x", two), y = m.tensor("y", two);
          m.node(code::LOGISTIC, {y}, {x});
          m.output(x);
        }) == "m: subgraph 'g': operator 0: expected a tensor to be made before it is read");
  CHECK(said([&](model_builder& m) {
          m.begin("g");
          const auto x = m.input("x", two), y = m.tensor("y", two);
          m.node(code::LOGISTIC, {x}, {y});
          m.node(code::LOGISTIC, {x}, {y});
          m.output(y);
        }) == "m: subgraph 'g': operator 1: expected a tensor to be made once");
  CHECK(said([&](model_builder& m) {
          m.begin("g");
          m.node(code::LOGISTIC, {m.input("x", two)}, {7});
        }) == "m: subgraph 'g': operator 0: expected a tensor that is there");
  CHECK(said([&](model_builder& m) {
          m.begin("g");
          m.output(m.constant("c", "c", two, bytes_of("1234567")));
        }) == "m: subgraph 'g': tensor 'c': expected as many bytes as the shape says");
  CHECK(said([&](model_builder& m) {
          m.begin("g");
          m.output(m.input("x", {dtype::i8, {4, 2}}, {{1.0f, 2.0f}, {0, 0}}));
        }) == "m: subgraph 'g': tensor 'x': expected one scale, or one for each index of axis 0");
  CHECK(said([&](model_builder& m) {
          m.begin("g");
          m.output(m.input("x", two));
          m.signature({}, {{"y", 0}});
        }) == "m: expected a signature that names every input and output");
  CHECK(said([&](model_builder& m) {
          m.begin("g");
          m.input("x", two);
        }) == "m: subgraph 'g': outputs: expected an output");

  model_builder m(file_format::circle);
  fill(m);
  const written file(m, true);
  std::string bytes = slurp(file.path);
  const auto check = [&] {
    return complaint([&] { to_circle::check_file(std::as_bytes(std::span(bytes)), file_format::circle, "m"); });
  };
  CHECK(check() == "");
  bytes.resize(bytes.size() - 16);
  CHECK(check() == "m: expected a buffer at a multiple of 16 inside of the file");
  bytes.resize(bytes.size() - 4096);
  CHECK(check() != "");

  // A source that gives other bytes than its tensor has is found when it is written.
  model_builder wrong(file_format::circle);
  wrong.begin("g");
  wrong.output(wrong.constant("c", "c", {dtype::f32, {1024}}, bytes_of(count_up(4095))));
  const scratch dir;
  CHECK(complaint([&] {
          atomic_file out(dir / "m.circle");
          wrong.write(out);
        }) == (dir / "m.circle").string() + ": tensor 'c': expected 4096 bytes, found 4095");
  CHECK(dir.count() == 0);
}
