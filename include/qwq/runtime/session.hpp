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
#include <type_traits>
#include <vector>

#include "qwq/core/thread_pool.hpp"
#include "qwq/runtime/constants.hpp"
#include "qwq/runtime/kv_cache.hpp"
#include "qwq/runtime/program.hpp"

namespace qwq {

namespace detail {

/// Operands of one graph, resolved for one layer.
template <class Compiled, quantization_scheme Scheme>
std::vector<operand> bind_part(constant_store& store, std::int64_t layer, std::int64_t positions) {
  using run = typename Compiled::executed;
  std::vector<operand> bound;
  for (node_id id : planned<run>::layout.parameters) {
    const node& n = run::value[id];
    bound.push_back(store.bind<Scheme>(n, slot_of_leaf(run::value, Compiled::slots, id),
                               tensor_name(Compiled::prefix, layer, n.name), positions));
  }
  return bound;
}

/// Operands of a program.
template <class Program>
struct bound_program : model_parts<std::vector<operand>> {
  bound_program(constant_store& store, std::int64_t positions) {
    using scheme = typename Program::scheme;
    embedding = bind_part<typename Program::embedding, scheme>(store, -1, positions);
    norm = bind_part<typename Program::norm, scheme>(store, -1, positions);
    head = bind_part<typename Program::head, scheme>(store, -1, positions);
    for (std::int64_t i = 0; i < Program::layer_count; ++i)
      Program::with_layer(i, [&]<class Layer>(std::type_identity<Layer>) {
        layers.push_back(bind_part<Layer, typename Layer::scheme>(store, i, positions));
      });
  }
};

/// The largest of `bytes(std::type_identity<graph>)` over the graphs of a program.
template <class Program, class Bytes>
constexpr std::size_t most_bytes(Bytes bytes) {
  std::size_t most = 0;
  const auto see = [&]<class Part>(std::type_identity<Part>) {
    most = std::max(most, bytes(std::type_identity<typename Part::executed>{}));
  };
  see(std::type_identity<typename Program::embedding>{});
  see(std::type_identity<typename Program::norm>{});
  see(std::type_identity<typename Program::head>{});
  for_each_type(typename Program::layer_kinds{}, see);
  return most;
}

}  // namespace detail

/// The weights of a checkpoint, bound for a target and scheme. Immutable once made; any number of sessions in any
/// number of threads read it. The checkpoint must outlive it.
template <class Model, target Target = native<>, quantization_scheme Scheme = f32>
class bound_model {
 public:
  using prefill = program<Model, Target, Scheme, prompt_rows<Target>()>;
  using decode = program<Model, Target, Scheme, 1>;

  /// How weights are bound.
  struct options {
    std::int64_t positions = longest_text<Model, Target>();  ///< Longest text that a session can hold.
    granularity weights = granularity::tensor;
    bool quantized = quantizes<Scheme>();  ///< false: float weights in a graph with slots, for calibration
    /// How products with quantized weights take activations. int8 (accuracy level 4 of MatMulNBits) is faster, and
    /// computes other numbers than an exported model does.
    kernel::activation_mode activations = kernel::activation_mode::f32;
  };

  /// Binds every weight. Throws `error` when one is missing or of another shape, or when the checkpoint has tensors
  /// that the model neither reads nor ignores.
  explicit bound_model(const checkpoint& from, options o = {})
      : positions_(std::min(o.positions, longest_text<Model, Target>())),
        activations_(o.activations),
        store_(from, layout_of<Model>(), o.quantized, o.weights),
        prefill_(store_, positions_),
        decode_(store_, positions_) {
    store_.account();
  }
  bound_model(const bound_model&) = delete;
  bound_model& operator=(const bound_model&) = delete;

  std::int64_t positions() const { return positions_; }
  kernel::activation_mode activations() const { return activations_; }
  /// Of `prefill` or `decode`.
  template <class Program>
  const detail::bound_program<Program>& constants() const {
    if constexpr (std::is_same_v<Program, prefill>)
      return prefill_;
    else
      return decode_;
  }

 private:
  std::int64_t positions_;
  kernel::activation_mode activations_;
  constant_store store_;
  detail::bound_program<prefill> prefill_;
  detail::bound_program<decode> decode_;
};

/// Told what a session computes on its way. `layer` counts from 0; the last call, with layer = number of layers, has
/// the input of the final norm.
class layer_listener {
 public:
  virtual ~layer_listener() = default;
  /// Input of a layer, [tokens, H].
  virtual void hidden_states(std::int64_t layer, matrix_view<const float> rows) = 0;
  /// Result of the final norm, [tokens, H].
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
  using bound = bound_model<Model, Target, Scheme>;  ///< What the session reads its weights from.

