// SPDX-License-Identifier: Apache-2.0
// Defines `disable_fusions`, a target whose sessions omit some or all fusions, for equivalence tests and benchmarks.
#pragma once

#include <string_view>

#include "qwq/core/fixed_string.hpp"
#include "qwq/rules/fusion_rules.hpp"
#include "qwq/targets/target.hpp"

namespace qwq {

namespace detail {

/// True if `rules::fuse` has a rule of this name.
constexpr bool is_fusion(std::string_view name) {
  for (const rule& r : rules::fuse)
    if (r.name == name) return true;
  return false;
}

/// True if sessions for `Target` apply the fusion named `rule`.
template <class Target>
constexpr bool fuses(std::string_view rule) {
  if constexpr (requires { Target::fuses(rule); })
    return Target::fuses(rule);
  else
    return true;
}

}  // namespace detail

/// `Target`, but sessions do not apply the rules of `rules::fuse` named in `Fusions`, or none of the rules if `Fusions`
/// is empty.
template <target Target, fixed_string... Fusions>
struct disable_fusions : Target {
  static_assert((detail::is_fusion(Fusions.view()) && ...),
                "qwq: disable_fusions<Target, Fusions...> takes names of rules::fuse");
  /// True if sessions apply the fusion named `rule`.
  static constexpr bool fuses(std::string_view rule) {
    return sizeof...(Fusions) > 0 && ((Fusions.view() != rule) && ...) && detail::fuses<Target>(rule);
  }
};

}  // namespace qwq
