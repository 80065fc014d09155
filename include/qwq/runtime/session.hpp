// SPDX-License-Identifier: Apache-2.0
// Defines `bound_model`, weights that sessions share, and `session`, the states and the arena of one text.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <istream>
#include <memory>
#include <optional>
#include <ostream>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "qwq/compile/program.hpp"
#include "qwq/core/aligned_bytes.hpp"
#include "qwq/core/thread_pool.hpp"
#include "qwq/exec/kernel_table.hpp"
#include "qwq/io/state_file.hpp"
#include "qwq/runtime/state_store.hpp"
#include "qwq/runtime/static_cache.hpp"
#include "qwq/weights/constant_store.hpp"

namespace qwq {

namespace detail {

/// Operands of one graph, resolved for one part.
template <class Part>
std::vector<bound_constant> bind_part(constant_store& store, std::int64_t layer, std::int64_t positions) {
  using run = typename Part::executed;
  std::vector<bound_constant> bound;
  for (node_id id : planned<run>::layout.parameters) {
    const node& n = run::value[id];
    bound.push_back(store.bind<typename Part::scheme>(
        n, slot_of_leaf({run::value.nodes.begin(), run::value.size()}, Part::slots, id),
        tensor_name(Part::prefix, layer, n.name), positions));
  }
  return bound;
}

/// Operands of all parts of a program.
template <class Program>
std::vector<std::vector<bound_constant>> bind_program(constant_store& store, std::int64_t positions) {
  std::vector<std::vector<bound_constant>> bound;
  Program::for_each_part([&]<class Part>(std::type_identity<Part>, std::size_t i) {
    bound.push_back(bind_part<Part>(store, Program::parts[i].layer, positions));
  });
  return bound;
}

/// Maximum of `bytes(std::type_identity<graph>)` over the graphs of a program.
template <class Program, class Bytes>
constexpr std::size_t most_bytes(Bytes bytes) {
  std::size_t most = 0;
  for_each_type(typename Program::kinds{}, [&]<class Part>(std::type_identity<Part>) {
    most = std::max(most, bytes(std::type_identity<typename Part::executed>{}));
  });
  return most;
}

}  // namespace detail

/// The weights of a checkpoint, bound for a target and scheme. Immutable after construction; any number of sessions in
/// any number of threads can share it. The checkpoint must outlive it.
template <class Model, target Target = native<>, quantization_scheme Scheme = f32>
class bound_model {
 public:
  /// Graphs for prompts.
  using prefill = program<Model, Target, Scheme, prompt_rows<Target>()>;
  /// Graphs for single tokens.
  using decode = program<Model, Target, Scheme, 1>;

  /// How weights are bound.
  struct options {
    std::int64_t positions = longest_text<Model, Target>();  ///< Capacity of a session in tokens.
    /// What shares a scale in formats without blocks.
    granularity weights = granularity::tensor;
    bool quantized = quantizes<Scheme>();  ///< false: float weights in a graph with slots, for calibration.
    /// Element type of activations in GEMMs with quantized weights. int8 (accuracy level 4 of MatMulNBits) is faster,
    /// but its results differ from those of an exported model.
    kernel::activation_mode activations = kernel::activation_mode::f32;
  };

  /// Binds every weight. Throws `error` if one is missing or has another shape, or if the checkpoint has tensors that
  /// the model neither uses nor ignores.
  explicit bound_model(const checkpoint& from, options o = {})
      : positions_(std::min(o.positions, longest_text<Model, Target>())),
        activations_(o.activations),
        store_(from, layout_of<Model>(), o.quantized, o.weights),
        prefill_(detail::bind_program<prefill>(store_, positions_)),
        decode_(detail::bind_program<decode>(store_, positions_)) {
    store_.account();
  }
  bound_model(const bound_model&) = delete;
  bound_model& operator=(const bound_model&) = delete;