  /// `activations`: parameters of the slots; null runs the graph in float. `threads`: null runs on the calling thread.
  explicit session(const bound& weights, const calibration_result* activations = nullptr, executor* threads = nullptr)
      : weights_(weights),
        activations_(activations),
        threads_(threads != nullptr ? threads : &inline_),
        arena_(new(std::align_val_t{arena_alignment}) std::byte[arena_size]),
        scratch_(weights.activations() == kernel::activation_mode::int8 ? scratch_size : 0),
        cache_(config.num_hidden_layers, config.num_key_value_heads, cache_rows(), config.head_dim),
        hidden_(static_cast<std::size_t>(prompt * Model::config.hidden_size)),
        ids_(static_cast<std::size_t>(prompt)),
        host_(config.rope_theta) {}

  static constexpr std::int64_t vocab_size() { return config.vocab_size; }
  static constexpr std::int64_t layer_count() { return config.num_hidden_layers; }
  /// Number of tokens in the cache, and how many it can hold.
  std::int64_t position() const { return position_; }
  std::int64_t capacity() const { return weights_.positions(); }
  /// Tokens that `prefill` reads at a time from here on.
  std::int64_t chunk() const { return leaves_cache_to_host<Target> && position_ > 0 ? 1 : prompt; }
  /// Forgets every token from position `count` on.
  void truncate(std::int64_t count) { position_ = std::min(position_, count); }

  void listen(layer_listener* l) { layer_listener_ = l; }
  void listen(calibration_listener* l) { calibration_listener_ = l; }

  /// Reads tokens, `chunk()` at a time, and calls `rows(first, logits)` after each chunk with logits
  /// [chunk, vocab_size] of the tokens from index `first` on. Throws `error` when an id is outside of the vocabulary or the cache would
  /// overflow.
  template <class F>
  void prefill(std::span<const std::int32_t> ids, F&& rows) {
    read(ids, [&]<class Program>(std::size_t first, matrix_view<const float> hidden, std::type_identity<Program>) {
      rows(static_cast<std::int64_t>(first), head<Program>(hidden));
    });
  }

  /// Reads tokens and returns the logits [vocab_size] after the last one; valid until the next call.
  std::span<const float> prefill(std::span<const std::int32_t> ids) {
    matrix_view<const float> last;
    read(ids, [&](std::size_t, matrix_view<const float> hidden, auto) { last = hidden.rows_from(hidden.rows - 1, 1); });
    if (ids.empty()) return {};
    return head<typename bound::decode>(last).span(0);
  }

  /// Reads one token with the decode graph and returns the logits [vocab_size] after it; valid until the next call.
  std::span<const float> decode(std::int32_t id) {
    check({&id, 1});
    return head<typename bound::decode>(transform<typename bound::decode>({&id, 1})).span(0);
  }

  /// Keys or values of a layer, [kv_heads, cache_rows(), head_dim]; rows below position() are meaningful.
  using cache_element = storage_t<Target::cache>;
  kernel::kv_view<const cache_element> keys(std::int64_t layer) const { return cache_.keys(layer); }
  kernel::kv_view<const cache_element> values(std::int64_t layer) const { return cache_.values(layer); }

 private:
  static constexpr auto& config = Model::config;
  static constexpr std::int64_t prompt = prompt_rows<Target>();
  template <class Bytes>
  static constexpr std::size_t most_bytes(Bytes bytes) {
    return std::max(detail::most_bytes<typename bound::prefill>(bytes), detail::most_bytes<typename bound::decode>(bytes));
  }
  static constexpr std::size_t arena_size = most_bytes(
      []<class G>(std::type_identity<G>) { return planned<G>::layout.arena_bytes; });
  static constexpr std::size_t scratch_size = most_bytes([]<class G>(std::type_identity<G>) { return int8_scratch<G>(); });

  struct free_aligned {
    void operator()(std::byte* p) const { ::operator delete[](p, std::align_val_t{arena_alignment}); }
  };

  std::int64_t cache_rows() const {
    if constexpr (leaves_cache_to_host<Target>)
      return cache_host<Target, config.head_dim>::cache_rows;
    else
      return capacity();
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

  /// Reads tokens chunk by chunk: `f(first, hidden states of the chunk, std::type_identity<its program>)`.
  template <class F>
  void read(std::span<const std::int32_t> ids, F&& f) {
    check(ids);
    for (std::size_t first = 0; first < ids.size();) {
      const auto some = ids.subspan(first, std::min(ids.size() - first, static_cast<std::size_t>(chunk())));
      const auto run = [&]<class Program>(std::type_identity<Program> which) {
        f(first, transform<Program>(some), which);
      };
      if (leaves_cache_to_host<Target> && position_ > 0)
        run(std::type_identity<typename bound::decode>{});
      else
        run(std::type_identity<typename bound::prefill>{});
      first += some.size();
    }
  }

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
    f.scratch = scratch_.empty() ? nullptr : scratch_.data();
    return f;
  }

