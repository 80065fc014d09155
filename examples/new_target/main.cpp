// SPDX-License-Identifier: Apache-2.0
// A target from outside of the library: Qwen3 for ONNX Runtime, with SiLU as one operator.
#include <array>
#include <fstream>
#include <iostream>
#include <map>

#include <qwq/emit/onnx/genai.hpp>
#include <qwq/io/tokenizer.hpp>
#include <qwq/model/qwen3.hpp>
#include <qwq/runtime/session.hpp>
#include <qwq/runtime/sampler.hpp>

// What it is: onnx_genai, whose rules take silu(x) apart into x * sigmoid(x), without that rule. The type of its cache
// and the schemes that it takes are those of onnx_genai.
struct onnx_quick : qwq::onnx_genai {
  static constexpr std::string_view name = "onnx_quick";
  static constexpr std::array rules{qwq::rules::attention_to_gqa, qwq::rules::merge_reshapes, qwq::rules::drop_reshape};
  static constexpr bool supports(qwq::op kind) { return kind == qwq::op::silu || qwq::onnx_genai::supports(kind); }
};

// How its files are written: com.microsoft's QuickGelu(x, alpha) is x * sigmoid(alpha * x). Everything else, the layout of
// the folder as well, is that of onnx_genai.
inline void write_silu(qwq::to_onnx::graph_writer& w) {
  qwq::to_onnx::set_attribute(w.emit("QuickGelu", qwq::to_onnx::microsoft), "alpha", 1.0f);
}
template <>
struct qwq::to_onnx::flavour<onnx_quick> : flavour<qwq::onnx_genai> {
  static constexpr op_map ops = genai_ops.with(op::silu, write_silu);
};

using model = qwq::qwen3<qwq::qwen3_config{1280, 128, 384, 6, 4, 2, 64, 1024, 1e-6, 1e6, true}>;

int main(int argc, char** argv) try {
  if (argc != 3) return std::cerr << "usage: new_target CHECKPOINT OUT\n", 2;
  const auto weights = qwq::checkpoint::open(argv[1]);

  // The files, and which operators are in them.
  qwq::emit<model, onnx_quick, qwq::f32>(weights, nullptr, {}, argv[2]);
  onnx::ModelProto file;
  std::ifstream written(std::string(argv[2]) + "/onnx/model.onnx", std::ios::binary);
  if (!file.ParseFromIstream(&written)) return 1;
  std::map<std::string, int> count;
  for (const auto& n : file.graph().node()) ++count[n.domain() + '.' + n.op_type()];
  for (const auto& [type, times] : count) std::cout << type << ' ' << times << '\n';

  // A session runs the graph that was written, here with the weights in 4 bits.
  using scheme = qwq::w4_g32;
  const qwq::bound_model<model, onnx_quick, scheme> bound(weights, {.positions = 64});
  qwq::session<model, onnx_quick, scheme> session(bound);
  const auto words = qwq::tokenizer::open(argv[1]);
  qwq::sampler greedy({}, session.vocab_size());
  qwq::generate(session, session.prefill(words.encode("The capital of France is")), 3, greedy, {},
                [&](std::int32_t id) {
                  std::cout << words.token_bytes(id, true);
                  return true;
                });
  std::cout << '\n';
} catch (const qwq::error& problem) {
  return std::cerr << problem.what() << '\n', 1;
}
