// SPDX-License-Identifier: Apache-2.0
// Defines `calibrate`, which runs the float model on texts and records the range of the values at each slot.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "qwq/quant/any_observer.hpp"
#include "qwq/runtime/sampler.hpp"
#include "qwq/runtime/session.hpp"
#include "qwq/text/token_sequence.hpp"

namespace qwq {

namespace detail {

/// One observer per activation slot of the prefill and decode graphs. Parts shared by prefill and decode (embedding,
/// head; layers of single-graph targets) share one set of observers.
template <class Model, target Target, quantization_scheme Scheme>
class observer_bank final : public calibration_listener {
  using prefill = program<Model, Target, Scheme, prompt_rows<Target>()>;
  using decode = program<Model, Target, Scheme, 1>;
  using bank = std::vector<std::vector<any_observer>>;  // indexed by part and slot

 public:
  explicit observer_bank(const any_observer& prototype)
      : prefill_(make<prefill>(prototype)), decode_(make<decode>(prototype)) {}

  void observe(bool decoding, std::size_t part, std::size_t slot, std::span<const float> values) override {
    (decoding && !is_shared(part) ? decode_ : prefill_)[part][slot].observe(values);
  }

  /// Ends a text: observers that average over batches count it as one.
  void end_batch() {
    for (bank* b : {&prefill_, &decode_})
      for (auto& part : *b)
        for (any_observer& o : part) o.end_batch();
  }

  /// Merges the observations of another bank, which has seen other texts.
  void merge(const observer_bank& other) {
    const auto add = [](bank& into, const bank& from) {
      for (std::size_t p = 0; p < into.size(); ++p)
        for (std::size_t s = 0; s < into[p].size(); ++s) into[p][s].merge(from[p][s]);
    };
    add(prefill_, other.prefill_);
    add(decode_, other.decode_);
  }

  calibration_result result() const {
    bank prefill_bank = prefill_, decode_bank = decode_;
    for (std::size_t p = 0; p < decode_bank.size(); ++p)
      if (is_shared(p)) decode_bank[p] = prefill_[p];
    if constexpr (leaves_cache_to_host<Target>) join_caches(prefill_bank, decode_bank);
    return {params<prefill>(prefill_bank), params<decode>(decode_bank)};
  }

 private:
  /// True if both graphs have the same parameters at this stage. If the target includes the stages around the layers,
  /// each of them is one file for both.
  static constexpr bool is_shared(stage of) {
    if (of == stage::layers) return is_single_graph<Target>;
    return of != stage::norm || is_single_graph<Target> || has_embedding_and_head<Target>;
  }
  static constexpr bool is_shared(std::size_t part) { return is_shared(prefill::parts[part].of); }

  static_assert([]<std::size_t... I>(std::index_sequence<I...>) {
    const auto same_slots = []<class P, class D>(std::type_identity<P>, std::type_identity<D>) {
      return !is_shared(P::of) || P::slots.parameters() == D::slots.parameters();
    };
    return (same_slots(std::type_identity<type_at<I, typename prefill::kinds>>{},
                       std::type_identity<type_at<I, typename decode::kinds>>{}) &&
            ...);
  }(std::make_index_sequence<prefill::kinds::size>{}));

  /// The host copies codes from the results of one graph into the state of the other, so both use the same parameters.
  static void join_caches(bank& prompt, bank& token) {
    decode::for_each_part([&]<class Decode>(std::type_identity<Decode>, std::size_t p) {
      using prompt_part = type_at<Decode::index, typename prefill::kinds>;
      for (const state_entry& state : states_of<Decode>) {
        std::vector<any_observer*> same;
        const auto add = [&](const auto& slots, std::vector<any_observer>& observers) {
          for (const std::int16_t s : slots) same.push_back(&observers[static_cast<std::size_t>(s)]);
        };
        add(state_slots<prompt_part>(state.name), prompt[p]);
        add(state_slots<Decode>(state.name), token[p]);
        for (std::size_t k = 1; k < same.size(); ++k) same[0]->merge(*same[k]);
        for (std::size_t k = 1; k < same.size(); ++k) *same[k] = *same[0];
      }
    });
  }

