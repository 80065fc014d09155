// SPDX-License-Identifier: Apache-2.0
// Defines `emit_options`, the user's choices about the files of a target.
#pragma once

#include <cstdint>
#include <iosfwd>

#include "qwq/core/parallel.hpp"
#include "qwq/io/file_set.hpp"
#include "qwq/quant/weights.hpp"

namespace qwq {

/// Options of `emit`.
struct emit_options {
  /// What shares a scale in the weights of a scheme without blocks.
  granularity weights = granularity::tensor;
  /// Capacity of the KV cache in tokens that the runtime's config requests; at most the model's positions. Files with a
  /// symbolic cache accept any length.
  std::int64_t max_length = 2048;
  /// The attribute `accuracy_level` of MatMulNBits: with 0 or 1 the runtime computes with float activations, with 4 it
  /// can round them to int8.
  std::int64_t accuracy_level = 4;
  /// Runs reading and quantization of the weights; null: the calling thread.
  executor* threads = nullptr;
  /// Whether files are written, only counted (then weights are not read, and calibration results can be missing), or
  /// compared with those in the folder.
  file_handling files{};
  /// Stream for notes about the checks of the files; null: none.
  std::ostream* notes = nullptr;
};

}  // namespace qwq
