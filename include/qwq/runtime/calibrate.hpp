// SPDX-License-Identifier: Apache-2.0
// Calibration: the float model reads real texts and continues them, and observers at every slot look on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "qwq/quant/any_observer.hpp"
#include "qwq/runtime/sampler.hpp"
#include "qwq/runtime/session.hpp"
#include "qwq/runtime/token_text.hpp"

namespace qwq {

namespace detail {

/// One observer per activation slot of the prefill and of the decode graph. Where one graph is for both, both are
/// observed together: the layers of one-graph targets, embedding and head of all.
template <class Model, target Target, quantization_scheme Scheme>
class observer_bank final : public calibration_listener {
  using prefill = program<Model, Target, Scheme, prompt_rows<Target>()>;
  using decode = program<Model, Target, Scheme, 1>;

 public:
  explicit observer_bank(const any_observer& prototype)
      : prefill_(make<prefill>(prototype)), decode_(make<decode>(prototype)) {}

  void observe(bool decoding, part_place where, std::size_t slot, std::span<const float> values) override {
    where.of(decoding && !is_shared(where) ? decode_ : prefill_)[slot].observe(values);
  }

  /// Ends a text: observers that average over texts count it as one.
  void end_batch() {
    for (bank* b : {&prefill_, &decode_})
      for_each_part([&](part_place at) {
        for (any_observer& o : at.of(*b)) o.end_batch();
      });
  }

  /// Adds what another bank has seen, of other texts.
  void merge(const observer_bank& other) {
    const auto add = [](bank& into, const bank& from) {
      for_each_part([&](part_place at) {
        for (std::size_t s = 0; s < at.of(into).size(); ++s) at.of(into)[s].merge(at.of(from)[s]);
      });
    };
    add(prefill_, other.prefill_);
    add(decode_, other.decode_);
  }

  calibration_result result() const {
    static_assert(!is_one_graph<Target> || layer_slots<prefill>(0) == layer_slots<decode>(0));
    bank prefill_bank = prefill_, decode_bank = decode_;
    for_each_part([&](part_place at) {
      if (is_shared(at)) at.of(decode_bank) = at.of(prefill_);
    });
    if constexpr (leaves_cache_to_host<Target>) join_caches(prefill_bank, decode_bank);
    return {params<prefill>(prefill_bank), params<decode>(decode_bank)};
  }

 private:
  using bank = model_parts<std::vector<any_observer>>;

  /// Whether both graphs have the same parameters: what stands around the layers is a file for both where it is the
  /// target's own.
  static bool is_shared(part_place at) {
    if (at.which == part_place::layer) return is_one_graph<Target>;
    return at.which != part_place::norm || is_one_graph<Target> || is_whole_model<Target>;
  }
  static_assert(prefill::embedding::slots.size() == decode::embedding::slots.size() &&
                prefill::norm::slots.size() == decode::norm::slots.size() &&
                prefill::head::slots.size() == decode::head::slots.size());

  template <class Program>
  static constexpr std::size_t layer_slots(std::int64_t i) {
    return Program::with_layer(i, []<class Layer>(std::type_identity<Layer>) { return Layer::slots.size(); });
  }

  /// A host copies codes from one graph's results into the cache that another reads: they have the same parameters.
  static void join_caches(bank& prompt, bank& token) {
    for (const std::string_view kind : {"key", "value"})
      for (std::size_t i = 0; i < prompt.layers.size(); ++i) {
        std::vector<any_observer*> same;
        const auto add = [&]<class Program>(bank& b, std::type_identity<Program>) {
          Program::with_layer(static_cast<std::int64_t>(i), [&]<class Layer>(std::type_identity<Layer>) {
            for (const auto s : cache_slots<Layer>(kind)) same.push_back(&b.layers[i][static_cast<std::size_t>(s)]);
          });
        };
        add(prompt, std::type_identity<prefill>{});
        add(token, std::type_identity<decode>{});
        for (std::size_t k = 1; k < same.size(); ++k) same[0]->merge(*same[k]);
        for (std::size_t k = 1; k < same.size(); ++k) *same[k] = *same[0];
      }
  }

