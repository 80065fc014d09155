// SPDX-License-Identifier: Apache-2.0
// What a user can choose about the files of a target.
#pragma once

#include <cstdint>
#include <iosfwd>

#include "qwq/core/parallel.hpp"
#include "qwq/io/file_set.hpp"
#include "qwq/quant/weights.hpp"

namespace qwq {

/// What `emit` is told beside what is written.
struct emit_options {
  /// What shares a scale in a weight of a scheme without blocks.
  granularity weights = granularity::tensor;
  /// Tokens for which a runtime is told to make room in the KV cache; at most the model's positions. Files with a
  /// symbolic cache take any length.
  std::int64_t max_length = 2048;
  /// Of MatMulNBits: 0 or 1 computes with float activations, 4 lets the runtime round them to int8.
  std::int64_t accuracy_level = 4;
  /// What reads and quantizes the weights; null: the calling thread.
  executor* threads = nullptr;
  /// Whether files are written, only counted (then weights are not read, and what calibration would find may be missing),
  /// or compared with those in the folder.
  file_handling files{};
  /// Where to say what was checked about the files; null: nowhere.
  std::ostream* notes = nullptr;
};

}  // namespace qwq
