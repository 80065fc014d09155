// SPDX-License-Identifier: Apache-2.0
// Defines `any_observer`, an observer chosen at run time by name.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "qwq/core/error.hpp"
#include "qwq/quant/entropy.hpp"
#include "qwq/quant/minmax.hpp"
#include "qwq/quant/mse.hpp"
#include "qwq/quant/observer.hpp"
#include "qwq/quant/percentile.hpp"

namespace qwq {

/// One of the library's observers; see `observer` for the member functions.
class any_observer {
 public:
  /// A `minmax` observer.
  any_observer() = default;

  /// Creates the observer that `text` names: "minmax", "moving_average", "percentile:99.99" (a percentage above 0 and
  /// up to 100, with at most 4 decimals), "entropy" or "mse". `bits` is the width of the codes for "mse". Throws
  /// `error` for other text.
  static any_observer parse(std::string_view text, int bits = 8) {
    constexpr std::string_view with_percent = "percentile:";
    if (text == "minmax") return any_observer(minmax());
    if (text == "moving_average") return any_observer(moving_average<>());
    if (text == "entropy") return any_observer(entropy<>());
    if (text == "mse") return any_observer(mse_observer(bits));
    if (text.starts_with(with_percent))
      if (const auto kept = parts_per_million(text.substr(with_percent.size())); kept > 0)
        return any_observer(percentile_observer(kept));
    std::string found(text);
    for (char& c : found)
      if (c < ' ' || c > '~') c = '?';
    throw error(
        "observer: expected minmax, moving_average, percentile:P (a percentage like 99.99), entropy or mse, "
        "found \"" +
        found + "\"");
  }

  /// Adds values of the current sample.
  void observe(std::span<const float> values) {
    std::visit([&](auto& o) { o.observe(values); }, observer_);
  }
  /// Ends a calibration sample.
  void end_batch() {
    std::visit([](auto& o) { o.end_batch(); }, observer_);
  }
  /// Adds the values of `other`. Throws `error` if it is another kind of observer.
  void merge(const any_observer& other) {
    std::visit(
        [&]<class O>(O& o) {
          const auto* same = std::get_if<O>(&other.observer_);
          if (same == nullptr) throw error("observer: expected one of the same kind to merge with");
          o.merge(*same);
        },
        observer_);
  }
  /// Removes all values; the kind and its options are kept.
  void reset() {
    std::visit([](auto& o) { o.reset(); }, observer_);
  }
  /// The range. Throws `error` if there were no finite values.
  range result() const {
    return std::visit([](const auto& o) { return o.result(); }, observer_);
  }
  /// Number of finite values.
  std::uint64_t count() const {
    return std::visit([](const auto& o) { return o.count(); }, observer_);
  }
  /// Number of values that are NaN or infinity.
  std::uint64_t nonfinite() const {
    return std::visit([](const auto& o) { return o.nonfinite(); }, observer_);
  }

 private:
  using variant = std::variant<minmax, moving_average<>, percentile_observer, entropy<>, mse_observer>;

  explicit any_observer(variant o) : observer_(std::move(o)) {}

  /// Parses a decimal percentage exactly; returns 0 if it is invalid.
  static std::uint32_t parts_per_million(std::string_view percent) {
    std::uint32_t value = 0;
    int digits = 0, decimals = -1;
    for (const char c : percent) {
      if (c == '.' && decimals < 0 && digits > 0) {
        decimals = 0;
        continue;
      }
      if (c < '0' || c > '9' || ++digits > 7 || (decimals >= 0 && ++decimals > 4)) return 0;
      value = value * 10 + static_cast<std::uint32_t>(c - '0');
    }
    if (digits == 0 || decimals == 0) return 0;
    for (int i = decimals < 0 ? 0 : decimals; i < 4; ++i) value *= 10;
    return value <= 1'000'000 ? value : 0;
  }

  variant observer_;
};

static_assert(observer<any_observer>);

}  // namespace qwq
