// SPDX-License-Identifier: Apache-2.0
// Defines `sampler` and `generate`: how the next token is chosen.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

namespace qwq {

/// Index of the largest logit; the lowest one if several are equal.
inline std::int32_t argmax(std::span<const float> logits) {
  return static_cast<std::int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

/// Parameters of sampling. The defaults are greedy and exclude no token.
struct sampling {
  float temperature = 0;   ///< Divides the logits; 0: greedy.
  std::int32_t top_k = 0;  ///< Number of most likely tokens to choose from; 0: all.
  float top_p = 1;         ///< Probability mass to choose from; 1: all.
  std::uint64_t seed = 0;  ///< Seed of the random numbers.
};

/// Draws tokens from softmax(logits / temperature), limited to the `top_k` most likely ones and then to the fewest of
/// them whose probabilities reach `top_p`, as in transformers. Equal seeds give equal tokens on every machine.
class sampler {
 public:
  /// Allocates memory for `vocab_size` candidates; drawing allocates nothing.
  sampler(sampling how, std::size_t vocab_size) : how_(how), random_(how.seed) { order_.resize(vocab_size); }

  /// Draws the next token.
  std::int32_t operator()(std::span<const float> logits) {
    if (how_.temperature <= 0) return argmax(logits);
    order_.resize(logits.size());
    for (std::size_t i = 0; i < order_.size(); ++i)
      order_[i] = {logits[i] / how_.temperature, static_cast<std::int32_t>(i)};
    const auto more_likely = [](const candidate& a, const candidate& b) {
      return a.value != b.value ? a.value > b.value : a.id < b.id;
    };
    const std::size_t k =
        how_.top_k > 0 ? std::min(order_.size(), static_cast<std::size_t>(how_.top_k)) : order_.size();
    std::partial_sort(order_.begin(), order_.begin() + static_cast<std::ptrdiff_t>(k), order_.end(), more_likely);
    order_.resize(k);
    const float highest = order_.front().value;
    double total = 0;
    for (candidate& c : order_) total += (c.value = std::exp(c.value - highest));
    double kept = 0;
    std::size_t n = 0;
    while (n < k && (n == 0 || kept < how_.top_p * total)) kept += order_[n++].value;
    double at = static_cast<double>(random_() >> 11) * 0x1p-53 * kept;
    for (std::size_t i = 0; i + 1 < n; ++i) {
      at -= order_[i].value;
      if (at < 0) return order_[i].id;
    }
    return order_[n - 1].id;
  }

 private:
  struct candidate {
    float value;
    std::int32_t id;
  };
  sampling how_;
  std::mt19937_64 random_;
  std::vector<candidate> order_;
};

/// Continues the text in `s`, whose next-token logits are `logits`. Calls `emit(id)` for each new token, at most
/// `max_new` and as many as the cache holds, until `emit` returns false or an id of `eos` was emitted.
template <class Session, class F>
void generate(Session& s, std::span<const float> logits, std::int64_t max_new, sampler& choose,
              std::span<const std::int32_t> eos, F&& emit) {
  for (std::int64_t i = 0; i < max_new; ++i) {
    const std::int32_t id = choose(logits);
    if (!emit(id) || std::find(eos.begin(), eos.end(), id) != eos.end()) return;
    if (i + 1 == max_new || s.position() == s.capacity()) return;
    logits = s.decode(id);
  }
}

}  // namespace qwq
