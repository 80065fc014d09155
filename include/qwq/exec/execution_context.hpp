// SPDX-License-Identifier: Apache-2.0
// Defines `execution_context`, what a kernel call sees while it runs: buffers, bound constants, states, and quantization parameters.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "qwq/core/dtype.hpp"
#include "qwq/core/parallel.hpp"
#include "qwq/kernel/views.hpp"

namespace qwq {

/// A state of the part that runs, dense. Elements of 8 bits have a scale for each head and position, as in
/// `kernel::kv_view`.
struct state_view {
  void* data = nullptr;
  float* scales = nullptr;
};

/// Told of every value that reaches an activation slot during calibration.
class slot_hook {
 public:
  virtual ~slot_hook() = default;
  virtual void observe(std::size_t slot, std::span<const float> values) = 0;
};

/// One run of one graph. The arrays are in the order of the graph's plan.
struct execution_context {
  executor* threads = nullptr;
  std::byte* arena = nullptr;
  const std::int64_t* extents = nullptr;       ///< What each named dimension counts in this run: `plan::symbols`.
  const bound_constant* parameters = nullptr;  ///< `plan::parameters`
  void* const* inputs = nullptr;               ///< `plan::inputs`
  const state_view* states = nullptr;          ///< `plan::states`
  /// Memory in which products quantize their activations to int8 (`int8_scratch`); null: they take them as f32.
  std::byte* scratch = nullptr;
  /// Parameters by slot. Null in float runs: then values pass slots unchanged.
  const kernel::affine* slots = nullptr;
  /// Set while calibrating.
  slot_hook* hook = nullptr;
};

}  // namespace qwq
