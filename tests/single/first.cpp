// SPDX-License-Identifier: Apache-2.0
// One of two units that instantiate the same session from the one header; both continue a text alike.
#include <cstdio>

#include "both.hpp"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const auto weights = qwq::checkpoint::open(argv[1]);
  const qwq::bound_model<tinyqwen> bound(weights, {.positions = 32});
  const auto here = continued(bound), there = continued_by_the_other_unit(bound);
  for (const auto id : here) std::printf("%d ", id);
  return here == there && here == std::vector<std::int32_t>{387, 1106, 13, 1214} ? 0 : 1;
}