  /// Runs the graph of one part of a program and returns its first output.
  template <class Program, class Part>
  const float* run_part(part_place where, frame& f) {
    constexpr bool decoding = std::is_same_v<Program, typename bound::decode>;
    slot_forwarder forward;
    if (activations_ != nullptr) {
      f.slots = where.of(decoding ? activations_->decode : activations_->prefill).data();
    } else if (calibration_listener_ != nullptr) {
      forward.to = calibration_listener_;
      forward.decoding = decoding;
      forward.where = where;
      f.listener = &forward;
    }
    return run_graph<typename Part::executed>(f);
  }

  /// Embedding, layers and final norm of at most Rows tokens; appends them to the cache.
  template <class Program>
  matrix_view<const float> transform(std::span<const std::int32_t> ids) {
    const detail::bound_program<Program>& constants = weights_.template constants<Program>();
    const auto rows = static_cast<std::int64_t>(ids.size());
    std::copy(ids.begin(), ids.end(), ids_.begin());
    void* id_input[] = {ids_.data()};
    frame f = make_frame(rows, constants.embedding, id_input);
    float* const h = hidden_.data();
    const auto keep = [&](const float* result) { std::copy_n(result, rows * config.hidden_size, h); };
    keep(run_part<Program, typename Program::embedding>({part_place::embedding}, f));

    const matrix_view<const float> hidden{h, rows, config.hidden_size};
    begin_layers<Program>(rows);
    for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) {
      if (layer_listener_ != nullptr) layer_listener_->hidden_states(i, hidden);
      keep(Program::with_layer(i, [&]<class Layer>(std::type_identity<Layer>) {
        return run_layer<Program, Layer>(static_cast<std::size_t>(i), rows);
      }));
    }
    if (layer_listener_ != nullptr) layer_listener_->hidden_states(config.num_hidden_layers, hidden);
    void* hidden_input[] = {h};
    f = make_frame(rows, constants.norm, hidden_input);
    keep(run_part<Program, typename Program::norm>({part_place::norm}, f));
    if (layer_listener_ != nullptr) layer_listener_->final_norm(hidden);
    position_ += rows;
    return hidden;
  }

  template <class Program>
  void begin_layers([[maybe_unused]] std::int64_t rows) {
    if constexpr (!leaves_cache_to_host<Target>)
      return;
    else if constexpr (std::is_same_v<Program, typename bound::decode>)
      host_.begin_token(position_);
    else
      host_.begin_prompt(rows);
  }

  /// Runs a layer on the first rows of `hidden_`, and puts their keys and values into the cache.
  template <class Program, class Layer>
  const float* run_layer(std::size_t i, std::int64_t rows) {
    const std::vector<operand>& constants = weights_.template constants<Program>().layers[i];
    const auto at = static_cast<std::int64_t>(i);
    const kernel::kv_view<cache_element> key = cache_.keys(at), value = cache_.values(at);
    if constexpr (leaves_cache_to_host<Target>) {
      using graph = typename Layer::executed;
      constexpr bool decoding = std::is_same_v<Program, typename bound::decode>;
      if constexpr (!decoding) host_.fill_up(hidden_.data(), rows, config.hidden_size);
      const auto inputs = host_.template inputs<graph>(hidden_.data(), key.data, value.data);
      frame f = make_frame(decoding ? 1 : prompt, constants, inputs.data());
      const float* result = run_part<Program, Layer>({part_place::layer, i}, f);
      host_.template keep<graph>(f, key.data, value.data, position_, rows);
      return result;
    } else {
      void* inputs[] = {hidden_.data()};
      frame f = make_frame(rows, constants, inputs);
      f.cache = {Target::cache, key.data, value.data, capacity(), key.scales, value.scales};
      return run_part<Program, Layer>({part_place::layer, i}, f);
    }
  }

  template <class Program>
  matrix_view<const float> head(matrix_view<const float> hidden) {
    void* input[] = {const_cast<float*>(hidden.data)};
    frame f = make_frame(hidden.rows, weights_.template constants<Program>().head, input);
    return {run_part<Program, typename Program::head>({part_place::head}, f), hidden.rows, config.vocab_size};
  }

  const bound& weights_;
  const calibration_result* activations_;
  inline_executor inline_;
  executor* threads_;
  layer_listener* layer_listener_ = nullptr;
  calibration_listener* calibration_listener_ = nullptr;
  std::unique_ptr<std::byte[], free_aligned> arena_;
  std::vector<std::byte> scratch_;
  kv_cache<cache_element> cache_;
  std::vector<float> hidden_;
  std::vector<std::int64_t> ids_;
  [[no_unique_address]] cache_host<Target, config.head_dim> host_;
  std::int64_t position_ = 0;
};

}  // namespace qwq
