// SPDX-License-Identifier: Apache-2.0
// A whole model, fused and not: the config of QWQ_BENCH_CONFIG in the scheme QWQ_BENCH_SCHEME.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include QWQ_BENCH_CONFIG
#include "limits.hpp"
#include "qwq/model/qwen3.hpp"
#include "qwq/runtime/session.hpp"
#include "qwq/targets/onnx_genai.hpp"

namespace qwq::bench {

namespace {

using exported::config, exported::model;
using scheme = QWQ_BENCH_SCHEME;

/// Larger models show how it goes on: fewer cases, whose calls take seconds.
constexpr bool small = config.hidden_size <= 1024;

/// Matrices that a token goes through; of those in front of the head it reads one row at most.
constexpr double layer_weights = [] {
  const auto heads = config.head_dim * config.num_attention_heads, kv = config.head_dim * config.num_key_value_heads;
  return static_cast<double>(config.num_hidden_layers * config.hidden_size *
                             (2 * heads + 2 * kv + 3 * config.intermediate_size));
}();
constexpr double head_weights = static_cast<double>(config.hidden_size * config.vocab_size);

/// Codes and an f32 scale for each block.
constexpr double bytes_per_weight =
    scheme::spec.quantizes() ? bits(scheme::spec.weight.element) / 8.0 + 4.0 / scheme::spec.weight.block : 4.0;
constexpr double bytes_per_token = (layer_weights + head_weights) * bytes_per_weight;

/// Multiplications and additions of a prompt of `tokens`, whose last one alone goes through the head.
constexpr double prompt_flops(double tokens) {
  const double attention = 4.0 * static_cast<double>(config.num_attention_heads * config.head_dim) * tokens / 2;
  return tokens * (2 * layer_weights + static_cast<double>(config.num_hidden_layers) * attention) + 2 * head_weights;
}

/// Weights of one target at a time: those of two may be more than the memory.
std::shared_ptr<const void> last_loaded;

/// The weights, loaded once for the cases of a target that follow each other.
template <class Target, kernel::activation_mode Activations>
struct loaded {
  checkpoint from = checkpoint::open(QWQ_BENCH_CHECKPOINT);
  bound_model<model, Target, scheme> weights;

  loaded() : weights(from, {.positions = 1024, .activations = Activations}) {}

  static std::shared_ptr<const loaded> get() {
    static std::weak_ptr<const loaded> known;
    auto result = known.lock();
    if (!result) {
      last_loaded.reset();
      known = result = std::make_shared<const loaded>();
      last_loaded = result;
    }
    return result;
  }
};

template <class Target, kernel::activation_mode Activations>
struct reader {
  using weights = loaded<Target, Activations>;
  std::shared_ptr<const weights> all = weights::get();
  session<model, Target, scheme> text;
  std::vector<std::int32_t> ids;

  explicit reader(executor& ex) : text(all->weights, nullptr, &ex), ids(512) {
    for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int32_t>(i * 7919 % config.vocab_size);
  }
};

template <class Target, kernel::activation_mode Activations = kernel::activation_mode::f32>
void add_target(const std::string& suffix, std::span<const std::size_t> prompts) {
  using reader = bench::reader<Target, Activations>;
  constexpr auto peak = Activations == kernel::activation_mode::f32 ? fma_peak : vnni_peak;
  // Weights pass through the caches once for each token: as many of them as do not fit say how fast.
  constexpr double pass = std::min(bytes_per_token, 0x1.8p28);
  for (const std::size_t threads : {1u, 2u}) {
    const std::string shape = QWQ_BENCH_MODEL;
    add({.kernel = "model_decode_" QWQ_BENCH_TYPE + suffix,
         .shape = shape,
         .counts = unit::tokens,
         .threads = threads,
         .amount = 1,
         .ours =
             [](executor& ex) {
               const auto r = std::make_shared<reader>(ex);
               r->text.prefill(std::span(r->ids).first(64));
               return [r] {
                 if (r->text.position() == 128) r->text.truncate(64);
                 keep(r->text.decode(17).data());
               };
             },
         .limits = read_bandwidth(static_cast<std::size_t>(pass), pass / bytes_per_token),
         .rounds = 7});
    for (const std::size_t tokens : prompts)
      add({.kernel = "model_prefill_" + std::to_string(tokens) + "_" QWQ_BENCH_TYPE + suffix,
           .shape = shape,
           .counts = unit::tokens,
           .threads = threads,
           .amount = static_cast<double>(tokens),
           .ours =
               [tokens](executor& ex) {
                 const auto r = std::make_shared<reader>(ex);
                 return [r, tokens] {
                   r->text.truncate(0);
                   keep(r->text.prefill(std::span(r->ids).first(tokens)).data());
                 };
               },
           .limits = peak(prompt_flops(static_cast<double>(tokens)) / static_cast<double>(tokens)),
           .rounds = small && tokens == 64 ? 5 : 2});
  }
}

}  // namespace

void add_cases() {
  static constexpr std::size_t prompts[] = {64, 512};
  constexpr auto short_ones = std::span(prompts).first(1), all = small ? std::span(prompts) : short_ones;
  constexpr bool quantized = scheme::spec.quantizes();
  constexpr auto fastest = quantized ? kernel::activation_mode::int8 : kernel::activation_mode::f32;
  if constexpr (small) {
    add_target<onnx_genai>("", all);
    add_target<disable_fusions<onnx_genai>, fastest>(quantized ? "_a8_unfused" : "_unfused", short_ones);
  }
  // Activations in int8, as MatMulNBits has them at accuracy level 4.
  if constexpr (quantized) add_target<onnx_genai, fastest>("_a8", all);
}

}  // namespace qwq::bench
