// SPDX-License-Identifier: Apache-2.0
// Defines `tensor_error`, `distribution_error` and `greedy_divergence`: streaming metrics of quantization error.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>
#include <span>
#include <string>
#include <type_traits>

#include "qwq/core/error.hpp"

namespace qwq {

namespace detail {

inline constexpr double infinity = std::numeric_limits<double>::infinity();
inline constexpr double not_measured = std::numeric_limits<double>::quiet_NaN();

inline void check_same_size(const char* who, std::span<const float> reference, std::span<const float> value) {
  if (reference.size() != value.size())
    throw error(std::string(who) + ": expected two spans of one size, found " + std::to_string(reference.size()) +
                " reference and " + std::to_string(value.size()) + " quantized values");
}

/// Indices of the `K` largest values, in descending order; equal values in ascending order of index, as in `argmax`. If
/// the row is shorter, only the first `row.size()` entries are set.
template <std::size_t K>
std::array<std::size_t, K> top_indices(std::span<const float> row) {
  std::array<std::size_t, K> best{};
  std::size_t found = 0;
  for (std::size_t i = 0; i < row.size(); ++i) {
    if (found == K && !(row[i] > row[best[K - 1]])) continue;
    std::size_t at = found < K ? found++ : K - 1;
    for (; at > 0 && row[i] > row[best[at - 1]]; --at) best[at] = best[at - 1];
    best[at] = i;
  }
  return best;
}

}  // namespace detail

/// Elementwise error of a tensor relative to its float reference, over any number of `add` calls (accumulated in
/// float64). Trivially copyable, so that ranks can send it as bytes. Before the first element every number is NaN (not
/// measured). A NaN or infinity on either side counts as an infinite error: the errors are +inf, the cosine 0 and the
/// SQNR -inf.
class tensor_error {
 public:
  /// Adds the elements of two tensors. Throws `error` if the sizes differ.
  void add(std::span<const float> reference, std::span<const float> value) {
    detail::check_same_size("tensor_error", reference, value);
    for (std::size_t i = 0; i < reference.size(); ++i) {
      const double r = reference[i], v = value[i], d = v - r;
      abs_ += std::abs(d);
      squares_ += d * d;
      reference_squares_ += r * r;
      value_squares_ += v * v;
      dot_ += r * v;
      max_abs_ = std::max(max_abs_, std::abs(d));
      lowest_ = std::min(lowest_, r);
      highest_ = std::max(highest_, r);
    }
    count_ += reference.size();
  }

  /// Adds everything that was added to `other`.
  void merge(const tensor_error& other) {
    abs_ += other.abs_;
    squares_ += other.squares_;
    reference_squares_ += other.reference_squares_;
    value_squares_ += other.value_squares_;
    dot_ += other.dot_;
    max_abs_ = std::max(max_abs_, other.max_abs_);
    lowest_ = std::min(lowest_, other.lowest_);
    highest_ = std::max(highest_, other.highest_);
    count_ += other.count_;
  }

  /// Number of elements.
  std::uint64_t count() const { return count_; }
  /// Mean of |value - reference|.
  double mean_abs_diff() const { return checked(abs_ / n(), detail::infinity); }
  /// Maximum of |value - reference|.
  double max_abs_diff() const { return checked(max_abs_, detail::infinity); }
  /// Mean of (value - reference)^2.
  double mse() const { return checked(squares_ / n(), detail::infinity); }

  /// Peak-error-to-interval ratio: max|value - reference| / (max(reference) - min(reference)), a ratio, not percent.
  /// The interval is that of the reference only; a constant reference has interval 1 (TICO, evaluation/metric.py).
  double peir() const {
    const double interval = highest_ - lowest_;
    return checked(max_abs_ / (interval == 0 ? 1 : interval), detail::infinity);
  }

  /// Cosine of the angle between the tensors: 1 for two zero tensors, 0 for a zero and a nonzero tensor.
  double cosine() const {
    if (reference_squares_ == 0 || value_squares_ == 0) return checked(reference_squares_ == value_squares_ ? 1 : 0, 0);
    return checked(dot_ / std::sqrt(reference_squares_ * value_squares_), 0);  // one root: exactly 1 for equal tensors
  }

  /// 10 log10(sum reference^2 / sum (value - reference)^2) in dB: +inf for equal tensors, also if both are zero; -inf
  /// if only the reference is zero.
  double sqnr_db() const {
    if (squares_ == 0) return checked(detail::infinity, -detail::infinity);
    return checked(10 * std::log10(reference_squares_ / squares_), -detail::infinity);
  }

 private:
  double n() const { return static_cast<double>(count_); }
  /// A sum of float magnitudes cannot overflow a double: if it is not finite, an element was not finite.
  double checked(double value, double if_not_finite) const {
    if (count_ == 0) return detail::not_measured;
    return std::isfinite(abs_) ? value : if_not_finite;
  }

