// SPDX-License-Identifier: Apache-2.0
// Defines `session_interface`, a session whose model, target and scheme are chosen at run time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "qwq/runtime/session.hpp"

namespace qwq {

/// The type-erased interface of `session`; members have the meaning that they have there.
class session_interface {
 public:
  virtual ~session_interface() = default;
  /// Number of tokens in the vocabulary.
  virtual std::int64_t vocab_size() const = 0;
  /// Number of layers.
  virtual std::int64_t layer_count() const = 0;
  /// Number of tokens in the text.
  virtual std::int64_t position() const = 0;
  /// Maximum number of tokens in the text.
  virtual std::int64_t capacity() const = 0;
  /// Maximum number of tokens that `prefill` runs at a time.
  virtual std::int64_t chunk() const = 0;
  virtual void reset() = 0;                         ///< Clears the text.
  virtual void mark_at(std::int64_t position) = 0;  ///< Marks a position for `rewind`.
  virtual void rewind() = 0;                        ///< Returns to the mark.
  virtual void set_hook(layer_hook* l) = 0;         ///< Sets a hook for hidden states; null: none.
  /// Runs tokens in chunks; calls `rows(first, logits)` after each.
  virtual void prefill(std::span<const std::int32_t> ids,
                       const std::function<void(std::int64_t, matrix_view<const float>)>& rows) = 0;
  /// Runs tokens; returns the logits [vocab_size] after the last one.
  virtual std::span<const float> prefill(std::span<const std::int32_t> ids) = 0;
  /// Runs one token with the decode graph; returns the logits [vocab_size] after it.
  virtual std::span<const float> decode(std::int32_t id) = 0;
  /// A copy of the used rows of a state as floats: [outer, rows, inner], as in `stored_state`.
  struct state_copy {
    std::string name;         ///< Name of the state.
    std::int64_t layer = -1;  ///< Layer number, or -1.
    std::int64_t outer = 1;   ///< Heads of a cache.
    std::int64_t rows = 1;    ///< Tokens in the text, for a growing state.
    std::int64_t inner = 1;   ///< Elements of a row.
    std::vector<float> data;  ///< The elements.
  };
  /// Copies of all states of the text.
  virtual std::vector<state_copy> states() const = 0;
};

namespace detail {

template <class Model, target Target, quantization_scheme Scheme>
class opened_session final : public session_interface {
 public:
  opened_session(const checkpoint& from, std::int64_t positions, granularity weights, const calibration_result* tuned,
                 executor* threads)
      : bound_(from, {.positions = positions, .weights = weights}), session_(bound_, tuned, threads) {}

  std::int64_t vocab_size() const override { return session_.vocab_size(); }
  std::int64_t layer_count() const override { return session_.layer_count(); }
  std::int64_t position() const override { return session_.position(); }
  std::int64_t capacity() const override { return session_.capacity(); }
  std::int64_t chunk() const override { return session_.chunk(); }
  void reset() override { session_.reset(); }
  void mark_at(std::int64_t position) override { session_.mark_at(position); }
  void rewind() override { session_.rewind(); }
  void set_hook(layer_hook* l) override { session_.set_hook(l); }
  void prefill(std::span<const std::int32_t> ids,
               const std::function<void(std::int64_t, matrix_view<const float>)>& rows) override {
    session_.prefill(ids, rows);
  }
  std::span<const float> prefill(std::span<const std::int32_t> ids) override { return session_.prefill(ids); }
  std::span<const float> decode(std::int32_t id) override { return session_.decode(id); }
  std::vector<state_copy> states() const override {
    std::vector<state_copy> all;
    for (const stored_state& s : session_.states()) {
      const std::int64_t rows = s.is_running() ? s.rows : position();
      all.push_back({std::string(s.name), s.layer, s.outer, rows, s.inner, used_values(s, rows)});
    }
    return all;
  }

 private:
  bound_model<Model, Target, Scheme> bound_;
  session<Model, Target, Scheme> session_;
};

}  // namespace detail

/// Binds the weights of a checkpoint, which must outlive the result, and opens a session on them.
template <class Model, target Target = native<>, quantization_scheme Scheme = f32>
std::unique_ptr<session_interface> open_session(const checkpoint& from, std::int64_t positions,
                                                granularity weights = granularity::tensor,
                                                const calibration_result* tuned = nullptr,
                                                executor* threads = nullptr) {
  return std::make_unique<detail::opened_session<Model, Target, Scheme>>(from, positions, weights, tuned, threads);
}

}  // namespace qwq
