// SPDX-License-Identifier: Apache-2.0
// Follows one value, the output of gate_proj in the first layer, from the config to the bytes of an ONNX file.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>

#include <qwq/emit/onnx/winml_files.hpp>
#include <qwq/graph/print.hpp>
#include <qwq/model/qwen3.hpp>
#include <qwq/runtime/calibrate.hpp>
#include <qwq/text/tokenizer.hpp>

// The config is a template argument: all sizes are known while this compiles.
using model = qwq::qwen3<qwq::qwen3_config{.vocab_size = 1280,
                                           .hidden_size = 128,
                                           .intermediate_size = 384,
                                           .num_hidden_layers = 6,
                                           .num_attention_heads = 4,
                                           .num_key_value_heads = 2,
                                           .head_dim = 64,
                                           .max_position_embeddings = 1024,
                                           .rms_norm_eps = 1e-6,
                                           .rope_theta = 1e6,
                                           .tie_word_embeddings = true}>;
using target = qwq::onnx_winml;
using scheme = qwq::w8a16;

// The decoder layer as the model has it, and compiled for the target and the scheme, for prompts of up to 64 tokens.
using original = model::decoder_layer<64, target::cache>;
using layer = qwq::program<model, target, scheme, 64>::first<qwq::stage::layers>;
// What sessions run, before fusions join several operators to one step, in which the value cannot be seen any more.
using unfused_layer = qwq::program<model, qwq::disable_fusions<target>, scheme, 64>::first<qwq::stage::layers>;

constexpr std::string_view module = "mlp.gate_proj";

// The slot in which the value is quantized.
constexpr std::size_t slot = [] {
  std::size_t i = 0;
  while (layer::slots[i].name != "mlp.gate_proj/conv1x1") ++i;
  return i;
}();
static_assert(layer::slots[slot].format.element == qwq::dtype::u16);
// In the model's list of parts, its first layer comes after the embedding.
constexpr std::size_t layer_0 = 1;
static_assert(model::parts[layer_0].of == qwq::stage::layers && model::parts[layer_0].layer == 0);

// Prints those nodes of a graph that belong to the module.
template <std::size_t N>
void show(const char* title, const qwq::graph<N>& g) {
  std::ostringstream all;
  print(all, g);
  std::istringstream lines(all.str());
  std::cout << title << '\n';
  for (std::string line; std::getline(lines, line);)
    if (line.find(module) != std::string::npos) std::cout << "  " << line << '\n';
}

// Keeps the first values that reach the slot in the first layer, while a prompt is read.
struct first_values : qwq::calibration_listener {
  std::vector<float> x;
  void observe(bool decoding, std::size_t part, std::size_t at, std::span<const float> values) override {
    if (part == layer_0 && at == slot && !decoding && x.empty()) x.assign(values.begin(), values.begin() + 3);
  }
};

// The floats that a model file holds under a name.
std::vector<float> stored_floats(const onnx::ModelProto& file, const std::string& name) {
  for (const auto& t : file.graph().initializer())
    if (t.name() == name) {
      std::vector<float> x(t.raw_data().size() / sizeof(float));
      std::copy_n(t.raw_data().data(), t.raw_data().size(), reinterpret_cast<char*>(x.data()));
      return x;
    }
  throw qwq::error(name + ": expected an initializer, found none");
}

int main(int argc, char** argv) try {
  if (argc != 3) return std::cerr << "usage: tour CHECKPOINT OUT\n", 2;

  // layer, graph
  show("The graph of the model:", original::value);

  // rewrite, rules, target
  std::cout << "Rules that applied here:\n";
  for (const qwq::applied_rewrite& f : layer::log.applied)
    if (f.where == module) std::cout << "  " << f.rule << '\n';

  // quant
  show("The graph that is emitted:", layer::emitted::value);

  // lower, kernel
  show("The graph that sessions run:", unfused_layer::executed::value);

  // io, runtime
  const auto weights = qwq::checkpoint::open(argv[1]);
  const auto words = qwq::tokenizer::open(argv[1]);
  const qwq::token_sequence text{words.encode("The capital of France is Paris."), 6};
  using float_model = qwq::bound_model<model, qwq::disable_fusions<target>, scheme>;
  const float_model floats(weights, {.positions = 64, .quantized = false});
  qwq::session<model, qwq::disable_fusions<target>, scheme> session(floats);
  first_values seen;
  session.set_hook(&seen);
  session.prefill(text.ids);
  const auto tuned = qwq::calibrate<model, target, scheme>(weights, std::span(&text, 1), {}, [](std::size_t) {});
  const qwq::kernel::affine params = tuned.prefill[layer_0][slot];
  std::printf("Its first elements, in steps of %.3g:\n", params.scale);
  for (const float x : seen.x) {
    std::uint16_t code = 0;
    qwq::kernel::quantize(std::span(&code, 1), std::span(&x, 1), params);
    std::printf("  %6.3f becomes a code that stands for %6.3f\n", x,
                params.scale * static_cast<float>(code - params.zero_point));
  }
  std::fflush(stdout);

  // emit
  qwq::emit<model, target, scheme>(weights, &tuned, {}, argv[2]);
  onnx::ModelProto file;
  std::ifstream bytes(std::filesystem::path(argv[2]) / "prefill.onnx", std::ios::binary);
  if (!file.ParseFromIstream(&bytes)) return 1;
  std::cout << "In prefill.onnx:\n";
  for (const auto& n : file.graph().node()) {
    if (n.name().find("layers.0/mlp/gate_proj") == std::string::npos) continue;
    std::cout << "  " << n.op_type() << " makes " << n.output(0) << '\n';
    if (n.op_type() == "QuantizeLinear")
      std::cout << "    with the scale that was calibrated: "
                << (stored_floats(file, n.input(1)) == std::vector{params.scale} ? "yes" : "no") << '\n';
  }
} catch (const qwq::error& problem) {
  return std::cerr << problem.what() << '\n', 1;
}
