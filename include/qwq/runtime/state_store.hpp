// SPDX-License-Identifier: Apache-2.0
// Defines `state_store`, the memory of a session's states (KV caches, recurrent matrices), allocated once.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "qwq/core/aligned_bytes.hpp"
#include "qwq/exec/execution_context.hpp"
#include "qwq/exec/memory_plan.hpp"

namespace qwq {

/// One state of one part: a dense array [outer, rows, inner]. The rows of a growing state are positions: [1, kv_heads,
/// positions, head_dim].
struct stored_state {
  std::string_view name;                       ///< Name of the state in its graph.
  std::size_t part = 0;                        ///< Index of the part in the model's list.
  std::int64_t layer = -1;                     ///< Layer number, or -1.
  dtype type = dtype::f32;                     ///< Element type.
  state_update update = state_update::append;  ///< How runs change it.
  std::int64_t outer = 1;                      ///< Heads of a cache.
  std::int64_t rows = 1;                       ///< Positions of a cache.
  std::int64_t inner = 1;                      ///< Elements of a row.
  std::byte* data = nullptr;                   ///< The elements.
  float* scales = nullptr;                     ///< [outer, rows] for 8-bit codes, else null.

  /// True if it holds one value for the whole text.
  bool is_running() const { return update == state_update::replace; }
  /// Bytes of one row.
  std::size_t row_bytes() const { return byte_size(type, static_cast<std::size_t>(inner)); }
  /// Bytes of all elements.
  std::size_t bytes() const { return static_cast<std::size_t>(outer * rows) * row_bytes(); }
  /// Bytes of the scales.
  std::size_t scale_bytes() const {
    return type == dtype::i8 ? static_cast<std::size_t>(outer * rows) * sizeof(float) : 0;
  }
};

/// The first `rows` rows of a state as floats, [outer, rows, inner].
inline std::vector<float> used_values(const stored_state& s, std::int64_t rows) {
  std::vector<float> out;
  const auto copy = [&]<class T>(T) {
    for (std::int64_t o = 0; o < s.outer; ++o)
      for (std::int64_t i = 0; i < rows * s.inner; ++i) {
        const auto x = static_cast<float>(reinterpret_cast<const T*>(s.data)[o * s.rows * s.inner + i]);
        out.push_back(s.scales == nullptr ? x : x * s.scales[o * s.rows + i / s.inner]);
      }
  };
  if (s.type == dtype::f32) copy(float{});
  if (s.type == dtype::f16) copy(float16{});
  if (s.type == dtype::bf16) copy(bfloat16{});
  if (s.type == dtype::i8) copy(std::int8_t{});
  return out;
}

/// Owns the states of all parts of a session, initially zero, and one copy of the running states for a mark.
class state_store {
 public:
  /// Allocates `states`, the states of all parts in the order of the parts.
  explicit state_store(std::vector<stored_state> states) : states_(std::move(states)) {
    std::size_t bytes = 0, kept = 0;
    for (const stored_state& s : states_) {
      bytes += align_up(s.bytes()) + align_up(s.scale_bytes());
      if (s.is_running()) kept += s.bytes();
    }
    bytes_ = allocate_aligned(bytes);
    kept_.resize(kept);
    std::byte* at = bytes_.get();
    for (stored_state& s : states_) {
      while (first_.size() <= s.part) first_.push_back(static_cast<std::size_t>(&s - states_.data()));
      s.data = at;
      at += align_up(s.bytes());
      if (s.scale_bytes() > 0) s.scales = reinterpret_cast<float*>(at);
      at += align_up(s.scale_bytes());
    }
    size_ = bytes;
    clear();
  }

  /// The k-th state of a part.
  const stored_state& of(std::size_t part, std::size_t k) const { return states_[first_[part] + k]; }
  const std::vector<stored_state>& all() const { return states_; }  ///< All states, in the order of the parts.

  /// Sets every state to zero.
  void clear() { std::fill_n(bytes_.get(), size_, std::byte{0}); }
  /// Sets the running states to zero.
  void clear_running() {
    for (stored_state& s : states_)
      if (s.is_running()) std::fill_n(s.data, s.bytes(), std::byte{0});
  }

  /// Saves a copy of the running states.
  void keep_running() {
    std::byte* to = kept_.data();
    for (const stored_state& s : states_)
      if (s.is_running()) to = std::copy_n(s.data, s.bytes(), to);
  }
  /// Restores the saved copy.
  void restore_running() {
    const std::byte* from = kept_.data();
    for (stored_state& s : states_)
      if (s.is_running()) {
        std::copy_n(from, s.bytes(), s.data);
        from += s.bytes();
      }
  }

  /// Calls f(piece) for the bytes of the first `positions` tokens, state by state: the used rows of each head of a
  /// growing state; all bytes of a running state.
  template <class F>
  void for_each_piece(std::int64_t positions, F&& f) const {
    for (const stored_state& s : states_) {
      const std::int64_t used = s.is_running() ? s.rows : std::min(positions, s.rows);
      for (std::int64_t o = 0; o < s.outer; ++o)
        f(std::span<std::byte>(s.data + static_cast<std::size_t>(o * s.rows) * s.row_bytes(),
                               static_cast<std::size_t>(used) * s.row_bytes()));
      if (s.scales != nullptr)
        for (std::int64_t o = 0; o < s.outer; ++o)
          f(std::as_writable_bytes(std::span<float>(s.scales + o * s.rows, static_cast<std::size_t>(used))));
    }
  }

 private:
  std::vector<stored_state> states_;
  std::vector<std::size_t> first_;  // first state of each part
  aligned_bytes bytes_;
  std::size_t size_ = 0;
  std::vector<std::byte> kept_;
};

}  // namespace qwq
