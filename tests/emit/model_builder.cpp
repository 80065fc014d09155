// SPDX-License-Identifier: Apache-2.0
// Data files and models: shared bytes, names, symbolic axes, opsets.
#include <cstring>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "../io/scratch.hpp"
#include <qwq/emit/onnx/onnx_model_builder.hpp>

using namespace qwq;
using namespace qwq::to_onnx;

namespace {

byte_source bytes_of(const std::string& text) {
  return [text](const byte_sink& sink) { sink(std::as_bytes(std::span(text))); };
}

std::string entry(const ::onnx::TensorProto& t, const std::string& key) {
  for (const auto& e : t.external_data())
    if (e.key() == key) return e.value();
  return "";
}

struct fixture {
  scratch dir;
  atomic_file file{dir / "model.data"};
  external_data data{file, "model.data"};
};

}  // namespace

TEST_CASE("external_data: each tensor once, aligned") {
  fixture f;
  const std::string small(100, 's'), big((1u << 20) + 1, 'b');
  int asked = 0;
  const byte_source counted = [&](const byte_sink& sink) {
    ++asked;
    sink(std::as_bytes(std::span(small)));
  };
  const data_range a = f.data.put("a", small.size(), counted);
  const data_range b = f.data.put("b", big.size(), bytes_of(big));
  const data_range c = f.data.put("c", small.size(), counted);
  const data_range again = f.data.put("a", small.size(), counted);
  CHECK(a.offset == 0);
  CHECK(b.offset == 4096);
  CHECK(c.offset % 64 == 0);
  CHECK(c.offset >= b.offset + b.bytes);
  CHECK(again.offset == a.offset);
  CHECK(asked == 2);
  f.file.commit();
  const std::string stored = slurp(f.dir / "model.data");
  CHECK(stored.substr(a.offset, a.bytes) == small);
  CHECK(stored.substr(b.offset, b.bytes) == big);
  CHECK(stored.size() == c.offset + c.bytes);
}

TEST_CASE("external_data: a source that gives another number of bytes is refused") {
  fixture f;
  const std::string said = complaint([&] { f.data.put("w", 7, bytes_of("12345")); });
  CHECK(said == (f.dir / "model.data").string() + ": tensor 'w': expected 7 bytes, found 5");
  f.data.put("v", 5, bytes_of("12345"));
  CHECK(complaint([&] { f.data.put("v", 6, bytes_of("123456")); }).ends_with("'v': expected 6 bytes, found 5"));
}

TEST_CASE("model_builder: names are unique, and the same for the same thing") {
  fixture f;
  model_builder m("g", f.data);
  CHECK(m.unique("Add") == "Add");
  CHECK(m.unique("Add") == "Add_1");
  CHECK(m.unique("Add_2") == "Add_2");
  CHECK(m.unique("Add") == "Add_3");
  CHECK(m.name_of("one", "Add") == "Add_4");
  CHECK(m.name_of("two", "Add") == "Add_5");
  CHECK(m.name_of("one", "Add") == "Add_4");
}

TEST_CASE("model_builder: fixed dimensions have their bound, others their name") {
  fixture f;
  model_builder m("g", f.data, {}, {"sequence_length"});
  m.input("x", {dtype::f16, {1, dim{64, "sequence_length"}, dim{1024, "max_seq_len"}, 8}});
  const auto& model = m.finish();
  const auto& t = model.graph().input(0).type().tensor_type();
  CHECK(t.elem_type() == ::onnx::TensorProto::FLOAT16);
  REQUIRE(t.shape().dim_size() == 4);
  CHECK(t.shape().dim(1).dim_value() == 64);
  CHECK(t.shape().dim(2).dim_param() == "max_seq_len");
  CHECK_FALSE(t.shape().dim(2).has_dim_value());
  CHECK(model.opset_import_size() == 0);
}