  /// Capacity of a session in tokens.
  std::int64_t positions() const { return positions_; }
  /// A hash of the weights, to tell them from those of other checkpoints.
  std::uint64_t fingerprint() const { return store_.fingerprint(); }
  /// Element type of activations in GEMMs with quantized weights.
  kernel::activation_mode activations() const { return activations_; }
  /// Operands of the parts of `prefill` or `decode`.
  template <class Program>
  const std::vector<std::vector<bound_constant>>& constants() const {
    if constexpr (std::is_same_v<Program, prefill>)
      return prefill_;
    else
      return decode_;
  }

 private:
  std::int64_t positions_;
  kernel::activation_mode activations_;
  constant_store store_;
  std::vector<std::vector<bound_constant>> prefill_, decode_;
};

/// Receives intermediate values of a session. `layer` counts from 0; the last call, with layer = number of layers, has
/// the input of the final norm.
class layer_hook {
 public:
  virtual ~layer_hook() = default;
  /// Called with the input of a layer, [tokens, H].
  virtual void hidden_states(std::int64_t layer, matrix_view<const float> rows) = 0;
  /// Called with the result of the final norm, [tokens, H].
  virtual void final_norm(matrix_view<const float> rows) = 0;
};

/// Receives the values of activation slots during calibration.
class calibration_listener {
 public:
  virtual ~calibration_listener() = default;
  /// `decoding`: the value is from the decode graph. `part`: index in the model's list of parts.
  virtual void observe(bool decoding, std::size_t part, std::size_t slot, std::span<const float> values) = 0;
};

// Declared and never defined: the arguments appear in the compiler's message.

/// `Symbol`: a named dimension whose extent a session does not know.
template <fixed_string Symbol>
struct no_run_time_extent_of;

/// One text that is read and continued. Owns the states of the text (KV caches, recurrent matrices) and one arena;
/// allocates nothing after construction.
template <class Model, target Target = native<>, quantization_scheme Scheme = f32>
class session {
 public:
  using bound = bound_model<Model, Target, Scheme>;  ///< The weights of a session.

  /// `activations`: parameters of the slots; null: the graph runs in float. `threads`: null: the calling thread.
  explicit session(const bound& weights, const calibration_result* activations = nullptr, executor* threads = nullptr)
      : weights_(weights),
        activations_(activations),
        threads_(threads != nullptr ? threads : &inline_),
        arena_(allocate_aligned(arena_size)),
        scratch_(weights.activations() == kernel::activation_mode::int8 ? scratch_size : 0),
        states_(describe_states(weights.positions())),
        ids_(static_cast<std::size_t>(prompt)),
        host_(rotation.attr.value) {
    for (std::size_t i = 0; i < values.size(); ++i) values_[i].resize(values[i].bytes);
  }
  session(const session&) = delete;
  session& operator=(const session&) = delete;

  /// Number of tokens in the vocabulary.
  static constexpr std::int64_t vocab_size() { return vocabulary; }
  /// Number of layers.
  static constexpr std::int64_t layer_count() { return decode_program::layer_count; }
  /// Number of tokens in the text.
  std::int64_t position() const { return position_; }
  /// Maximum number of tokens in the text.
  std::int64_t capacity() const { return weights_.positions(); }
  /// Maximum number of tokens that `prefill` runs at a time from the current position. A chunk with running states ends
  /// at a mark; a cache can be truncated to it.
  std::int64_t chunk() const {
    if (leaves_cache_to_host<Target> && position_ > 0) return 1;
    return has_running_states && wanted_mark_ ? std::min(prompt, *wanted_mark_ - position_) : prompt;
  }

  /// True if the model has states that cannot be truncated: they hold one value for the whole text.
  static constexpr bool has_running_states = detail::has_states<typename bound::decode>(state_update::replace);

