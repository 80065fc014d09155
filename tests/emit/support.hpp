// SPDX-License-Identifier: Apache-2.0
// What the tests of ONNX files share: a small checkpoint, and what stands in a model.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include <doctest/doctest.h>
#include <onnx/onnx_pb.h>

#include "../io/scratch.hpp"
#include <qwq/io/safetensors.hpp>
#include <qwq/model/qwen3.hpp>

namespace qwq::test {

/// The random checkpoint whose quantization by ONNX Runtime is recorded in tests/data/ort_quant.
inline constexpr qwen3_config tiny{64, 32, 48, 2, 4, 2, 16, 128, 1e-6, 1e6, true};
using model = qwen3<tiny>;

inline const std::string goldens = QWQ_TEST_DATA "/ort_quant/";

/// As a checkpoint folder.
struct tiny_checkpoint {
  scratch dir;
  tiny_checkpoint() {
    std::filesystem::copy_file(goldens + "tiny_qwen3.safetensors", dir / "model.safetensors");
    std::filesystem::copy_file(goldens + "tiny_qwen3_config.json", dir / "config.json");
  }
};

inline std::string text_of(const tensor_info& t) { return {reinterpret_cast<const char*>(t.data), t.bytes}; }

/// A model and the data file beside it.
struct model_file {
  ::onnx::ModelProto model;
  std::string data, data_name;

  model_file(const std::filesystem::path& path, const std::filesystem::path& data_path)
      : data(slurp(data_path)), data_name(data_path.filename()) {
    REQUIRE(model.ParseFromString(slurp(path)));
  }

  const ::onnx::TensorProto* find(const std::string& name) const {
    for (const auto& t : model.graph().initializer())
      if (t.name() == name) return &t;
    return nullptr;
  }
  /// Entry of a constant's place: location, offset or length.
  static std::string place(const ::onnx::TensorProto& t, const std::string& key) {
    for (const auto& e : t.external_data())
      if (e.key() == key) return e.value();
    return "";
  }
  std::string bytes(const ::onnx::TensorProto& t) const {
    if (t.data_location() != ::onnx::TensorProto::EXTERNAL) return t.raw_data();
    CHECK(place(t, "location") == data_name);
    return data.substr(std::stoull(place(t, "offset")), std::stoull(place(t, "length")));
  }
  /// Nodes of each operator.
  std::map<std::string, int> count() const {
    std::map<std::string, int> n;
    for (const auto& node : model.graph().node()) ++n[node.op_type()];
    return n;
  }
};

}  // namespace qwq::test
