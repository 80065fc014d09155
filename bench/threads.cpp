// SPDX-License-Identifier: Apache-2.0
// What it costs to run something on several threads: each has one task of some microseconds, and the limit is one such
// task alone. A token of a model is some three hundred of such rounds.
#include "harness.hpp"
#include "openmp.hpp"

namespace qwq::bench {

namespace {

/// A chain of additions and multiplications: as long on two cores as on one.
void compute(int steps) {
  float x = 1;
  for (int i = 0; i < steps; ++i) {
    x = x * 0.5f + 1.0f;
    keep(x);
  }
}

}  // namespace

void add_cases() {
  for (const int steps : {750, 7500, 75000}) {
    const auto task = [](void* count, std::size_t) { compute(*static_cast<const int*>(count)); };
    const std::string shape = steps == 750 ? "tasks of 1 us" : steps == 7500 ? "tasks of 10 us" : "tasks of 100 us";
    add({.kernel = "thread_pool",
         .shape = shape,
         .counts = unit::rounds,
         .threads = 2,
         .amount = 1,
         .ours = [=](executor& ex) { return [=, &ex, n = steps]() mutable { ex.run(ex.threads(), task, &n); }; },
         .limits = {{"one task alone", [=](executor&) { return [=] { compute(steps); }; }}},
         .peers = openmp_rounds(compute, steps)});
  }
}

}  // namespace qwq::bench