  double abs_ = 0, squares_ = 0, reference_squares_ = 0, value_squares_ = 0, dot_ = 0, max_abs_ = 0;
  double lowest_ = detail::infinity, highest_ = -detail::infinity;
  std::uint64_t count_ = 0;
};

/// Error of next-token distributions relative to the float model's; one row of logits per token (float64 log-softmax).
/// Trivially copyable. Means are per token; NaN before the first token. A row with a NaN or +inf logit predicts
/// nothing: infinite KL and loss, no agreement. -inf (a masked token) is probability 0.
class distribution_error {
 public:
  /// Adds one token: float logits, quantized logits and, for the perplexity, the id of the next token; a negative id
  /// (-100 in HF labels) is not scored. Throws `error` if a row is empty, the sizes differ or the id is outside of the
  /// row.
  void add(std::span<const float> reference, std::span<const float> value, std::int64_t target = -1) {
    detail::check_same_size("distribution_error", reference, value);
    if (reference.empty()) throw error("distribution_error: expected a row of logits, found none");
    if (target >= static_cast<std::int64_t>(reference.size()))
      throw error("distribution_error: expected a target below " + std::to_string(reference.size()) + ", found " +
                  std::to_string(target));

    const auto best = detail::top_indices<top_k>(reference), quantized_best = detail::top_indices<top_k>(value);
    const double peak = reference[best[0]], quantized_peak = value[quantized_best[0]];
    double mass = 0, quantized_mass = 0, weighted = 0;
    for (std::size_t i = 0; i < reference.size(); ++i) {
      const double r = reference[i] - peak, q = value[i] - quantized_peak, e = std::exp(r);
      mass += e;
      quantized_mass += std::exp(q);
      if (e > 0) weighted += e * (r - q);
    }
    const bool broken = std::isnan(mass), quantized_broken = std::isnan(quantized_mass);

    double kl = detail::infinity;
    if (!broken && !quantized_broken) {
      kl = std::max(0.0, weighted / mass - std::log(mass) + std::log(quantized_mass));
      const std::size_t k = std::min(top_k, reference.size());
      const auto end = quantized_best.begin() + static_cast<std::ptrdiff_t>(k);
      std::size_t common = 0;
      for (std::size_t i = 0; i < k; ++i) common += std::find(quantized_best.begin(), end, best[i]) != end;
      top1_ += best[0] == quantized_best[0];
      top5_ += static_cast<double>(common) / static_cast<double>(k);
    }
    kl_ += kl;
    kl_max_ = std::max(kl_max_, kl);
    ++tokens_;

    if (target < 0) return;
    const auto t = static_cast<std::size_t>(target);
    loss_ += broken ? detail::infinity : std::log(mass) - (reference[t] - peak);
    quantized_loss_ += quantized_broken ? detail::infinity : std::log(quantized_mass) - (value[t] - quantized_peak);
    ++targets_;
  }

  /// Adds everything that was added to `other`.
  void merge(const distribution_error& other) {
    kl_ += other.kl_;
    kl_max_ = std::max(kl_max_, other.kl_max_);
    top1_ += other.top1_;
    top5_ += other.top5_;
    loss_ += other.loss_;
    quantized_loss_ += other.quantized_loss_;
    tokens_ += other.tokens_;
    targets_ += other.targets_;
  }

  /// Number of tokens.
  std::uint64_t tokens() const { return tokens_; }
  /// Number of tokens with a target.
  std::uint64_t targets() const { return targets_; }
  /// Mean KL(float || quantized) in nats.
  double kl() const { return mean(kl_, tokens_); }
  /// Maximum KL(float || quantized) over tokens, in nats.
  double kl_max() const { return tokens_ == 0 ? detail::not_measured : kl_max_; }
  /// Share of tokens with the same most likely successor (of equal logits, the lowest id).
  double top1() const { return mean(static_cast<double>(top1_), tokens_); }
  /// Mean share of the reference's five most likely ids that are among the quantized model's five.
  double top5() const { return mean(top5_, tokens_); }
  /// exp(mean negative log-likelihood of the targets) of the float model; NaN without targets.
  double perplexity_float() const { return std::exp(mean(loss_, targets_)); }
  /// exp(mean negative log-likelihood of the targets) of the quantized model; NaN without targets.
  double perplexity_quantized() const { return std::exp(mean(quantized_loss_, targets_)); }

 private:
  static constexpr std::size_t top_k = 5;
  static double mean(double sum, std::uint64_t count) {
    return count == 0 ? detail::not_measured : sum / static_cast<double>(count);
  }

  double kl_ = 0, kl_max_ = 0, top5_ = 0, loss_ = 0, quantized_loss_ = 0;
  std::uint64_t top1_ = 0, tokens_ = 0, targets_ = 0;
};

/// Length of the common start of greedy continuations, over any number of prompts.
class greedy_divergence {
 public:
  /// Adds the ids that the float and the quantized model generated for one prompt (ranges of ids). Continuations are
  /// equal if they have the same ids and the same length.
  template <class Reference, class Value>
  void add(const Reference& reference, const Value& value) {
    const auto [r, v] = std::mismatch(std::begin(reference), std::end(reference), std::begin(value), std::end(value));
    tokens_ += static_cast<std::uint64_t>(std::distance(std::begin(reference), r));
    equal_ += r == std::end(reference) && v == std::end(value);
    ++prompts_;
  }

  /// Adds everything that was added to `other`.
  void merge(const greedy_divergence& other) {
    tokens_ += other.tokens_;
    equal_ += other.equal_;
    prompts_ += other.prompts_;
  }

  /// Number of prompts.
  std::uint64_t prompts() const { return prompts_; }
  /// Number of prompts with equal continuations.
  std::uint64_t equal() const { return equal_; }
  /// Mean number of ids before the first difference (the whole length if there is none); NaN without prompts.
  double mean_tokens() const {
    return prompts_ == 0 ? detail::not_measured : static_cast<double>(tokens_) / static_cast<double>(prompts_);
  }

 private:
  std::uint64_t tokens_ = 0, equal_ = 0, prompts_ = 0;
};

static_assert(std::is_trivially_copyable_v<tensor_error> && std::is_trivially_copyable_v<distribution_error> &&
              std::is_trivially_copyable_v<greedy_divergence>);

}  // namespace qwq
