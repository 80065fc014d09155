// SPDX-License-Identifier: Apache-2.0
// The limits of the machine themselves.
#include <algorithm>

#include "limits.hpp"

namespace qwq::bench {

namespace {

void add_limits(const std::string& shape, unit counts, const std::vector<contender>& limits) {
  for (const contender& limit : limits) {
    std::string kernel = "limit_" + limit.name;
    std::ranges::replace(kernel, ' ', '_');
    for (const std::size_t threads : {1u, 2u})
      add({.kernel = kernel,
           .shape = shape,
           .counts = counts,
           .threads = threads,
           .amount = limit.amount,
           .ours = limit.make});
  }
}

}  // namespace

void add_cases() {
  for (const working_set& set : working_sets())
    for (const traffic mix :
         {traffic{1, 0}, traffic{0, 1}, traffic{1, 1}, traffic{1, 1, true}, traffic{2, 1}, traffic{4, 1}})
      add_limits(set.name, unit::bytes, memory_bandwidth(mix, set.bytes));
  add_limits("registers", unit::flops, fma_peak());
  add_limits("registers", unit::flops, bf16_peak());
  add_limits("registers", unit::int_ops, vnni_peak());
}

}  // namespace qwq::bench
