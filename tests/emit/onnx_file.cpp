// SPDX-License-Identifier: Apache-2.0
// Unsound ONNX files are found before they get their name.
#include <functional>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "../io/scratch.hpp"
#include <qwq/emit/onnx/onnx_check.hpp>

using namespace qwq;
using namespace qwq::to_onnx;

namespace {

/// y = x + w, where w has 1024 floats in the data file.
::onnx::ModelProto sound_model(const scratch& dir) {
  atomic_file file(dir / "model.data");
  external_data data(file, "model.data");
  model_builder m("g", data);
  m.input("x", {dtype::f32, {1, 1024}});
  const std::string w = m.initializer("w", "w", dtype::f32, {1, 1024}, [](const byte_sink& sink) {
    const std::vector<float> values(1024, 1.0f);
    sink(std::as_bytes(std::span(values)));
  });
  const std::string axes = m.int64s({0});
  ::onnx::NodeProto& add = m.node("Add", "add", std::vector<std::string>{"x", w});
  const std::string sum = m.result(add, "sum", {dtype::f32, {1, 1024}});
  ::onnx::NodeProto& squeeze = m.node("Squeeze", "squeeze", std::vector<std::string>{sum, axes});
  m.result(squeeze, "y", {dtype::f32, {1024}});
  m.output("y", {dtype::f32, {1024}});
  return m.finish();
}

std::string check(const ::onnx::ModelProto& model, std::uint64_t data_bytes = 4096) {
  const std::string bytes = model.SerializeAsString();
  return complaint([&] { check_file(std::as_bytes(std::span(bytes)), "m.onnx", "model.data", data_bytes); });
}

}  // namespace

TEST_CASE("onnx file: a sound one is taken, and what is damaged is named") {
  const scratch dir;
  const ::onnx::ModelProto sound = sound_model(dir);
  CHECK(check(sound) == "");
  CHECK(check(sound, 4095) == "m.onnx: initializer 'w': expected its data at a multiple of 64 inside of the file");
  const std::string text = "no model";
  CHECK(complaint([&] { check_file(std::as_bytes(std::span(text)), "m.onnx", "model.data", 0); }) ==
        "m.onnx: expected an ONNX model");

  const auto damaged = [&](const std::function<void(::onnx::ModelProto&)>& damage) {
    ::onnx::ModelProto model = sound;
    damage(model);
    return check(model);
  };
  const auto graph = [](::onnx::ModelProto& m) { return m.mutable_graph(); };
  CHECK(damaged([&](auto& m) { graph(m)->mutable_initializer(0)->mutable_external_data(0)->set_value("../other"); }) ==
        "m.onnx: initializer 'w': expected its data in the file beside the model");
  CHECK(damaged([&](auto& m) { graph(m)->mutable_initializer(0)->set_dims(1, 1023); }) ==
        "m.onnx: initializer 'w': expected as many bytes as the shape says");
  CHECK(damaged([&](auto& m) {
          graph(m)->mutable_initializer(1)->mutable_raw_data()->push_back('x');
        }).ends_with("expected as many bytes as the shape says"));
  CHECK(damaged([&](auto& m) { graph(m)->mutable_initializer(0)->set_data_type(::onnx::TensorProto::STRING); }) ==
        "m.onnx: initializer 'w': expected an element type that is written here");
  CHECK(damaged([&](auto& m) { graph(m)->mutable_node(0)->set_input(0, "z"); }) ==
        "m.onnx: node 'add': expected inputs that are made before it");
  CHECK(damaged([&](auto& m) { graph(m)->mutable_node()->SwapElements(0, 1); }) ==
        "m.onnx: node 'squeeze': expected inputs that are made before it");
  CHECK(damaged([&](auto& m) { graph(m)->mutable_node(1)->set_output(0, "sum"); }) ==
        "m.onnx: node 'squeeze': output 'sum': expected a name of its own");
  CHECK(damaged([&](auto& m) { graph(m)->mutable_output(0)->set_name("z"); }) ==
        "m.onnx: expected output 'z' to be made");
  CHECK(damaged([&](auto& m) { graph(m)->clear_output(); }) == "m.onnx: expected an output");
  CHECK(damaged([&](auto& m) { m.clear_opset_import(); }) == "m.onnx: node 'add': expected its opset to be imported");
  CHECK(damaged([&](auto& m) { m.add_opset_import()->set_domain("other"); }) ==
        "m.onnx: expected no opset to be imported that nodes do not use");

  // Two constants over one range are one; over a part of it they are a mistake.
  const auto twin = [&](const char* offset) {
    return damaged([&](auto& m) {
      ::onnx::TensorProto& t = *graph(m)->add_initializer();
      t = m.graph().initializer(0);
      t.set_name("v");
      t.set_dims(1, 512);
      t.mutable_external_data(1)->set_value(offset);
      t.mutable_external_data(2)->set_value("2048");
    });
  };
  CHECK(twin("1024") == "m.onnx: initializer 'v': expected no data that overlaps");
}
