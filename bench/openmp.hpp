// SPDX-License-Identifier: Apache-2.0
// OpenMP as a peer of the thread pool: `qwq_bench(<family> LIBRARIES qwq_bench_openmp)`.
#pragma once

#include "harness.hpp"

namespace qwq::bench {

/// `f(argument)` once on each thread of a parallel loop; nothing where the compiler has no OpenMP.
std::vector<contender> openmp_rounds(void (*f)(int), int argument);

}  // namespace qwq::bench
