// SPDX-License-Identifier: Apache-2.0
// Defines `graph_writer`, which writes the graphs of a compiled model to Circle or TFLite through an op map.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwq/emit/circle/circle_model_builder.hpp"
#include "qwq/emit/op_map.hpp"
#include "qwq/emit/program_parts.hpp"

namespace qwq::to_circle {

/// How quantize and dequantize nodes are written.
enum class qdq_mode : std::uint8_t {
  qdq,  ///< As operators around float operators: engines execute the file as it is.
  /// As tensor types: an operator's output has the codes of its slot, and QUANTIZE is written where codes change.
  integer,
};

/// Element type and quantization parameters of a value.
struct encoding {
  dtype type = dtype::f32;  ///< Element type.
  quantization params;      ///< Scale and zero point, for the tensor or for each row.
  /// Compares all members.
  friend bool operator==(const encoding&, const encoding&) = default;
};

/// A value of a part: its tensor and encoding. A value [1,heads,rows,columns] can also be held head by head, as tensors
/// [1,1,rows,columns]; the concatenated tensor is created on first use.
struct written_value {
  tensor_id tensor = no_tensor;  ///< Its tensor in the file; `no_tensor` if it is held head by head only.
  encoding how;                  ///< How its elements are encoded.
  /// Its heads, if attention is written head by head.
  std::vector<tensor_id> heads{};
};

/// Name of a state as an input of a file.
inline std::string past_name(std::string_view state) { return std::string("past_").append(state); }
/// Name of the new rows of a state as an output of a file.
inline std::string new_name(std::string_view state) { return std::string("new_").append(state); }

/// Writes parts into the current subgraph of a model. While it is at a node, the functions of the op map receive it as
/// their argument.
class graph_writer {
 public:
  /// `per_head`: write the matmuls of attention head by head, for hardware without batched matmul.
  graph_writer(model_builder& model, tensor_source& constants, const op_map<graph_writer>& ops, qdq_mode f,
               bool per_head = false)
      : model_(model), constants_(constants), ops_(ops), form_(f), per_head_(per_head) {}

  /// Writes a part for one layer (`layer` < 0: the part has none). An input is bound to the value of its name, mapped
  /// by `inputs`; if there is no such value, it becomes an input of the subgraph. `params`: parameters of the
  /// activation slots, null if the part has none. Returns the outputs by their names in the part.
  std::map<std::string_view, written_value> write(const part& p, std::int64_t layer, const value_names& inputs,
                                                  const std::vector<kernel::affine>* params) {
    part_ = &p;
    layer_ = layer;
    inputs_ = &inputs;
    params_ = params;
    values_.assign(p.nodes.size(), {});
    for (id_ = 0; id_ < p.nodes.size(); ++id_) ops_[self()](*this);
    std::map<std::string_view, written_value> result;
    for (const graph_output& o : p.outputs) result[o.name.view()] = joined(o.id);
    return result;
  }

  /// Binds a name to a value that a part has written.
  void bind(const std::string& name, const written_value& v) { bound_[name] = v; }
  /// The value that a name is bound to. Throws `std::out_of_range` if there is none.
  const written_value& bound(const std::string& name) const { return bound_.at(name); }
  /// Makes a value an output of the subgraph.
  void output(const std::string& name, const written_value& v) {
    model_.output(v.tensor);
    signed_outputs_.emplace_back(name, v.tensor);
  }
  /// Writes the signature of the subgraph; nothing can be added afterwards.
  void finish() { model_.signature(signed_inputs_, signed_outputs_); }

  // Interface for the functions of an op map.

  /// The current node.
  const qwq::node& self() const { return at(id_); }
  /// Node `id` of the current part.
  const qwq::node& at(std::size_t id) const { return part_->nodes[id]; }
  /// The model under construction.
  model_builder& model() { return model_; }
  /// The constants of the export.
  tensor_source& constants() { return constants_; }
  /// Node of the k-th argument.
  const qwq::node& arg_node(std::size_t k) const { return at(self().args[k]); }
  /// Tensor of the k-th argument; heads are concatenated.
  tensor_id arg(std::size_t k) { return joined(self().args[k]).tensor; }
  /// Tensors of all arguments.
  std::vector<tensor_id> args() {
    std::vector<tensor_id> all;
    for (const node_id a : self().args) all.push_back(joined(a).tensor);
    return all;
  }

  /// Full name of the checkpoint tensor of the current weight leaf.
  std::string tensor_of_leaf() const { return tensor_name(part_->prefix, layer_, self().name); }
  /// Slot of the current leaf; null if it holds floats.
  const slot* leaf_slot() const { return part_->leaf_slot(id_); }

