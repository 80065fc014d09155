// SPDX-License-Identifier: Apache-2.0
// Compiled with OpenMP where there is one.
#include "openmp.hpp"

namespace qwq::bench {

#ifdef _OPENMP
std::vector<contender> openmp_rounds(void (*f)(int), int argument) {
  return {{"OpenMP", [=](executor& ex) -> call {
             return [=, threads = static_cast<int>(ex.threads())] {
#pragma omp parallel for num_threads(threads) schedule(static)
               for (int i = 0; i < threads; ++i) f(argument);
             };
           }}};
}
#else
std::vector<contender> openmp_rounds(void (*)(int), int) { return {}; }
#endif

}  // namespace qwq::bench
