// SPDX-License-Identifier: Apache-2.0
// Running a model: bound weights that sessions share, and sessions that own a cache and an arena.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "qwq/core/thread_pool.hpp"
#include "qwq/runtime/constants.hpp"

namespace qwq {

/// Targets that rewrite and quantize the whole model say so; the others leave embedding and head in float and as the
/// model has them.
template <class Target> inline constexpr bool is_whole_model = requires { requires Target::whole_model; };
/// Targets with one graph for prompts and single tokens. Their activations have one set of parameters.
template <class Target> inline constexpr bool is_one_graph = requires { requires Target::one_graph; };

/// The parts of `Model` for one target and scheme, for runs of at most `Rows` tokens.
template <class Model, target Target, quantization_scheme Scheme, std::int64_t Rows>
struct program {
  using outer = std::conditional_t<is_whole_model<Target>, Target, native<>>;
  static constexpr placement outer_types = is_whole_model<Target> ? Scheme::types : placement{};

  using embedding = compiled<typename Model::template embedding<Rows>, outer, outer_types>;
  using layer = compiled<typename Model::template decoder_layer<Rows, Target::cache>, Target, Scheme::types>;
  using norm = compiled<typename Model::template final_norm<Rows>, Target, Scheme::types>;
  using head = compiled<typename Model::template lm_head<Rows>, outer, outer_types>;
};

/// What the parts of a model each have one of.
template <class T>
struct model_parts {
  T embedding{};
  std::vector<T> layers{};
  T norm{}, head{};
};

/// Where in a model a part is.
struct part_place {
  enum part : std::uint8_t { embedding, layer, norm, head } which = embedding;
  std::size_t index = 0;  // of the layer

  template <class Parts>
  auto& of(Parts& all) const {
    return which == embedding ? all.embedding : which == layer ? all.layers.at(index) : which == norm ? all.norm : all.head;
  }
};

/// Parameters of the activation slots of one program, for each part by slot: what calibration found.
using activation_params = model_parts<std::vector<kernel::affine>>;

/// The result of calibration: parameters of the prefill and of the decode graph.
struct calibration_result {
  activation_params prefill, decode;
};

namespace detail {

/// Operands of one graph, resolved for one layer.
template <class Compiled, quantization_scheme Scheme>
std::vector<operand> bind_part(constant_store<Scheme>& store, std::int64_t layer, std::int64_t positions) {
  using run = typename Compiled::executed;
  std::vector<operand> bound;
  for (node_id id : planned<run>::layout.parameters) {
    const node& n = run::value[id];
    bound.push_back(store.bind(n, slot_of_leaf(run::value, Compiled::slots, id),
                               tensor_name(Compiled::prefix, layer, n.name), positions));
  }
  return bound;
}

/// Operands of a program.
template <class Program>
struct bound_program : model_parts<std::vector<operand>> {
  template <quantization_scheme Scheme>
  bound_program(constant_store<Scheme>& store, std::int64_t layer_count, std::int64_t positions) {
    embedding = bind_part<typename Program::embedding>(store, -1, positions);
    norm = bind_part<typename Program::norm>(store, -1, positions);
    head = bind_part<typename Program::head>(store, -1, positions);
    for (std::int64_t i = 0; i < layer_count; ++i)
      layers.push_back(bind_part<typename Program::layer>(store, i, positions));
  }
};

template <class Program>
constexpr std::size_t arena_bytes() {
  return std::max({planned<typename Program::embedding::executed>::layout.arena_bytes,
                   planned<typename Program::layer::executed>::layout.arena_bytes,
                   planned<typename Program::norm::executed>::layout.arena_bytes,
                   planned<typename Program::head::executed>::layout.arena_bytes});
}

}  // namespace detail

/// Tokens that a prefill graph takes at a time.
inline constexpr std::int64_t prefill_rows = 64;

/// The weights of a checkpoint, bound for a target and scheme. Immutable once made; any number of sessions in any
/// number of threads read it. The checkpoint must outlive it.
template <class Model, target Target = native<>, quantization_scheme Scheme = f32>
class bound_model {
 public:
  using prefill = program<Model, Target, Scheme, prefill_rows>;
  using decode = program<Model, Target, Scheme, 1>;

  struct options {
    std::int64_t positions = Model::config.max_position_embeddings;  ///< Longest text that a session can hold.
    granularity weights = granularity::tensor;
    bool quantized = Scheme::types.quantizes();  ///< false: float weights in a graph with slots, for calibration
  };

  explicit bound_model(const checkpoint& from, options o = {})
      : options_(o),
        store_(from, o.quantized, o.weights),
        prefill_(store_, Model::config.num_hidden_layers, o.positions),
        decode_(store_, Model::config.num_hidden_layers, o.positions) {}
  bound_model(const bound_model&) = delete;
  bound_model& operator=(const bound_model&) = delete;

  std::int64_t positions() const { return options_.positions; }
  const detail::bound_program<prefill>& prefill_constants() const { return prefill_; }
  const detail::bound_program<decode>& decode_constants() const { return decode_; }

