// SPDX-License-Identifier: Apache-2.0
// Walks the graphs of a compiled model and hands each node to the op map.
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

/// What becomes of quantize/dequantize pairs.
enum class qdq_mode : std::uint8_t {
  qdq,      // operators of the file, around operators on floats: engines execute it as it stands
  integer,  // types of tensors: what an operator makes has the codes of its slot, QUANTIZE stands where they change
};

/// Codes and parameters of a value.
struct encoding {
  dtype type = dtype::f32;
  quantization params;  ///< Scale and zero point, or one for each row.
  friend bool operator==(const encoding&, const encoding&) = default;
};

/// A value of a part: its tensor, and how that is encoded. A value [1,heads,rows,columns] can also be held head by
/// head, as tensors [1,1,rows,columns]; then the tensor of the whole is there when somebody asked for it.
struct written_value {
  tensor_id tensor = no_tensor;  ///< Where it is in the file.
  encoding how;                  ///< What its elements stand for.
  /// The same divided by heads, where attention is written head by head.
  std::vector<tensor_id> heads{};
};

/// Names of a state in files: what a graph reads, and the rows that it hands out.
inline std::string past_name(std::string_view state) { return std::string("past_").append(state); }
inline std::string new_name(std::string_view state) { return std::string("new_").append(state); }

/// Writes parts into the subgraph that the model stands at. The functions of the op map see it while it stands at a
/// node.
class graph_writer {
 public:
  /// `per_head`: products of attention are written head by head, for machines without batches of them.
  graph_writer(model_builder& model, tensor_source& constants, const op_map<graph_writer>& ops, qdq_mode f,
               bool per_head = false)
      : model_(model), constants_(constants), ops_(ops), form_(f), per_head_(per_head) {}

  /// Writes a part for one layer (`layer` < 0: the part has none). An input whose name, or what `inputs` maps it to, is
  /// bound to no value becomes an input of the subgraph. `params`: parameters of the activation slots, null when the
  /// part has none. Returns the outputs by their names in the part.
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

  /// Binds a name outside of the parts to a value that one of them made.
  void bind(const std::string& name, const written_value& v) { bound_[name] = v; }
  /// The value that a name is bound to.
  const written_value& bound(const std::string& name) const { return bound_.at(name); }
  /// Makes a value an output of the subgraph.
  void output(const std::string& name, const written_value& v) {
    model_.output(v.tensor);
    signed_outputs_.emplace_back(name, v.tensor);
  }
  /// Names what the subgraph has; nothing may be written afterwards.
  void finish() { model_.signature(signed_inputs_, signed_outputs_); }

  // What the functions of an op map are made of.

  const qwq::node& self() const { return at(id_); }
  const qwq::node& at(std::size_t id) const { return part_->nodes[id]; }
  model_builder& model() { return model_; }
  tensor_source& constants() { return constants_; }
  const qwq::node& arg_node(std::size_t k) const { return at(self().args[k]); }
  tensor_id arg(std::size_t k) { return joined(self().args[k]).tensor; }
  std::vector<tensor_id> args() {
    std::vector<tensor_id> all;
    for (const node_id a : self().args) all.push_back(joined(a).tensor);
    return all;
  }

  /// Full name of the checkpoint tensor of a weight leaf.
  std::string tensor_of_leaf() const { return tensor_name(part_->prefix, layer_, self().name); }
  /// The slot of the current leaf; null when it holds floats.
  const slot* leaf_slot() const { return part_->leaf_slot(id_); }

  /// Appends an operator that computes the current node's value from `inputs`.
  template <class... Options>
  void emit(schema::BuiltinOperator code, const std::vector<tensor_id>& inputs, const Options&... options) {
    const encoding how = encoding_of_result();
    values_[id_] = {append(code, inputs, self().dims(), how, options...), how};
  }
  /// The same from all arguments; head by head if one of them is held so. Fewer heads serve as many of more; what is
  /// not held so has one row of heads.
  template <class... Options>
  void emit_each(schema::BuiltinOperator code, const Options&... options) {
    emit_each_as(encoding_of_result(), code, options...);
  }

  /// Whether products of this value's heads are written one by one.
  bool is_per_head() const { return per_head_ && self().dims().size() == 4; }
  /// Has the k-th argument held head by head.
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
  /// Takes the heads of the first argument, split or not, as those of the current value: rows of [1,kv_heads,...] are
  /// rows of the heads [1,heads,...] that share one.
  void regroup() {
    split(0);
    const written_value& x = values_[self().args[0]];
    values_[id_] = {no_tensor, x.how, x.heads};
  }

  /// The value that the caller binds, or an input of the subgraph. Ids are 32 bits wide: as wide as hosts have them.
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

  /// A constant of floats. `key`: what it holds.
  void emit_floats(const std::string& name, const std::string& key, const byte_source& source) {
    values_[id_] = {model_.constant(name, key + ":" + std::string(qwq::name(self().type.type)), self().type, source),
                    {}};
  }
  /// A constant of codes in the format of its slot.
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

  /// What has these codes already is taken as it is: a value that was only moved, or codes behind a dequantize.
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

  /// In the integer form readers take the codes; else DEQUANTIZE, once for each tensor.
  void emit_dequantize() {
    const written_value& x = values_[self().args[0]];
    if (form_ == qdq_mode::integer) return void(values_[id_] = x);
    if (const auto known = floats_.find(key_of(x)); known != floats_.end()) return void(values_[id_] = known->second);
    emit_each_as({}, schema::BuiltinOperator::DEQUANTIZE, schema::DequantizeOptionsT{});
    floats_[key_of(x)] = values_[id_];
    codes_[key_of(values_[id_])] = x;
  }

 private:
  /// What `codes` holds one to a byte, two to a byte: the first of them in the low bits.
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

  /// Full name of the module that the current node is of; codes of a state are named like the state in files.
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

  /// The value of a node, with its tensor.
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
  /// What stands for a value in maps of values.
  static tensor_id key_of(const written_value& x) { return x.tensor != no_tensor ? x.tensor : x.heads.at(0); }

  encoding encoding_of_slot(std::int16_t slot, dtype type) const {
    const kernel::affine& p = part_->params_of(slot, params_);
    return {type, {{p.scale}, {p.zero_point}}};
  }

  /// How the current node's result is encoded: in the integer form as the quantize node says that reads it.
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

  // of the part that is being written
  const part* part_ = nullptr;
  std::int64_t layer_ = -1;
  const value_names* inputs_ = nullptr;
  const std::vector<kernel::affine>* params_ = nullptr;
  std::size_t id_ = 0;
  std::vector<written_value> values_;

  // of the subgraph
  std::map<std::string, written_value> bound_;
  std::map<tensor_id, written_value> floats_;  // codes -> what DEQUANTIZE made of them
  std::map<tensor_id, written_value> codes_;   // and back
  named_tensors signed_inputs_, signed_outputs_;
};

}  // namespace qwq::to_circle
