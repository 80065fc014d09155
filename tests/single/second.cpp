// SPDX-License-Identifier: Apache-2.0
// The other unit.
#include "both.hpp"

std::vector<std::int32_t> continued_by_the_other_unit(const qwq::bound_model<tinyqwen>& bound) {
  return continued(bound);
}
