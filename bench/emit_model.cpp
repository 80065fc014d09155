// SPDX-License-Identifier: Apache-2.0
// Writes the model of model.cpp as others run it: in one ONNX file with GroupQueryAttention and MatMulNBits. Of a
// prompt only the last token goes through the head, as in a session.
#include <filesystem>
#include <fstream>
#include <iostream>

#include QWQ_BENCH_CONFIG
#include "qwq/emit/onnx/genai_files.hpp"
#include "qwq/model/qwen3.hpp"

namespace {

/// Puts a Slice of the last token in front of the nodes of the head.
void take_last_token(onnx::GraphProto& graph) {
  auto& nodes = *graph.mutable_node();
  int head = 0;
  while (nodes[head].name().find("/lm_head/") == std::string::npos) ++head;
  const auto constant = [&](const std::string& name, std::int64_t value) {
    onnx::TensorProto& t = *graph.add_initializer();
    t.set_name(name);
    t.set_data_type(onnx::TensorProto::INT64);
    t.add_dims(1);
    t.add_int64_data(value);
  };
  constant("last_begin", -1);
  constant("last_end", std::int64_t{1} << 40);
  constant("last_axis", 1);
  onnx::NodeProto& slice = *nodes.Add();
  slice.set_op_type("Slice");
  for (const std::string& input :
       {nodes[head].input(0), std::string("last_begin"), std::string("last_end"), std::string("last_axis")})
    slice.add_input(input);
  slice.add_output("last_hidden");
  nodes[head].set_input(0, "last_hidden");
  for (int i = nodes.size() - 1; i > head; --i) nodes.SwapElements(i, i - 1);  // arguments stand before their readers
  for (auto& output : *graph.mutable_output())
    if (output.name() == "logits")
      output.mutable_type()->mutable_tensor_type()->mutable_shape()->mutable_dim(1)->set_dim_value(1);
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc != 2) return std::cerr << "usage: " << argv[0] << " FOLDER\n", 2;
  qwq::emit<exported::model, qwq::onnx_genai, qwq::QWQ_BENCH_SCHEME>(qwq::checkpoint::open(QWQ_BENCH_CHECKPOINT),
                                                                     nullptr, {}, argv[1]);
  for (const auto& file : std::filesystem::directory_iterator(std::filesystem::path(argv[1]) / "onnx")) {
    if (file.path().extension() != ".onnx") continue;
    onnx::ModelProto model;
    std::ifstream in(file.path(), std::ios::binary);
    if (!model.ParseFromIstream(&in)) throw qwq::error(file.path().string() + ": expected an ONNX model");
    take_last_token(*model.mutable_graph());
    std::ofstream out(file.path(), std::ios::binary);
    model.SerializeToOstream(&out);
  }
} catch (const qwq::error& problem) {
  return std::cerr << problem.what() << '\n', 1;
}
