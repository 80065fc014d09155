// SPDX-License-Identifier: Apache-2.0
// Compiled with QWQ_BENCH_OPENBLAS where the library was found.
#include "openblas.hpp"

#ifdef QWQ_BENCH_OPENBLAS
#include <cblas.h>
#endif

namespace qwq::bench {

#ifdef QWQ_BENCH_OPENBLAS
std::vector<contender> openblas_linear(std::int64_t m, std::int64_t k, std::int64_t n) {
  const auto size = [](std::int64_t x) { return static_cast<std::size_t>(x); };
  const auto count = [](std::int64_t x) { return static_cast<blasint>(x); };
  return {{"OpenBLAS", [=](executor& ex) -> call {
             openblas_set_num_threads(static_cast<int>(ex.threads()));
             const auto x = floats(size(m * k)), w = floats(size(n * k), 1, 2), y = make_buffer<float>(size(m * n));
             return [=, m = count(m), k = count(k), n = count(n)] {
               cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, m, n, k, 1, x.data(), k, w.data(), k, 0, y.data(),
                           n);
             };
           }}};
}
#else
std::vector<contender> openblas_linear(std::int64_t, std::int64_t, std::int64_t) { return {}; }
#endif

}  // namespace qwq::bench
