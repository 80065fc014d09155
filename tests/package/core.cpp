// SPDX-License-Identifier: Apache-2.0
// A graph is rewritten while this compiles and runs on the kernels; nothing but headers is linked.
#include <qwq.hpp>
#include <qwq/emit/op_map.hpp>

#include <boost/hana/tuple.hpp>
#include <xsimd/xsimd.hpp>
#if __has_include(<xtensor/containers/xtensor.hpp>)  // from 0.26 on
#include <xtensor/containers/xtensor.hpp>
#else
#include <xtensor/xtensor.hpp>
#endif

#include <array>
#include <cmath>
#include <cstdio>

struct gate {
  static constexpr auto value = [] {
    qwq::graph<8> g;
    qwq::builder b{g};
    const qwq::expr x = leaf(b, qwq::op::input, "x", {qwq::dtype::f32, {1, 4}});
    b.output("y", (x * qwq::sigmoid(x)).id);
    return rewrite(g, std::array{qwq::rules::fuse_silu}).value;
  }();
};
static_assert(gate::value.size() == 2);

int main() {
  float x[4] = {-2, 0, 1, 3};
  void* inputs[] = {x};
  alignas(qwq::arena_alignment) std::byte arena[qwq::planned<gate>::layout.arena_bytes];
  qwq::execution_context f;
  f.arena = arena;
  f.inputs = inputs;
  const float* y = qwq::execute<gate>(f);
  for (int i = 0; i < 4; ++i)
    if (std::abs(y[i] - x[i] / (1 + std::exp(-x[i]))) > 1e-5f) return 1;
  std::printf("%d.%d.%d", qwq::version.major, qwq::version.minor, qwq::version.patch);
}