 private:
  options options_;
  constant_store<Scheme> store_;
  detail::bound_program<prefill> prefill_;
  detail::bound_program<decode> decode_;
};

/// Told what a session computes on its way. `layer` counts from 0; the last call, with layer = number of layers, has
/// the input of the final norm.
class layer_listener {
 public:
  virtual ~layer_listener() = default;
  virtual void hidden_states(std::int64_t layer, matrix_view<const float> rows) = 0;
  virtual void final_norm(matrix_view<const float> rows) = 0;
};

/// Receives the values of activation slots while calibrating.
class calibration_listener {
 public:
  virtual ~calibration_listener() = default;
  /// `decoding`: the value is of the decode graph.
  virtual void observe(bool decoding, part_place where, std::size_t slot, std::span<const float> values) = 0;
};

/// One text being read and continued. Owns the KV cache and one arena; after construction nothing is allocated.
template <class Model, target Target = native<>, quantization_scheme Scheme = f32>
class session {
 public:
  using bound = bound_model<Model, Target, Scheme>;

  /// `activations`: parameters of the slots; null runs the graph in float. `threads`: null runs on the calling thread.
  explicit session(const bound& weights, const calibration_result* activations = nullptr, executor* threads = nullptr)
      : weights_(weights),
        activations_(activations),
        threads_(threads != nullptr ? threads : &inline_),
        arena_(new(std::align_val_t{arena_alignment}) std::byte[arena_size]),
        cache_(static_cast<std::size_t>(Model::config.num_hidden_layers * 2 * layer_cache_elements())),
        hidden_(static_cast<std::size_t>(prefill_rows * Model::config.hidden_size)),
        ids_(static_cast<std::size_t>(prefill_rows)) {}

  static constexpr std::int64_t vocab_size() { return config.vocab_size; }
  static constexpr std::int64_t layer_count() { return config.num_hidden_layers; }
  /// Number of tokens in the cache, and how many it can hold.
  std::int64_t position() const { return position_; }
  std::int64_t capacity() const { return weights_.positions(); }
  /// Forgets every token from position `count` on.
  void truncate(std::int64_t count) { position_ = std::min(position_, count); }

  void listen(layer_listener* l) { layer_listener_ = l; }
  void listen(calibration_listener* l) { calibration_listener_ = l; }

  /// Reads tokens, 64 at a time, and calls `rows(first, logits)` after each chunk with logits [chunk, vocab_size] of
  /// the tokens from index `first` on. Throws `error` when an id is outside of the vocabulary or the cache would
  /// overflow.
  template <class F>
  void prefill(std::span<const std::int32_t> ids, F&& rows) {
    check(ids);
    for (std::size_t first = 0; first < ids.size(); first += static_cast<std::size_t>(prefill_rows)) {
      const auto chunk = ids.subspan(first, std::min(ids.size() - first, static_cast<std::size_t>(prefill_rows)));
      matrix_view<const float> hidden =
          transform<typename bound::prefill>(chunk, weights_.prefill_constants(), prefill_params());
      rows(static_cast<std::int64_t>(first),
           head<typename bound::prefill>(hidden, weights_.prefill_constants(), prefill_params()));
    }
  }

  /// Reads tokens and returns the logits [vocab_size] after the last one; valid until the next call.
  std::span<const float> prefill(std::span<const std::int32_t> ids) {
    check(ids);
    matrix_view<const float> hidden;
    for (std::size_t first = 0; first < ids.size(); first += static_cast<std::size_t>(prefill_rows)) {
      const auto chunk = ids.subspan(first, std::min(ids.size() - first, static_cast<std::size_t>(prefill_rows)));
      hidden = transform<typename bound::prefill>(chunk, weights_.prefill_constants(), prefill_params());
    }
    if (ids.empty()) return {};
    return head<typename bound::decode>(hidden.rows_from(hidden.rows - 1, 1), weights_.decode_constants(),
                                        decode_params())
        .span(0);
  }

  /// Reads one token with the decode graph and returns the logits [vocab_size] after it; valid until the next call.
  std::span<const float> decode(std::int32_t id) {
    check({&id, 1});
    const auto hidden = transform<typename bound::decode>({&id, 1}, weights_.decode_constants(), decode_params());
    return head<typename bound::decode>(hidden, weights_.decode_constants(), decode_params()).span(0);
  }

  /// Keys or values of a layer, [kv_heads, capacity, head_dim]; rows below position() are meaningful.
  using cache_element = storage_t<Target::cache>;
  kernel::kv_view<const cache_element> keys(std::int64_t layer) const { return view(layer, 0); }
  kernel::kv_view<const cache_element> values(std::int64_t layer) const { return view(layer, 1); }

 private:
  static constexpr auto& config = Model::config;
  static constexpr std::size_t arena_size =
      std::max(detail::arena_bytes<typename bound::prefill>(), detail::arena_bytes<typename bound::decode>());