  template <class Program>
  static bank make(const any_observer& prototype) {
    bank b;
    Program::for_each_part([&]<class Part>(std::type_identity<Part>, std::size_t) {
      b.emplace_back(Part::slots.parameters(), prototype);
    });
    return b;
  }

  template <class Program>
  static activation_params params(const bank& b) {
    activation_params out;
    Program::for_each_part([&]<class Part>(std::type_identity<Part>, std::size_t p) {
      out.push_back(of_part<Part, typename Part::scheme>(b[p]));
    });
    return out;
  }

  template <class Compiled, class PartScheme>
  static std::vector<kernel::affine> of_part(const std::vector<any_observer>& observers) {
    std::vector<kernel::affine> out(observers.size());
    if constexpr (PartScheme::spec.quantizes_activations()) {
      using format = typename PartScheme::activation_format;
      for (const slot& s : Compiled::slots) {
        if (s.kind != slot_kind::activation) continue;
        const std::span seen =
            std::span(observers).subspan(static_cast<std::size_t>(s.first), static_cast<std::size_t>(s.count));
        for (std::size_t e = 0; e < seen.size(); ++e)
          out[static_cast<std::size_t>(s.first) + e] = to_affine<format>(compute_qparams<format>(range_of(seen, e)));
      }
    }
    return out;
  }

  /// The observed range of expert `e`. An expert that no token reached gets the range of all experts together.
  static range range_of(std::span<const any_observer> experts, std::size_t e) {
    if (experts.size() == 1 || experts[e].count() > 0) return experts[e].result();
    any_observer all = experts[e];
    for (const any_observer& o : experts) all.merge(o);
    return all.result();
  }

  bank prefill_, decode_;
};

}  // namespace detail

/// Options of `calibrate`.
struct calibration_options {
  /// Prototype of the observers: how a range is found.
  any_observer observer{};
  std::int64_t decode_steps = 32;   ///< Maximum number of generated tokens per prompt.
  std::vector<std::int32_t> eos{};  ///< Ids that end a continuation.
  /// Runs the kernels; null: the calling thread.
  executor* threads = nullptr;
};

/// Finds the ranges of all activations of `Model` on `Target`, on the true trajectory: the prefill graph reads each
/// text in chunks, and the decode graph continues its prompt greedily, on the cache of the prompt. A decode graph sees
/// nothing else. Calls `done(i)` after each text. Texts must not be empty.
template <class Model, target Target, quantization_scheme Scheme, class F>
calibration_result calibrate(const checkpoint& from, std::span<const token_sequence> texts,
                             const calibration_options& o, F&& done) {
  static_assert(quantizes_activations<Scheme>(),
                "qwq::calibrate<Model, Target, Scheme> requires a Scheme that quantizes activations");
  constexpr std::size_t head_slots = program<Model, Target, Scheme, 1>::template first<stage::head>::slots.size();
  if (texts.empty()) throw error("calibration: expected at least one text, found none");
  std::size_t longest = 0;
  for (const token_sequence& t : texts) longest = std::max(longest, t.ids.size());
  typename bound_model<Model, Target, Scheme>::options bind;
  bind.positions = std::min(longest_text<Model, Target>(), static_cast<std::int64_t>(longest) + o.decode_steps);
  bind.quantized = false;
  const bound_model<Model, Target, Scheme> weights(from, bind);
  session<Model, Target, Scheme> s(weights, nullptr, o.threads);
  detail::observer_bank<Model, Target, Scheme> bank(o.observer);
  s.set_hook(&bank);
  sampler greedy({}, static_cast<std::size_t>(s.vocab_size()));
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const token_sequence& t = texts[i];
    s.reset();
    s.mark_at(static_cast<std::int64_t>(t.prompt) - 1);
    if constexpr (head_slots > 0)
      s.prefill(t.ids, [](std::int64_t, matrix_view<const float>) {});  // the observers see every row
    else
      s.prefill(t.ids);
    s.rewind();
    generate(s, s.decode(t.ids[t.prompt - 1]), o.decode_steps, greedy, o.eos, [](std::int32_t) { return true; });
    bank.end_batch();
    done(i);
  }
  return bank.result();
}

}  // namespace qwq