  /// Appends an operator that computes the current node's value from `inputs`.
  template <class... Options>
  void emit(schema::BuiltinOperator code, const std::vector<tensor_id>& inputs, const Options&... options) {
    const encoding how = encoding_of_result();
    values_[id_] = {append(code, inputs, self().dims(), how, options...), how};
  }
  /// Appends the operator on all arguments; head by head if one of them is held so. An argument with fewer heads is
  /// shared by groups of heads; an argument that is not split has one row of heads, used for each of them.
  template <class... Options>
  void emit_each(schema::BuiltinOperator code, const Options&... options) {
    emit_each_as(encoding_of_result(), code, options...);
  }

  /// True if the matmuls of this value's heads are written one by one.
  bool is_per_head() const { return per_head_ && self().dims().size() == 4; }
  /// Splits the k-th argument into heads.
  void split(std::size_t k) {
    written_value& x = values_[self().args[k]];
    if (!x.heads.empty()) return;
    shape dims = arg_node(k).dims();
    const std::int64_t heads = std::exchange(dims[1], dim{1}).extent;
    for (std::int32_t h = 0; h < heads; ++h)
      x.heads.push_back(append(schema::BuiltinOperator::SLICE,
                               {x.tensor, model_.ints({0, h, 0, 0}), model_.ints({-1, 1, -1, -1})}, dims, x.how,
                               schema::SliceOptionsT{}));
  }
  /// Reuses the heads of the first argument, split or not, as those of the current value: maps rows of [1,kv_heads,...]
  /// to rows of the heads [1,heads,...] that share one.
  void regroup() {
    split(0);
    const written_value& x = values_[self().args[0]];
    values_[id_] = {no_tensor, x.how, x.heads};
  }

  /// Writes an input: the bound value, or a new input of the subgraph. Ids are int32, the type that hosts use.
  void emit_input() {
    const auto at = inputs_->find(self().name.view());
    const std::string name = at != inputs_->end() ? at->second : std::string(self().name.view());
    const auto [known, added] = bound_.try_emplace(name);
    if (added) {
      encoding how = encoding_of_result();
      if (how.type == dtype::i64) how.type = dtype::i32;
      known->second = {model_.input(name, {how.type, self().dims()}, how.params), how};
      signed_inputs_.emplace_back(name, known->second.tensor);
    }
    values_[id_] = known->second;
  }

  /// Writes a constant of floats. `key` identifies its contents.
  void emit_floats(const std::string& name, const std::string& key, const byte_source& source) {
    values_[id_] = {model_.constant(name, key + ":" + std::string(qwq::name(self().type.type)), self().type, source),
                    {}};
  }
  /// Writes a constant of codes in the format of its slot.
  void emit_codes(const std::string& name, const std::string& key, const slot& s,
                  const std::shared_ptr<quantized_source>& q) {
    if (q->block() > 0) throw error("emit: " + name + ": Circle has no weights with a scale for each block of a row");
    const auto scales = q->scales();
    const auto zero_points = q->zero_points();
    const encoding how{s.format.element, {{scales.begin(), scales.end()}, {zero_points.begin(), zero_points.end()}}};
    const byte_source codes = [q](const byte_sink& sink) { q->codes(sink); };
    const std::string type(qwq::name(s.format.element));
    values_[id_] = {model_.constant(name, key + ":" + type, {s.format.element, self().dims()},
                                    bits(s.format.element) == 4 ? packed(codes) : codes, how.params),
                    how};
  }

  /// Writes a quantize node. Reuses existing codes if the value has them: a value that was only moved, or a dequantized
  /// one.
  void emit_quantize() {
    const written_value& x = values_[self().args[0]];
    const encoding how = encoding_of_slot(self().slot, self().type.type);
    if (form_ == qdq_mode::integer) {
      if (x.how == how) return void(values_[id_] = x);
    } else if (const auto at = codes_.find(key_of(x)); at != codes_.end() && at->second.how == how) {
      return void(values_[id_] = at->second);
    }
    emit_each_as(how, schema::BuiltinOperator::QUANTIZE, schema::QuantizeOptionsT{});
  }

  /// Writes a dequantize node: in integer mode its readers use the codes; otherwise DEQUANTIZE, once per tensor.
  void emit_dequantize() {
    const written_value& x = values_[self().args[0]];
    if (form_ == qdq_mode::integer) return void(values_[id_] = x);
    if (const auto known = floats_.find(key_of(x)); known != floats_.end()) return void(values_[id_] = known->second);
    emit_each_as({}, schema::BuiltinOperator::DEQUANTIZE, schema::DequantizeOptionsT{});
    floats_[key_of(x)] = values_[id_];
    codes_[key_of(values_[id_])] = x;
  }