  /// Clears the text.
  void reset() {
    moved_to(0);
    if constexpr (has_running_states) states_.clear_running();
  }
  /// Removes every token from position `count` on. A model with running states supports only `reset`, `mark_at` and
  /// `rewind`.
  void truncate(std::int64_t count) requires(!has_running_states) {
    if (count < 0) throw error("session: cannot be truncated to " + std::to_string(count) + " tokens");
    position_ = std::min(position_, count);
    if (mark_ && *mark_ > position_) mark_.reset();
  }
  /// Marks a position for `rewind`: the current one, or one that later calls pass; without running states also an
  /// earlier one. There is one mark; its memory is allocated with the session.
  void mark_at(std::int64_t position) {
    if (position < 0 || (has_running_states && position < position_))
      throw error("session: cannot mark position " + std::to_string(position) + " of a text that is at " +
                  std::to_string(position_));
    mark_.reset();
    wanted_mark_ = position;
    take_mark();
  }
  void mark() { mark_at(position_); }  ///< Marks the current position.
  /// Returns to the mark, which stays set. Throws `error` if there is none.
  void rewind() {
    if (!mark_) throw error("session: there is no mark to go back to");
    position_ = *mark_;
    if constexpr (has_running_states) states_.restore_running();
  }

  /// Writes the states of the text to a stream, from which another session of the same model, target, scheme and
  /// checkpoint can continue. The mark is not saved. Throws `error` if writing fails; `where` names the stream in
  /// messages.
  void save(std::ostream& out, const std::string& where = "states") const {
    state_file f = describe_file(position_);
    states_.for_each_piece(
        position_, [&](std::span<std::byte> piece) { f.values.insert(f.values.end(), piece.begin(), piece.end()); });
    write_state_file(out, f, where);
  }
  /// Loads states that `save` wrote; `capacity()` can differ. Throws `error`, and leaves the session unchanged, if the
  /// file is damaged, of another model, target, scheme or checkpoint, or too long.
  void load(std::istream& in, const std::string& where = "states") {
    const state_file f = read_state_file(in, where);
    const state_file expected = describe_file(f.position);
    const auto require = [&](const char* what, const std::string& wanted, const std::string& found) {
      if (wanted != found) throw error(where + ": expected states of " + what + " " + wanted + ", found " + found);
    };
    require("model", expected.model, f.model);
    require("target", expected.target, f.target);
    require("scheme", expected.scheme, f.scheme);
    if (f.position > capacity())
      throw error(where + ": expected at most " + std::to_string(capacity()) + " tokens, found " +
                  std::to_string(f.position));
    if (f.states != expected.states)
      throw error(where + ": expected the states of this model, found others: its sizes or its cache type differ");
    if (f.checkpoint != expected.checkpoint)
      throw error(where + ": expected states of this checkpoint, found those of another");
    const std::byte* from = f.values.data();
    states_.for_each_piece(f.position, [&](std::span<std::byte> piece) {
      std::copy_n(from, piece.size(), piece.data());
      from += piece.size();
    });
    moved_to(f.position);
  }
  /// Copies the text of another session, with its states.
  void fork(const session& other) {
    if (other.position_ > capacity())
      throw error("session: " + std::to_string(other.position_) + " tokens do not fit into a cache of " +
                  std::to_string(capacity()));
    std::vector<std::span<std::byte>> from;
    std::size_t i = 0;
    other.states_.for_each_piece(other.position_, [&](std::span<std::byte> piece) { from.push_back(piece); });
    states_.for_each_piece(other.position_, [&](std::span<std::byte> piece) {
      std::copy_n(from[i].data(), piece.size(), piece.data());
      ++i;
    });
    moved_to(other.position_);
  }

  /// Sets a hook for hidden states; null: none.
  void set_hook(layer_hook* l) { layer_listener_ = l; }
  /// Sets a listener for the values of activation slots; null: none.
  void set_hook(calibration_listener* l) { calibration_listener_ = l; }

  /// Runs tokens, `chunk()` at a time. After each chunk, calls `rows(first, logits)` with the logits [tokens,
  /// vocab_size] of the tokens from index `first` on. Throws `error` if an id is outside of the vocabulary or the text
  /// would exceed `capacity()`.
  template <class F>
  void prefill(std::span<const std::int32_t> ids, F&& rows) {
    read(ids, [&]<class Program>(std::size_t first, std::int64_t tokens, std::type_identity<Program>) {
      rows(static_cast<std::int64_t>(first), head<Program>(tokens));
    });
  }

