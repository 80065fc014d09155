// SPDX-License-Identifier: Apache-2.0
// An operator that the library does not have, in a model, in a session and in an ONNX file.
#include <algorithm>
#include <cmath>
#include <fstream>
#include <iostream>

#include <qwq/emit/onnx/standard.hpp>
#include <qwq/io/tokenizer.hpp>
#include <qwq/model/qwen3.hpp>
#include <qwq/runtime/session.hpp>

// cap * tanh(x / cap) of every element. The row says the operator's name, how many arguments it has, what its result is
// and what its attribute is called.
inline constexpr qwq::op_row soft_cap = qwq::custom_op(
    "soft_cap", 1,
    [](qwq::inference& in) {
      if (in.want_float(0)) in.out = in.args[0];
    },
    "cap");

// Its kernel: sessions with the operator do not compile without one.
template <>
struct qwq::custom_kernel<soft_cap> {
  template <class Step>
  static void run(qwq::frame& f) {
    const auto cap = static_cast<float>(Step::self().attr.value);
    const auto x = Step::template in<0>(f);
    const auto y = Step::out(f);
    for (std::size_t i = 0; i < x.size(); ++i) y[i] = cap * std::tanh(x[i] / cap);
  }
};

// Qwen3 whose logits are capped: one more node in the graph of the head.
using qwen = qwq::qwen3<qwq::qwen3_config{1280, 128, 384, 6, 4, 2, 64, 1024, 1e-6, 1e6, true}>;
struct capped_qwen : qwen {
  template <std::int64_t Rows>
  struct capped_head : qwen::lm_head<Rows> {
    static constexpr auto value = [] {
      auto g = qwen::lm_head<Rows>::value;
      qwq::builder b{g};
      qwq::attributes attr;
      attr.value = 15;
      g.outputs[0].id = qwq::apply(soft_cap, attr, qwq::expr{&b, g.outputs[0].id}).id;
      return g;
    }();
  };
  template <std::int64_t Rows, qwq::dtype Cache>
  using part_types = qwq::type_list<embedding<Rows>, decoder_layer<Rows, Cache>, final_norm<Rows>, capped_head<Rows>>;
};

// A target that can write it, as a node of a domain of its own. Without the row, emit does not compile.
struct capped_onnx : qwq::onnx_standard {
  static constexpr std::string_view name = "capped_onnx";
};
inline void write_soft_cap(qwq::to_onnx::graph_writer& w) {
  qwq::to_onnx::set_attribute(w.emit("SoftCap", "org.example"), "cap", static_cast<float>(w.self().attr.value));
}
template <>
struct qwq::to_onnx::flavour<capped_onnx> : flavour<qwq::onnx_standard> {
  static constexpr op_map ops = opset23_ops.with(soft_cap, write_soft_cap);
};

int main(int argc, char** argv) try {
  if (argc != 3) return std::cerr << "usage: new_op CHECKPOINT OUT\n", 2;
  const auto weights = qwq::checkpoint::open(argv[1]);
  const auto words = qwq::tokenizer::open(argv[1]);
  const auto show = [&](const char* what, auto&& session) {
    const auto logits = session.prefill(words.encode("The capital of France is"));
    const auto best = std::max_element(logits.begin(), logits.end());
    const auto id = static_cast<std::int32_t>(best - logits.begin());
    std::cout << what << ": the largest logit is " << *best << ", of '" << words.token_bytes(id, true) << "'\n";
  };
  const qwq::bound_model<qwen> plain(weights, {.positions = 16});
  show("plain", qwq::session<qwen>(plain));
  const qwq::bound_model<capped_qwen> capped(weights, {.positions = 16});
  show("capped", qwq::session<capped_qwen>(capped));

  qwq::emit<capped_qwen, capped_onnx, qwq::f32>(weights, nullptr, {}, argv[2]);
  onnx::ModelProto file;
  std::ifstream written(std::string(argv[2]) + "/onnx/model.onnx", std::ios::binary);
  if (!file.ParseFromIstream(&written)) return 1;
  for (const auto& n : file.graph().node())
    if (n.domain() == "org.example") std::cout << n.domain() << '.' << n.op_type() << " makes " << n.output(0) << '\n';
} catch (const qwq::error& problem) {
  return std::cerr << problem.what() << '\n', 1;
}
