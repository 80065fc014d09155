// SPDX-License-Identifier: Apache-2.0
// What a step sees while it runs: buffers, bound constants, cache, and what to do at quantization slots.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "qwq/core/dtype.hpp"
#include "qwq/core/parallel.hpp"
#include "qwq/kernel/operands.hpp"

namespace qwq {

/// A bound constant. Floats are in `type`, dense. Integer codes are a `kernel::packed_weight` with scales for `block`
/// elements each.
struct operand {
  dtype type = dtype::f32;
  const void* data = nullptr;
  std::int64_t block = 0;
};

/// One layer's cache, [kv_heads, capacity, head_dim] of `type` each, and the scales of codes, as in `kernel::kv_view`.
struct layer_cache {
  dtype type = dtype::f32;
  void* key = nullptr;
  void* value = nullptr;
  std::int64_t capacity = 0;
  float* key_scales = nullptr;
  float* value_scales = nullptr;
};

/// Told of every value that reaches an activation slot during calibration.
class slot_listener {
 public:
  virtual ~slot_listener() = default;
  virtual void observe(std::size_t slot, std::span<const float> values) = 0;
};

/// State of one run of one graph.
struct frame {
  executor* threads = nullptr;
  std::byte* arena = nullptr;
  std::int64_t rows = 1;            // tokens in this run: the extent of sequence_length
  std::int64_t last_position = 0;   // position of the last of them
  const operand* parameters = nullptr;
  void* const* inputs = nullptr;
  /// Memory in which products quantize their activations to int8 (`int8_scratch`); null: they take them as f32.
  std::byte* scratch = nullptr;
  layer_cache cache{};
  /// Parameters by slot. Null in float runs: then values pass slots unchanged.
  const kernel::affine* slots = nullptr;
  /// Set while calibrating.
  slot_listener* listener = nullptr;
};

}  // namespace qwq