  /// Runs tokens and returns the logits [vocab_size] after the last one; valid until the next call.
  std::span<const float> prefill(std::span<const std::int32_t> ids) {
    std::int64_t tokens = 0;
    read(ids, [&](std::size_t, std::int64_t count, auto) { tokens = count; });
    if (ids.empty()) return {};
    keep_last_row(tokens);
    return head<decode_program>(1).span(0);
  }

  /// Runs one token with the decode graph and returns the logits [vocab_size] after it; valid until the next call.
  std::span<const float> decode(std::int32_t id) {
    check({&id, 1});
    transform<decode_program>({&id, 1});
    return head<decode_program>(1).span(0);
  }

  /// Element type of the cache.
  using cache_element = storage_t<Target::cache>;
  /// Cache of a layer by the name of its state, "key" or "value", [kv_heads, positions, head_dim]. Rows from
  /// `position()` on have no meaning.
  kernel::kv_view<const cache_element> cache(std::int64_t layer, std::string_view name) const {
    const stored_state& s = state(layer, name);
    return {reinterpret_cast<const cache_element*>(s.data), s.outer, s.rows, s.inner, s.scales};
  }
  /// States of all parts, with their memory. Rows from `position()` on have no meaning.
  const std::vector<stored_state>& states() const { return states_.all(); }
  /// A state of a layer by its name: "key" or "value" of attention. Throws `error` if the layer has no such state.
  const stored_state& state(std::int64_t layer, std::string_view name) const {
    for (const stored_state& s : states_.all())
      if (s.layer == layer && s.name == name) return s;
    throw error("session: layer " + std::to_string(layer) + " has no state '" + std::string(name) + "'");
  }

 private:
  using prefill_program = typename bound::prefill;
  using decode_program = typename bound::decode;
  static constexpr auto& parts = decode_program::parts;
  static constexpr std::int64_t prompt = prompt_rows<Target>();
  static constexpr auto& values = detail::handed_values<prefill_program>;
  static constexpr auto& rotation = detail::rotation_table<Model>;
  static constexpr std::int64_t rotary = rotation.kind == op::rope_cos ? 2 * rotation.dims()[1].extent : 0;
  using host = cache_host<Target, rotary>;

  using head_part = typename decode_program::template first<stage::head>::executed;
  static constexpr std::int64_t vocabulary = head_part::value[head_part::value.outputs[0].id].dims().last().extent;

  template <class Bytes>
  static constexpr std::size_t most_bytes(Bytes bytes) {
    return std::max(detail::most_bytes<prefill_program>(bytes), detail::most_bytes<decode_program>(bytes));
  }
  static constexpr std::size_t arena_size =
      most_bytes([]<class G>(std::type_identity<G>) { return planned<G>::layout.arena_bytes; });
  static constexpr std::size_t scratch_size =
      most_bytes([]<class G>(std::type_identity<G>) { return int8_scratch<G>(); });

  /// The states of the decode graphs: these use all states.
  static std::vector<stored_state> describe_states(std::int64_t positions) {
    std::vector<stored_state> all;
    decode_program::for_each_part([&]<class Part>(std::type_identity<Part>, std::size_t i) {
      for (const detail::state_entry& s : detail::states_of<Part>) {
        stored_state out{s.name.view(), i, parts[i].layer, s.type.type, s.update};
        const shape& dims = s.type.dims;
        if (out.is_running()) {
          out.inner = dims.elements();
        } else {  // [1, heads, positions, width]
          out.outer = dims[1].extent;
          out.rows = dims[2].named() ? positions : dims[2].extent;
          out.inner = dims[3].extent;
        }
        all.push_back(out);
      }
    });
    return all;
  }

  /// Header of a file with this session's states, without values, at `position` tokens.
  state_file describe_file(std::int64_t position) const {
    state_file f{std::string(Model::model_type),
                 std::string(Target::name),
                 std::string(Scheme::name),
                 weights_.fingerprint(),
                 position,
                 {},
                 {}};
    for (const stored_state& s : states_.all())
      f.states.push_back({std::string(s.name), s.layer, s.type, s.is_running(), s.outer,
                          s.is_running() ? s.rows : std::min(position, s.rows), s.inner});
    return f;
  }
  /// Updates the session after the states were replaced by those of a text of `position` tokens.
  void moved_to(std::int64_t position) {
    position_ = position;
    mark_.reset();
    wanted_mark_.reset();
  }

