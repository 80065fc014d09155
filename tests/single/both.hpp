// SPDX-License-Identifier: Apache-2.0
// What both units compile.
#pragma once

#include <qwq.hpp>

#include <cstdint>
#include <vector>

using tinyqwen = qwq::qwen3<qwq::qwen3_config{1280, 128, 384, 6, 4, 2, 64, 1024, 1e-6, 1e6, true}>;

/// "The capital of France is" and how the model goes on.
inline std::vector<std::int32_t> continued(const qwq::bound_model<tinyqwen>& bound) {
  const std::vector<std::int32_t> prompt{278, 295, 268, 944, 270};
  qwq::session<tinyqwen> s(bound);
  qwq::sampler greedy({}, 1280);
  std::vector<std::int32_t> said;
  qwq::generate(s, s.prefill(prompt), 4, greedy, {}, [&](std::int32_t id) {
    said.push_back(id);
    return true;
  });
  return said;
}

std::vector<std::int32_t> continued_by_the_other_unit(const qwq::bound_model<tinyqwen>& bound);
