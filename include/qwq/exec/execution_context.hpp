// SPDX-License-Identifier: Apache-2.0
// Defines `execution_context`, the buffers, constants, states and quantization parameters of a run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "qwq/core/dtype.hpp"
#include "qwq/core/parallel.hpp"
#include "qwq/kernel/views.hpp"

namespace qwq {

/// Memory of a state of the executed part, dense. States with 8-bit elements have a scale for each head and position,
/// as in `kernel::kv_view`.
struct state_view {
  void* data = nullptr;     ///< Elements.
  float* scales = nullptr;  ///< Scales of 8-bit elements; null for other states.
};

/// Calibration hook, called with the values at every activation slot.
class slot_hook {
 public:
  virtual ~slot_hook() = default;
  /// Called with values at `slot`, the index of their quantization parameters.
  virtual void observe(std::size_t slot, std::span<const float> values) = 0;
};

/// Operands of one run of one graph. The arrays are in the order of the graph's `plan`.
struct execution_context {
  executor* threads = nullptr;                 ///< Threads that kernels use.
  std::byte* arena = nullptr;                  ///< Buffer of `plan::arena_bytes` bytes for intermediate values.
  const std::int64_t* extents = nullptr;       ///< Value of each named dimension in this run: `plan::symbols`.
  const bound_constant* parameters = nullptr;  ///< Bound constants: `plan::parameters`.
  void* const* inputs = nullptr;               ///< Buffers of inputs: `plan::inputs`.
  const state_view* states = nullptr;          ///< Buffers of states: `plan::states`.
  /// Scratch memory in which GEMMs quantize their activations to int8 (`int8_scratch`); null: GEMMs use f32
  /// activations.
  std::byte* scratch = nullptr;
  /// Quantization parameters by slot; null in float runs, in which values pass slots unchanged.
  const kernel::affine* slots = nullptr;
  /// Hook for calibration; null otherwise.
  slot_hook* hook = nullptr;
};

}  // namespace qwq
