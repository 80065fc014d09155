// SPDX-License-Identifier: Apache-2.0
// OpenBLAS as a peer: `qwq_bench(<family> LIBRARIES qwq_bench_openblas)`.
#pragma once

#include "harness.hpp"

namespace qwq::bench {

/// y[m, n] = x[m, k] * w[n, k]^T in f32, as `kernel::linear` has it; nothing where OpenBLAS was not found.
std::vector<contender> openblas_linear(std::int64_t m, std::int64_t k, std::int64_t n);

}  // namespace qwq::bench
