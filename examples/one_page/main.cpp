// SPDX-License-Identifier: Apache-2.0
// Calibrate, export and compare a model, and let it say something.
#include <iostream>

#include <qwq/emit/onnx/winml_files.hpp>
#include <qwq/model/qwen3.hpp>
#include <qwq/report/compare.hpp>
#include <qwq/runtime/calibrate.hpp>
#include <qwq/text/data_set.hpp>

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

int main(int argc, char** argv) try {
  if (argc != 5) return std::cerr << "usage: one_page CHECKPOINT CALIBRATION EVALUATION OUT\n", 2;
  const auto weights = qwq::checkpoint::open(argv[1]);
  const auto words = qwq::tokenizer::open(argv[1]);
  const auto texts = [&](const char* file) { return qwq::read_texts(file, &words, qwq::qa_style::plain, 256); };
  const auto nothing = [](std::size_t) {};
  qwq::thread_pool threads;

  // Ranges of all activations, on what the model really reads and says.
  const auto tuned = qwq::calibrate<model, target, scheme>(
      weights, texts(argv[2]), {.observer = qwq::any_observer::parse("percentile:99.99"), .threads = &threads},
      nothing);
  qwq::emit<model, target, scheme>(weights, &tuned, {.weights = qwq::granularity::row}, argv[4]);

  // The session runs the graph that was written; its weights are bound once and shared by any number of sessions.
  const qwq::bound_model<model> float_weights(weights, {.positions = 320});
  const qwq::bound_model<model, target, scheme> int8_weights(weights,
                                                             {.positions = 320, .weights = qwq::granularity::row});
  qwq::session<model> reference(float_weights, nullptr, &threads);
  qwq::session<model, target, scheme> quantized(int8_weights, &tuned, &threads);
  qwq::fidelity_report report;
  qwq::compare(report, reference, quantized, texts(argv[3]), 16, {}, nothing);
  std::cout << report;

  quantized.truncate(0);
  qwq::sampler greedy({}, 1280);
  qwq::generate(quantized, quantized.prefill(words.encode("The capital of France is")), 3, greedy, {},
                [&](std::int32_t id) {
                  std::cout << words.token_bytes(id, true);
                  return true;
                });
  std::cout << '\n';
} catch (const qwq::error& problem) {
  return std::cerr << problem.what() << '\n', 1;
}
