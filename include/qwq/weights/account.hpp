// SPDX-License-Identifier: Apache-2.0
// Defines `account_for_tensors`, which rejects a checkpoint that has unused tensors.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "qwq/core/error.hpp"
#include "qwq/io/checkpoint.hpp"
#include "qwq/model/weight_layout.hpp"
#include "qwq/weights/resolve.hpp"
#include "qwq/weights/source.hpp"

namespace qwq {

namespace detail {

/// The bound tensor that the layout lets `name` repeat, or null.
inline const tensor_info* repeated_of(const checkpoint& from, const weight_layout& layout, const repeated_tensor& r,
                                      std::string_view name, const tensor_names& bound) {
  if (r.tensor != name) return nullptr;
  for (const std::string& of : spellings(layout.prefixes, r.of))
    if (bound.contains(of)) return from.find(of);
  return nullptr;
}

/// Throws `error` unless `t` has the same values as `of`.
inline void require_equal(const checkpoint& from, const tensor_info& t, const tensor_info& of,
                          std::string_view reason) {
  const std::string expected = ": expected the values of " + quote(of.name) + " (" + std::string(reason) + "), found ";
  if (t.shape != of.shape)
    throw error(std::string(t.file) + ": tensor " + quote(t.name) + expected + "shape " + to_string(t.shape));
  const weight_source a = weight_source::from(t), b = weight_source::from(of);
  const std::int64_t step = std::max<std::int64_t>(1, (1 << 20) / std::max<std::int64_t>(1, a.cols()));
  std::vector<float> x, y;
  for (std::int64_t first = 0; first < a.rows(); first += step) {
    const std::int64_t count = std::min(step, a.rows() - first);
    x.resize(static_cast<std::size_t>(count * a.cols()));
    y.resize(x.size());
    a.read(first, count, x);
    b.read(first, count, y);
    if (std::memcmp(x.data(), y.data(), x.size() * sizeof(float)) != 0)
      throw error(std::string(t.file) + ": tensor " + quote(t.name) + expected + "others");
    for (const weight_source* s : {&a, &b})
      s->for_each_range(first, count, [&](std::span<const std::byte> bytes) { from.release(bytes); });
  }
}

}  // namespace detail

/// Accounts for every tensor of a checkpoint. A tensor is accounted for if it is in `bound`, the tensors that a model's
/// leaves resolved to; if `layout` ignores it; if `layout` declares it to repeat a bound tensor and the values are
/// equal; or if its name matches a pattern of `passed_through`, in which `*` matches any characters. Throws `error`
/// with the number and the first names of all others, or if a repeated tensor has other values.
inline void account_for_tensors(const checkpoint& from, const weight_layout& layout, const tensor_names& bound,
                                std::span<const std::string_view> passed_through = {}) {
  std::vector<std::string_view> others;
  for (const std::string_view name : from.names()) {
    const auto matches = [&](std::string_view pattern) { return detail::matches_name(pattern, name); };
    if (bound.contains(name) || std::ranges::any_of(layout.ignored, matches, &ignored_tensor::pattern) ||
        std::ranges::any_of(passed_through, matches))
      continue;
    const bool repeats = std::ranges::any_of(layout.repeated, [&](const repeated_tensor& r) {
      const tensor_info* of = detail::repeated_of(from, layout, r, name, bound);
      if (of != nullptr) detail::require_equal(from, from.at(name), *of, r.reason);
      return of != nullptr;
    });
    if (!repeats) others.push_back(name);
  }
  if (others.empty()) return;
  constexpr std::size_t shown = 4;
  std::string text;
  for (std::size_t i = 0; i < std::min(shown, others.size()); ++i)
    text += (text.empty() ? " " : ", ") + detail::quote(others[i]);
  throw error(from.folder() + ": expected only tensors that the model reads, found " + std::to_string(others.size()) +
              (others.size() == 1 ? " other:" : " others:") + text + (others.size() > shown ? ", ..." : ""));
}

}  // namespace qwq
