// SPDX-License-Identifier: Apache-2.0
// Mixed precision: 4-bit weights where a model bears them, 8 bits in some layers and in some tensors.
#include <iostream>

#include <qwq/emit/onnx/genai_files.hpp>
#include <qwq/model/qwen3.hpp>
#include <qwq/report/metrics.hpp>
#include <qwq/runtime/session.hpp>
#include <qwq/text/tokenizer.hpp>

#include "careful.hpp"

using namespace qwq;

using model = qwen3<qwen3_config{1280, 128, 384, 6, 4, 2, 64, 1024, 1e-6, 1e6, true}>;

// KL divergence from the float model of what a scheme makes of a text, in nats per token.
template <class Scheme>
double divergence(const checkpoint& weights, session<model>& reference, std::span<const std::int32_t> text) {
  const bound_model<model, onnx_genai, Scheme> bound(weights, {.positions = 64});
  session<model, onnx_genai, Scheme> quantized(bound);
  reference.truncate(0);
  distribution_error error;
  for (const std::int32_t id : text) error.add(reference.decode(id), quantized.decode(id));
  std::cout << Scheme::name << ": " << error.kl() << " nats per token\n";
  return error.kl();
}

int main(int argc, char** argv) try {
  if (argc != 3) return std::cerr << "usage: mixed_precision CHECKPOINT OUT\n", 2;
  const auto weights = checkpoint::open(argv[1]);
  const auto text = tokenizer::open(argv[1]).encode("The capital of France is Paris. The capital of Japan is Tokyo.");
  const bound_model<model> floats(weights, {.positions = 64});
  session<model> reference(floats);
  const double four = divergence<w4_g32>(weights, reference, text);
  const double both = divergence<my::careful>(weights, reference, text);
  const double eight = divergence<w8_g32>(weights, reference, text);

  for (const written_file& file : emit<model, onnx_genai, my::careful>(weights, nullptr, {}, argv[2]))
    std::cout << file.name << ", " << file.bytes << " bytes\n";
  return eight < both && both < four ? 0 : 1;
} catch (const error& problem) {
  return std::cerr << problem.what() << '\n', 1;
}