  void check(std::span<const std::int32_t> ids) const {
    if (position_ + static_cast<std::int64_t>(ids.size()) > capacity())
      throw error("session: " + std::to_string(position_) + " + " + std::to_string(ids.size()) +
                  " tokens do not fit into a cache of " + std::to_string(capacity()));
    for (const std::int32_t id : ids)
      if (id < 0 || id >= vocabulary)
        throw error("session: token id " + std::to_string(id) + " is outside of the vocabulary of " +
                    std::to_string(vocabulary));
  }

  /// Takes the mark if the text is at the requested position.
  void take_mark() {
    if (!wanted_mark_ || *wanted_mark_ > position_) return;
    if constexpr (has_running_states) states_.keep_running();
    mark_ = wanted_mark_;
    wanted_mark_.reset();
  }

  /// Runs tokens chunk by chunk: `f(first, tokens of the chunk, std::type_identity<its program>)`.
  template <class F>
  void read(std::span<const std::int32_t> ids, F&& f) {
    check(ids);
    for (std::size_t first = 0; first < ids.size();) {
      const auto some = ids.subspan(first, std::min(ids.size() - first, static_cast<std::size_t>(chunk())));
      const auto run = [&]<class Program>(std::type_identity<Program> which) {
        transform<Program>(some);
        f(first, static_cast<std::int64_t>(some.size()), which);
      };
      if (leaves_cache_to_host<Target> && position_ > 0)
        run(std::type_identity<decode_program>{});
      else
        run(std::type_identity<prefill_program>{});
      first += some.size();
    }
  }

  /// Forwards slot values of one graph, with the index of their part.
  struct slot_forwarder final : slot_hook {
    calibration_listener* to = nullptr;
    bool decoding = false;
    std::size_t part = 0;
    void observe(std::size_t slot, std::span<const float> x) override { to->observe(decoding, part, slot, x); }
  };

  /// Extent of the named dimension `Symbol` in a run of `rows` tokens.
  template <class G, std::size_t Symbol>
  std::int64_t extent_of(std::int64_t rows) const {
    constexpr std::string_view name = planned<G>::layout.symbols[Symbol];
    if constexpr (name == "sequence_length") {
      return rows;
    } else if constexpr (name == "max_seq_len") {
      return capacity();
    } else {
      constexpr fixed_string<name.size()> symbol{name};
      static_assert(sizeof(no_run_time_extent_of<symbol>) > 0);
      return 0;
    }
  }

  /// Address of input `K` of a graph: token ids, the position, an input from the host, or an output of an earlier part.
  template <class Program, class G, std::size_t K>
  void* input_address() {
    constexpr const node& n = G::value[planned<G>::layout.inputs[K]];
    constexpr std::string_view name = n.name;
    constexpr std::size_t value = detail::value_index<prefill_program>(name);
    if constexpr (name == "input_ids") {
      return ids_.data();
    } else if constexpr (name == "last_position") {
      return &last_position_;
    } else if constexpr (host::provides(name)) {
      return host_.address(name);
    } else if constexpr (value < values.size()) {
      return values_[value].data();
    } else {
      constexpr fixed_string<name.size()> input{name};
      static_assert(sizeof(no_part_makes_the_input<input>) > 0);
      return nullptr;
    }
  }

