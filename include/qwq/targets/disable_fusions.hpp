// SPDX-License-Identifier: Apache-2.0
// Targets whose sessions leave out fusions: for tests of equality and for benchmarks.
#pragma once

#include <string_view>

#include "qwq/core/fixed_string.hpp"
#include "qwq/rules/fusion_rules.hpp"
#include "qwq/targets/target.hpp"

namespace qwq {

namespace detail {

constexpr bool is_fusion(std::string_view name) {
  for (const rule& r : rules::fuse)
    if (r.name == name) return true;
  return false;
}

/// Whether sessions for `Target` apply a fusion.
template <class Target>
constexpr bool fuses(std::string_view rule) {
  if constexpr (requires { Target::fuses(rule); })
    return Target::fuses(rule);
  else
    return true;
}

}  // namespace detail

/// `Target`, in whose sessions the named rules of `rules::fuse` are not applied; without names, none of them.
template <target Target, fixed_string... Fusions>
struct disable_fusions : Target {
  static_assert((detail::is_fusion(Fusions.view()) && ...),
                "qwq: disable_fusions<Target, Fusions...> takes names of rules::fuse");
  static constexpr bool fuses(std::string_view rule) {
    return sizeof...(Fusions) > 0 && ((Fusions.view() != rule) && ...) && detail::fuses<Target>(rule);
  }
};

}  // namespace qwq