TEST_CASE("model_builder: opsets are those of the nodes, outputs are described once") {
  fixture f;
  model_builder m("g", f.data);
  const tensor_type type{dtype::f32, {2}};
  m.input("x", type);
  auto& add = m.node("Add", "/Add", std::vector<std::string>{"x", "x"});
  m.result(add, "y", type);
  auto& gelu = m.node("QuickGelu", "/QuickGelu", std::vector<std::string>{"y"}, microsoft);
  m.result(gelu, "z", type);
  m.result(m.node("Normalizer", "/Normalizer", std::vector{std::string("z")}, "ai.onnx.ml"), "unread", type);
  m.output("z", type);
  const auto& model = m.finish();
  REQUIRE(model.opset_import_size() == 2);
  CHECK(model.opset_import(0).domain() == "");
  CHECK(model.opset_import(0).version() == 21);
  CHECK(model.opset_import(1).domain() == "com.microsoft");
  CHECK(model.opset_import(1).version() == 1);
  CHECK(model.ir_version() == 10);
  CHECK(model.producer_name() == "qwq");
  REQUIRE(model.graph().value_info_size() == 1);
  CHECK(model.graph().value_info(0).name() == "y");
}

TEST_CASE("model_builder: small constants are inside, big ones in the data file that models share") {
  fixture f;
  const std::string small(1023, 's'), big(1024, 'b');
  const auto add = [&](model_builder& m) {
    CHECK(m.initializer("small", "small", dtype::u8, {1023}, bytes_of(small)) == "small");
    CHECK(m.initializer("big", "big", dtype::u8, {2, 512}, bytes_of(big)) == "big");
    CHECK(m.initializer("big", "big", dtype::u8, {2, 512}, bytes_of(big)) == "big");
    CHECK(m.int64s({0, -1, 8}) == m.int64s({0, -1, 8}));
    m.result(m.node("Any", "any", std::vector<std::string>{"small", "big", m.int64s({0, -1, 8})}), "y", {});
    m.output("y", {});
  };
  model_builder a("a", f.data), b("b", f.data);
  add(a);
  add(b);
  const auto &left = a.finish().graph(), &right = b.finish().graph();
  REQUIRE(left.initializer_size() == 3);
  REQUIRE(right.initializer_size() == 3);
  CHECK(left.initializer(0).raw_data() == small);
  CHECK(left.initializer(1).raw_data() == "");
  CHECK(left.initializer(1).data_location() == ::onnx::TensorProto::EXTERNAL);
  CHECK(entry(left.initializer(1), "location") == "model.data");
  CHECK(entry(left.initializer(1), "offset") == entry(right.initializer(1), "offset"));
  CHECK(entry(left.initializer(1), "length") == "1024");
  CHECK(left.initializer(1).dims(1) == 512);
  std::vector<std::int64_t> ints(3);
  REQUIRE(left.initializer(2).raw_data().size() == 24);
  std::memcpy(ints.data(), left.initializer(2).raw_data().data(), 24);
  CHECK(ints == std::vector<std::int64_t>{0, -1, 8});
  CHECK(f.file.position() == 1024);
}

TEST_CASE("model_builder: reshapes of reshapes are one, equal ones are computed once, and unread ones are left out") {
  fixture f;
  model_builder m("g", f.data);
  const tensor_type x{dtype::f32, {1, dim{64, "rows"}, 12}};
  const shape heads{1, dim{64, "rows"}, 3, 4};
  m.input("x", x);
  const std::string flat = m.reshape("flat", "x", x, {dim{64, "rows"}, 12});
  const std::string split = m.reshape("split", flat, {dtype::f32, {dim{64, "rows"}, 12}}, heads);
  CHECK(m.reshape("back", split, {dtype::f32, heads}, x.dims) == "x");
  CHECK(m.reshape("again", "x", x, heads) == split);
  m.output(split, {dtype::f32, heads});
  const auto& g = m.finish().graph();
  REQUIRE(g.node_size() == 1);
  CHECK(g.node(0).input(0) == "x");
  REQUIRE(g.initializer_size() == 1);
  CHECK(g.initializer(0).name() == "ints_1_0_3_4");
}

TEST_CASE("model_builder: element types have ONNX's numbers") {
  CHECK(to_onnx::element_type(dtype::f32) == 1);
  CHECK(to_onnx::element_type(dtype::f16) == 10);
  CHECK(to_onnx::element_type(dtype::bf16) == 16);
  CHECK(to_onnx::element_type(dtype::i4) == 22);
  CHECK(to_onnx::element_type(dtype::u4) == 21);
  CHECK(to_onnx::element_type(dtype::i8) == 3);
  CHECK(to_onnx::element_type(dtype::u8) == 2);
  CHECK(to_onnx::element_type(dtype::i16) == 5);
  CHECK(to_onnx::element_type(dtype::u16) == 4);
  CHECK(to_onnx::element_type(dtype::i32) == 6);
  CHECK(to_onnx::element_type(dtype::i64) == 7);
}