  /// Runs part `i` on `rows` tokens. Copies outputs that later parts use to their place; returns the address of the
  /// first other output.
  template <class Program, class Part>
  const float* run_part(std::size_t i, std::int64_t rows) {
    using G = typename Part::executed;
    constexpr auto& layout = planned<G>::layout;
    constexpr bool decoding = std::is_same_v<Program, decode_program>;
    std::array<std::int64_t, layout.symbols.size() + 1> extents{};
    std::array<void*, layout.inputs.size() + 1> inputs{};
    std::array<state_view, layout.states.size() + 1> states{};
    [&]<std::size_t... K>(std::index_sequence<K...>) { ((extents[K] = extent_of<G, K>(rows)), ...); }
    (std::make_index_sequence<layout.symbols.size()>{});
    [&]<std::size_t... K>(std::index_sequence<K...>) { ((inputs[K] = input_address<Program, G, K>()), ...); }
    (std::make_index_sequence<layout.inputs.size()>{});
    [&]<std::size_t... K>(std::index_sequence<K...>) { ((states[K] = state_memory<Part, K>(i)), ...); }
    (std::make_index_sequence<layout.states.size()>{});

    execution_context f;
    f.threads = threads_;
    f.arena = arena_.get();
    f.extents = extents.data();
    f.parameters = weights_.template constants<Program>()[i].data();
    f.inputs = inputs.data();
    f.states = states.data();
    f.scratch = scratch_.empty() ? nullptr : scratch_.data();
    slot_forwarder forward;
    if (activations_ != nullptr) {
      f.slots = (decoding ? activations_->decode : activations_->prefill)[i].data();
    } else if (calibration_listener_ != nullptr) {
      forward.to = calibration_listener_;
      forward.decoding = decoding;
      forward.part = i;
      f.hook = &forward;
    }
    execute<G>(f);
    return [&]<std::size_t... K>(std::index_sequence<K...>) {
      const float* result = nullptr;
      (hand_on<Part, K>(f, i, result), ...);
      return result;
    }
    (std::make_index_sequence<G::value.outputs.size()>{});
  }

  /// Memory of state `K` of a graph of part `i`.
  template <class Part, std::size_t K>
  state_view state_memory(std::size_t i) const {
    constexpr const node& n = Part::executed::value[planned<typename Part::executed>::layout.states[K]];
    const stored_state& s = states_.of(i, decode_state<Part>(n.name.view()));
    return {s.data, s.scales};
  }
  /// Index of a state among those of the decode graph of the same kind.
  template <class Part>
  static constexpr std::size_t decode_state(std::string_view name) {
    return detail::state_index<detail::type_at<Part::index, typename decode_program::kinds>>(name);
  }

  /// Copies output `K` of a part to the buffer of the parts after it, or new rows into a state that the host keeps.
  template <class Part, std::size_t K>
  void hand_on(const execution_context& f, std::size_t i, const float*& result) {
    using G = typename Part::executed;
    constexpr graph_output o = G::value.outputs[K];
    constexpr std::size_t value = detail::value_index<prefill_program>(o.name.view());
    if constexpr (leaves_cache_to_host<Target> && Part::of == stage::layers && value == values.size()) {
      const stored_state& s = states_.of(i, decode_state<Part>(o.name.view()));
      constexpr shape rows = G::value[o.id].dims();  // [1, heads, tokens, width]
      const std::int64_t count = std::min(run_tokens_, s.rows - position_);
      const float* from = output_address<G, K>(f);
      for (std::int64_t head = 0; head < s.outer; ++head)
        std::copy_n(from + head * rows[2].extent * s.inner, count * s.inner,
                    reinterpret_cast<float*>(s.data) + (head * s.rows + position_) * s.inner);
    } else if constexpr (is_state_output({G::value.nodes.begin(), G::value.size()}, o)) {
      return;  // the graph has updated it in place
    } else if constexpr (value < values.size()) {
      const auto bytes = byte_size(G::value[o.id].type.type,
                                   static_cast<std::size_t>(kernel_call<G, o.id>::template elements<o.id>(f)));
      std::copy_n(reinterpret_cast<const std::byte*>(output_address<G, K>(f)), bytes, values_[value].data());
    } else if (result == nullptr) {
      result = output_address<G, K>(f);
    }
  }