  template <class F>
  static void for_each_part(F&& f) {
    for (const auto part : {part_place::embedding, part_place::norm, part_place::head}) f(part_place{part});
    for (std::size_t i = 0; i < static_cast<std::size_t>(Model::config.num_hidden_layers); ++i)
      f(part_place{part_place::layer, i});
  }

  template <class Program>
  static bank make(const any_observer& prototype) {
    bank b;
    b.embedding.assign(Program::embedding::slots.size(), prototype);
    for (std::int64_t i = 0; i < Program::layer_count; ++i) b.layers.emplace_back(layer_slots<Program>(i), prototype);
    b.norm.assign(Program::norm::slots.size(), prototype);
    b.head.assign(Program::head::slots.size(), prototype);
    return b;
  }

  template <class Program>
  static activation_params params(const bank& b) {
    activation_params out;
    out.embedding = of_part<typename Program::embedding, Scheme>(b.embedding);
    for (std::int64_t i = 0; i < Program::layer_count; ++i)
      Program::with_layer(i, [&]<class Layer>(std::type_identity<Layer>) {
        out.layers.push_back(of_part<Layer, typename Layer::scheme>(b.layers[static_cast<std::size_t>(i)]));
      });
    out.norm = of_part<typename Program::norm, Scheme>(b.norm);
    out.head = of_part<typename Program::head, Scheme>(b.head);
    return out;
  }

  template <class Compiled, class PartScheme>
  static std::vector<kernel::affine> of_part(const std::vector<any_observer>& observers) {
    std::vector<kernel::affine> out(observers.size());
    if constexpr (PartScheme::types.quantizes_activations()) {
      using format = typename PartScheme::activation_format;
      for (std::size_t s = 0; s < observers.size(); ++s)
        if (Compiled::slots[s].kind == slot_kind::activation)
          out[s] = to_affine<format>(compute_qparams<format>(observers[s].result()));
    }
    return out;
  }

  bank prefill_, decode_;
};

}  // namespace detail

/// How ranges are found.
struct calibration_options {
  any_observer observer{};
  std::int64_t decode_steps = 32;       ///< Tokens that each prompt is continued by, at most.
  std::vector<std::int32_t> eos{};      ///< Ids that end a continuation.
  executor* threads = nullptr;
};

/// Ranges of all activations of `Model` on `Target`, found on the true trajectory: each text is read in chunks by the
/// prefill graph, and its prompt is then continued greedily by the decode graph, on the cache that the prompt left. A
/// decode graph is never shown anything else. `done(i)` is called after each text. Texts must not be empty.
template <class Model, target Target, quantization_scheme Scheme, class F>
calibration_result calibrate(const checkpoint& from, std::span<const token_text> texts, const calibration_options& o,
                             F&& done) {
  static_assert(quantizes_activations<Scheme>(),
                "qwq::calibrate<Model, Target, Scheme> requires a Scheme that quantizes activations");
  constexpr std::size_t head_slots = program<Model, Target, Scheme, 1>::head::slots.size();
  if (texts.empty()) throw error("calibration: expected at least one text, found none");
  std::size_t longest = 0;
  for (const token_text& t : texts) longest = std::max(longest, t.ids.size());
  typename bound_model<Model, Target, Scheme>::options bind;
  bind.positions = std::min(longest_text<Model, Target>(), static_cast<std::int64_t>(longest) + o.decode_steps);
  bind.quantized = false;
  const bound_model<Model, Target, Scheme> weights(from, bind);
  session<Model, Target, Scheme> s(weights, nullptr, o.threads);
  detail::observer_bank<Model, Target, Scheme> bank(o.observer);
  s.listen(&bank);
  sampler greedy({}, static_cast<std::size_t>(Model::config.vocab_size));
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const token_text& t = texts[i];
    s.truncate(0);
    if constexpr (head_slots > 0)
      s.prefill(t.ids, [](std::int64_t, matrix_view<const float>) {});  // its slots see every row
    else
      s.prefill(t.ids);
    s.truncate(static_cast<std::int64_t>(t.prompt) - 1);
    generate(s, s.decode(t.ids[t.prompt - 1]), o.decode_steps, greedy, o.eos, [](std::int32_t) { return true; });
    bank.end_batch();
    done(i);
  }
  return bank.result();
}

}  // namespace qwq