  struct free_aligned {
    void operator()(std::byte* p) const { ::operator delete[](p, std::align_val_t{arena_alignment}); }
  };

  std::int64_t layer_cache_elements() const { return config.num_key_value_heads * capacity() * config.head_dim; }
  kernel::kv_view<const cache_element> view(std::int64_t layer, std::int64_t which) const {
    return {cache_.data() + (2 * layer + which) * layer_cache_elements(), config.num_key_value_heads, capacity(),
            config.head_dim};
  }

  void check(std::span<const std::int32_t> ids) const {
    if (position_ + static_cast<std::int64_t>(ids.size()) > capacity())
      throw error("session: " + std::to_string(position_) + " + " + std::to_string(ids.size()) +
                  " tokens do not fit into a cache of " + std::to_string(capacity()));
    for (const std::int32_t id : ids)
      if (id < 0 || id >= config.vocab_size)
        throw error("session: token id " + std::to_string(id) + " is outside of the vocabulary of " +
                    std::to_string(config.vocab_size));
  }

  const activation_params* prefill_params() const { return activations_ != nullptr ? &activations_->prefill : nullptr; }
  const activation_params* decode_params() const { return activations_ != nullptr ? &activations_->decode : nullptr; }

  /// Passes slot values of one graph on, with the place that they belong to.
  struct slot_forwarder final : slot_listener {
    calibration_listener* to = nullptr;
    bool decoding = false;
    part_place where{};
    void observe(std::size_t slot, std::span<const float> values) override {
      to->observe(decoding, where, slot, values);
    }
  };

  frame make_frame(std::int64_t rows, const std::vector<operand>& parameters, void* const* inputs) {
    frame f;
    f.threads = threads_;
    f.arena = arena_.get();
    f.rows = rows;
    f.last_position = position_ + rows - 1;
    f.parameters = parameters.data();
    f.inputs = inputs;
    return f;
  }

  /// Runs the graph of one part of a program and returns its first output.
  template <class Program, class Part>
  const float* run_part(part_place where, frame& f, const activation_params* params) {
    slot_forwarder forward;
    if (params != nullptr) {
      f.slots = where.of(*params).data();
    } else if (calibration_listener_ != nullptr) {
      forward.to = calibration_listener_;
      forward.decoding = std::is_same_v<Program, typename bound::decode>;
      forward.where = where;
      f.listener = &forward;
    }
    return run_graph<typename Part::executed>(f);
  }

  /// Embedding, layers and final norm of at most Rows tokens; appends them to the cache.
  template <class Program>
  matrix_view<const float> transform(std::span<const std::int32_t> ids, const detail::bound_program<Program>& constants,
                                     const activation_params* params) {
    const auto rows = static_cast<std::int64_t>(ids.size());
    std::copy(ids.begin(), ids.end(), ids_.begin());
    void* id_input[] = {ids_.data()};
    frame f = make_frame(rows, constants.embedding, id_input);
    float* const h = hidden_.data();
    const auto keep = [&](const float* result) { std::copy_n(result, rows * config.hidden_size, h); };
    keep(run_part<Program, typename Program::embedding>({part_place::embedding}, f, params));

    void* hidden_input[] = {h};
    const matrix_view<const float> hidden{h, rows, config.hidden_size};
    for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) {
      if (layer_listener_ != nullptr) layer_listener_->hidden_states(i, hidden);
      const auto at = static_cast<std::size_t>(i);
      f = make_frame(rows, constants.layers[at], hidden_input);
      f.cache = {Target::cache, cache_.data() + 2 * i * layer_cache_elements(),
                 cache_.data() + (2 * i + 1) * layer_cache_elements(), capacity()};
      keep(run_part<Program, typename Program::layer>({part_place::layer, at}, f, params));
    }
    if (layer_listener_ != nullptr) layer_listener_->hidden_states(config.num_hidden_layers, hidden);
    f = make_frame(rows, constants.norm, hidden_input);
    keep(run_part<Program, typename Program::norm>({part_place::norm}, f, params));
    if (layer_listener_ != nullptr) layer_listener_->final_norm(hidden);
    position_ += rows;
    return hidden;
  }

  template <class Program>
  matrix_view<const float> head(matrix_view<const float> hidden, const detail::bound_program<Program>& constants,
                                const activation_params* params) {
    void* input[] = {const_cast<float*>(hidden.data)};
    frame f = make_frame(hidden.rows, constants.head, input);
    return {run_part<Program, typename Program::head>({part_place::head}, f, params), hidden.rows, config.vocab_size};
  }

  const bound& weights_;
  const calibration_result* activations_;
  inline_executor inline_;
  executor* threads_;
  layer_listener* layer_listener_ = nullptr;
  calibration_listener* calibration_listener_ = nullptr;
  std::unique_ptr<std::byte[], free_aligned> arena_;
  std::vector<cache_element> cache_;
  std::vector<float> hidden_;
  std::vector<std::int64_t> ids_;
  std::int64_t position_ = 0;
};

}  // namespace qwq