 private:
  /// Packs codes of one byte each, two per byte; the first is in the low bits.
  static byte_source packed(const byte_source& codes) {
    return [codes](const byte_sink& sink) {
      std::vector<std::byte> bytes;
      bool half = false;
      std::byte low{};
      codes([&](std::span<const std::byte> piece) {
        bytes.clear();
        for (const std::byte c : piece) {
          if (half)
            bytes.push_back(low | (c << 4));
          else
            low = c & std::byte{15};
          half = !half;
        }
        sink(bytes);
      });
      if (half) sink({&low, 1});
    };
  }

  /// Full name of the current node's module; codes of a state are named like the state in files.
  std::string tensor_of_module() const {
    const qwq::node* n = &self();
    while (qwq::schema(*n).is(trait::quantization)) n = &at(n->args[0]);
    return n->kind == op::state ? tensor_name(part_->prefix, layer_, past_name(n->name)) : tensor_of_leaf();
  }

  /// Appends an operator with one result.
  template <class... Options>
  tensor_id append(schema::BuiltinOperator code, const std::vector<tensor_id>& inputs, const shape& dims,
                   const encoding& how, const Options&... options) {
    const std::string name = tensor_of_module() + "::" + std::string(qwq::name(self().kind));
    const tensor_id out = model_.tensor(name, {how.type, dims}, how.params);
    model_.node(code, inputs, {out}, options...);
    return out;
  }

  template <class... Options>
  void emit_each_as(const encoding& how, schema::BuiltinOperator code, const Options&... options) {
    std::size_t count = 0;
    dim rows;
    for (const node_id a : self().args)
      if (const auto& heads = values_[a].heads; heads.size() > count) {
        if (count == 0) rows = model_.at(heads[0]).shape[2];
        count = heads.size();
      }
    if (count == 0) return void(values_[id_] = {append(code, args(), self().dims(), how, options...), how});
    written_value out{no_tensor, how};
    for (std::size_t h = 0; h < count; ++h) {
      std::vector<tensor_id> inputs;
      for (const node_id a : self().args) {
        const written_value& x = values_[a];
        inputs.push_back(x.heads.empty() ? x.tensor : x.heads[h * x.heads.size() / count]);
      }
      out.heads.push_back(append(code, inputs, {1, 1, rows, self().dims().last()}, how, options...));
    }
    values_[id_] = std::move(out);
  }

  /// The value of a node, as one tensor.
  const written_value& joined(std::size_t id) {
    written_value& x = values_[id];
    if (x.tensor == no_tensor && !x.heads.empty()) {
      if (at(id).dims()[1] != dim{static_cast<std::int64_t>(x.heads.size())})
        throw error("emit: a value of shared heads is read by " + std::string(qwq::name(self().kind)));
      schema::ConcatenationOptionsT o;
      o.axis = 1;
      x.tensor = append(schema::BuiltinOperator::CONCATENATION, x.heads, at(id).dims(), x.how, o);
    }
    return x;
  }
  /// Key of a value in the maps below.
  static tensor_id key_of(const written_value& x) { return x.tensor != no_tensor ? x.tensor : x.heads.at(0); }

  encoding encoding_of_slot(std::int16_t slot, dtype type) const {
    const kernel::affine& p = part_->params_of(slot, params_);
    return {type, {{p.scale}, {p.zero_point}}};
  }

  /// Encoding of the current node's result: in integer mode, the one of the quantize node that uses it.
  encoding encoding_of_result() const {
    if (form_ == qdq_mode::integer)
      for (const qwq::node& n : part_->nodes)
        if (n.kind == op::quantize && n.args[0] == id_) return encoding_of_slot(n.slot, n.type.type);
    return {self().type.type, {}};
  }

  model_builder& model_;
  tensor_source& constants_;
  const op_map<graph_writer>& ops_;
  qdq_mode form_;
  bool per_head_;

  // Of the part that is being written.
  const part* part_ = nullptr;
  std::int64_t layer_ = -1;
  const value_names* inputs_ = nullptr;
  const std::vector<kernel::affine>* params_ = nullptr;
  std::size_t id_ = 0;
  std::vector<written_value> values_;

  // Of the subgraph.
  std::map<std::string, written_value> bound_;
  std::map<tensor_id, written_value> floats_;  ///< From codes to the value that DEQUANTIZE made of them.
  std::map<tensor_id, written_value> codes_;   ///< The reverse.
  named_tensors signed_inputs_, signed_outputs_;
};

}  // namespace qwq::to_circle
