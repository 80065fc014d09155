// SPDX-License-Identifier: Apache-2.0
// Defines `compare`, which compares a quantized session with the float model: by layer, by token, and in generation.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "qwq/report/report.hpp"
#include "qwq/runtime/sampler.hpp"
#include "qwq/runtime/session.hpp"
#include "qwq/text/token_sequence.hpp"

namespace qwq {

namespace detail {

/// Stores the hidden states of one chunk of the reference model and compares another model's with them.
class layer_comparison {
 public:
  explicit layer_comparison(std::size_t layers) : kept_(layers + 2), error_(layers + 2) {}

  /// Hook of the reference model: stores hidden states.
  struct recorder final : layer_hook {
    layer_comparison* all = nullptr;
    void hidden_states(std::int64_t layer, matrix_view<const float> rows) override {
      keep(static_cast<std::size_t>(layer), rows);
    }
    void final_norm(matrix_view<const float> rows) override { keep(all->kept_.size() - 1, rows); }
    void keep(std::size_t i, matrix_view<const float> rows) {
      all->kept_[i].assign(rows.data, rows.data + rows.rows * rows.cols);
    }
  };
  /// Hook of the other model: compares hidden states.
  struct checker final : layer_hook {
    layer_comparison* all = nullptr;
    void hidden_states(std::int64_t layer, matrix_view<const float> rows) override {
      check(static_cast<std::size_t>(layer), rows);
    }
    void final_norm(matrix_view<const float> rows) override { check(all->kept_.size() - 1, rows); }
    void check(std::size_t i, matrix_view<const float> rows) {
      all->error_[i].add(all->kept_[i], {rows.data, static_cast<std::size_t>(rows.rows * rows.cols)});
    }
  };

  /// Errors of the outputs of the layers and of the final norm.
  std::vector<layer_fidelity> result() const {
    std::vector<layer_fidelity> out;
    for (std::size_t i = 1; i + 1 < error_.size(); ++i)
      out.push_back(summarize("layer " + std::to_string(i - 1), error_[i]));
    out.push_back(summarize("final norm", error_.back()));
    return out;
  }

 private:
  std::vector<std::vector<float>> kept_;
  std::vector<tensor_error> error_;
};

/// Appends the values of one token as long as there are few enough to plot.
inline void keep_pairs(value_pairs& pairs, std::span<const float> reference, std::span<const float> quantized) {
  constexpr std::size_t most = std::size_t{1} << 18;
  if (!pairs.reference.empty() && pairs.reference.size() + reference.size() > most) return;
  pairs.reference.insert(pairs.reference.end(), reference.begin(), reference.end());
  pairs.quantized.insert(pairs.quantized.end(), quantized.begin(), quantized.end());
}

}  // namespace detail

/// Fills the fidelity, decode, layers, divergence and logits fields of `report`. Both models read every text with the
/// prefill graph. The float model continues its prompt greedily for at most `new_tokens`; the other model reads the
/// same tokens with its decode graph. Continuations count as equal up to the first token for which the other model
/// chooses differently.
template <class Reference, class Other, class F>
void compare(fidelity_report& report, Reference& reference, Other& other, std::span<const token_sequence> texts,
             std::int64_t new_tokens, std::span<const std::int32_t> eos, F&& done) {
  const auto vocab = reference.vocab_size();
  detail::layer_comparison layers(static_cast<std::size_t>(reference.layer_count()));
  detail::layer_comparison::recorder record;
  detail::layer_comparison::checker check;
  record.all = check.all = &layers;
  distribution_error prefill, decode;
  tensor_error prefill_logits, decode_logits;
  std::vector<float> kept(static_cast<std::size_t>(prefill_rows * vocab));
  for (std::size_t t = 0; t < texts.size(); ++t) {
    const std::span<const std::int32_t> ids = texts[t].ids;
    const auto prompt = static_cast<std::int64_t>(texts[t].prompt);
    reference.reset();
    other.reset();
    reference.mark_at(prompt - 1);
    other.mark_at(prompt - 1);
    reference.set_hook(&record);
    other.set_hook(&check);
    for (std::size_t first = 0, size = 0; first < ids.size(); first += size) {
      size = std::min(ids.size() - first, static_cast<std::size_t>(std::min(reference.chunk(), other.chunk())));
      const auto chunk = ids.subspan(first, size);
      reference.prefill(chunk, [&](std::int64_t, matrix_view<const float> rows) {
        std::copy_n(rows.data, rows.rows * rows.cols, kept.data());
      });
      other.prefill(chunk, [&](std::int64_t, matrix_view<const float> rows) {
        for (std::int64_t i = 0; i < rows.rows; ++i) {
          const std::size_t next = first + static_cast<std::size_t>(i) + 1;
          if (next == ids.size()) return;  // the last token has no successor and is not scored
          const std::span<const float> expected(kept.data() + i * vocab, static_cast<std::size_t>(vocab));
          detail::keep_pairs(report.logits, expected, rows.span(i));
          prefill.add(expected, rows.span(i), ids[next]);
          prefill_logits.add(expected, rows.span(i));
        }
      });
    }
    reference.set_hook(static_cast<layer_hook*>(nullptr));
    other.set_hook(static_cast<layer_hook*>(nullptr));

    reference.rewind();
    other.rewind();
    std::int32_t id = ids[static_cast<std::size_t>(prompt) - 1];
    std::vector<std::int32_t> said, chosen;
    for (std::int64_t i = 0; i < new_tokens && reference.position() < reference.capacity(); ++i) {
      const std::span<const float> expected = reference.decode(id), found = other.decode(id);
      said.push_back(argmax(expected));
      chosen.push_back(argmax(found));
      decode.add(expected, found, said.back());
      decode_logits.add(expected, found);
      id = said.back();
      if (std::find(eos.begin(), eos.end(), id) != eos.end()) break;
    }
    report.divergence.add(said, chosen);
    done(t);
  }
  report.fidelity = summarize(prefill, prefill_logits);
  report.decode = summarize(decode, decode_logits);
  report.layers = layers.result();
}

}  // namespace qwq