  /// Runs the parts of the given stages on `rows` tokens.
  template <class Program>
  const float* run_stages(stage first, stage last, std::int64_t rows) {
    const float* result = nullptr;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      if (parts[i].of < first || parts[i].of > last) continue;
      if (layer_listener_ != nullptr && parts[i].of == stage::layers)
        layer_listener_->hidden_states(parts[i].layer, hidden(run_tokens_));
      if constexpr (leaves_cache_to_host<Target> && !std::is_same_v<Program, decode_program>)
        if (parts[i].of == stage::layers) fill_up(run_tokens_);
      const bool is_layer = parts[i].of == stage::layers;
      const float* made = Program::with_part(i, [&]<class Part>(std::type_identity<Part>) {
        return run_part<Program, Part>(i, is_layer ? layer_rows<Program>(rows) : rows);
      });
      if (made != nullptr) result = made;
    }
    return result;
  }
  /// Tokens that the graph of a layer computes in a run of `rows`: graphs with a static cache have fixed extents.
  template <class Program>
  static constexpr std::int64_t layer_rows(std::int64_t rows) {
    if constexpr (!leaves_cache_to_host<Target>)
      return rows;
    else
      return std::is_same_v<Program, decode_program> ? 1 : prompt;
  }
  void fill_up(std::int64_t rows) {
    if constexpr (leaves_cache_to_host<Target>)
      for (std::size_t v = 0; v < values.size(); ++v)
        host::fill_up(reinterpret_cast<float*>(values_[v].data()), rows,
                      static_cast<std::int64_t>(values[v].row_bytes / sizeof(float)));
  }

  /// Hidden states of the run's tokens, [rows, H].
  matrix_view<const float> hidden(std::int64_t rows) const {
    constexpr std::size_t value = detail::value_index<prefill_program>("hidden_states");
    static_assert(value < values.size(), "qwq::session: the parts of a model hand on \"hidden_states\"");
    return {reinterpret_cast<const float*>(values_[value].data()), rows,
            static_cast<std::int64_t>(values[value].row_bytes / sizeof(float))};
  }
  /// Moves the values of the last of `rows` tokens to the first row.
  void keep_last_row(std::int64_t rows) {
    for (std::size_t v = 0; v < values.size(); ++v) {
      const std::byte* last = values_[v].data() + static_cast<std::size_t>(rows - 1) * values[v].row_bytes;
      if (rows > 1) std::copy_n(last, values[v].row_bytes, values_[v].data());
    }
  }

  /// Runs embedding, layers and final norm on tokens, which become part of the text.
  template <class Program>
  void transform(std::span<const std::int32_t> ids) {
    const auto rows = static_cast<std::int64_t>(ids.size());
    std::copy(ids.begin(), ids.end(), ids_.begin());
    last_position_ = static_cast<std::int32_t>(position_ + rows - 1);
    run_tokens_ = rows;
    if constexpr (leaves_cache_to_host<Target>) {
      if constexpr (std::is_same_v<Program, decode_program>)
        host_.begin_token(position_);
      else
        host_.begin_prompt(rows);
    }
    run_stages<Program>(stage::embedding, stage::layers, rows);
    if (layer_listener_ != nullptr) layer_listener_->hidden_states(layer_count(), hidden(rows));
    run_stages<Program>(stage::norm, stage::norm, rows);
    if (layer_listener_ != nullptr) layer_listener_->final_norm(hidden(rows));
    position_ += rows;
    take_mark();
  }

  /// Computes the logits of the first `rows` tokens of the run.
  template <class Program>
  matrix_view<const float> head(std::int64_t rows) {
    return {run_stages<Program>(stage::head, stage::head, rows), rows, vocabulary};
  }

  const bound& weights_;
  const calibration_result* activations_;
  inline_executor inline_;
  executor* threads_;
  layer_hook* layer_listener_ = nullptr;
  calibration_listener* calibration_listener_ = nullptr;
  aligned_bytes arena_;
  std::vector<std::byte> scratch_;
  state_store states_;
  std::array<std::vector<std::byte>, values.size() + 1> values_;
  std::vector<std::int64_t> ids_;
  [[no_unique_address]] host host_;
  std::int64_t position_ = 0;
  std::int64_t run_tokens_ = 0;     // number of tokens of the current run
  std::int32_t last_position_ = 0;  // position of its last token
  std::optional<std::int64_t> mark_, wanted_mark_;
};

}  // namespace qwq
