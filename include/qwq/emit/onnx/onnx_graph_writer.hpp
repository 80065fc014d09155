// SPDX-License-Identifier: Apache-2.0
// Defines `graph_writer`, which writes the graphs of a compiled model to ONNX through an op map.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwq/emit/onnx/blockwise_weight.hpp"
#include "qwq/emit/onnx/onnx_model_builder.hpp"
#include "qwq/emit/op_map.hpp"
#include "qwq/emit/options.hpp"
#include "qwq/emit/program_parts.hpp"

namespace qwq::to_onnx {

/// An output of a part, as a value of the model.
struct written_output {
  std::string name;  ///< Name of the value.
  tensor_type type;  ///< Its type.
};

/// Writes parts into one model. While it is at a node, the functions of the op map receive it as their argument.
class graph_writer {
 public:
  /// Writes to `model` through `ops`, with the bytes of `constants`; all must outlive the writer.
  graph_writer(model_builder& model, tensor_source& constants, const op_map<graph_writer>& ops,
               const emit_options& options = {})
      : model_(model), constants_(constants), ops_(ops), options_(options) {}

  /// Writes a part for one layer (`layer` < 0: the part has none). An input that `inputs` maps to a name without a
  /// value becomes an input of the model; outputs that `outputs` does not map are named after their nodes. `params`:
  /// parameters of the activation slots, null if the part has no slots. Returns the outputs by their names in the part.
  std::map<std::string_view, written_output> write(const part& p, std::int64_t layer, const value_names& inputs,
                                                   const value_names& outputs,
                                                   const std::vector<kernel::affine>* params) {
    part_ = &p;
    layer_ = layer;
    inputs_ = &inputs;
    params_ = params;
    values_.assign(p.nodes.size(), {});
    slots_.assign(p.slots->parameters(), {});
    chosen_.assign(p.nodes.size(), {});
    for (const graph_output& o : p.outputs)
      if (const auto at = outputs.find(o.name.view()); at != outputs.end()) chosen_[o.id] = at->second;
    for (id_ = 0; id_ < p.nodes.size(); ++id_) ops_[self()](*this);
    std::map<std::string_view, written_output> result;
    for (const graph_output& o : p.outputs) result[o.name.view()] = {values_[o.id], p.nodes[o.id].type};
    return result;
  }

  // Interface for the functions of an op map.

  /// The current node.
  const qwq::node& self() const { return at(id_); }
  /// Node `id` of the current part.
  const qwq::node& at(std::size_t id) const { return part_->nodes[id]; }
  /// The model under construction.
  model_builder& model() { return model_; }
  /// The constants of the export.
  tensor_source& constants() { return constants_; }
  /// The options of the export.
  const emit_options& options() const { return options_; }

  /// Name of the value of node `id`.
  const std::string& value(std::size_t id) const { return values_[id]; }
  /// Name of the value of the k-th argument.
  const std::string& arg(std::size_t k) const { return value(self().args[k]); }
  /// Node of the k-th argument.
  const qwq::node& arg_node(std::size_t k) const { return at(self().args[k]); }
  /// Names of the values of all arguments.
  std::vector<std::string> args() const {
    std::vector<std::string> all;
    for (const node_id a : self().args) all.push_back(values_[a]);
    return all;
  }
  /// Makes an existing value the value of the current node.
  void set_value(std::string name) { values_[id_] = std::move(name); }

  /// Name of the current input outside of the part.
  const std::string& outside_name() const {
    const auto at = inputs_->find(self().name.view());
    if (at == inputs_->end())
      throw error("emit: input '" + std::string(self().name.view()) + "' of a graph is not bound");
    return at->second;
  }
  /// Full name of the checkpoint tensor of a weight leaf.
  std::string tensor(const qwq::node& leaf) const { return tensor_name(part_->prefix, layer_, leaf.name); }
  /// Path of the node's module, "/model/layers.0/self_attn/q_proj/", in the form of torch's exporter.
  std::string scope() const {
    std::string path = "/";
    const auto append = [&path](std::string_view dotted) {
      for (const char c : dotted) path += c == '.' ? '/' : c;
    };
    append(part_->prefix);
    if (layer_ >= 0) {
      path.back() = '.';
      path.append(std::to_string(layer_)).append("/");
    }
    append(self().name.view());
    if (path.back() != '/') path += '/';
    return path;
  }

  /// Appends an ONNX node `type` with `inputs`, which computes the current node's value.
  ::onnx::NodeProto& emit(std::string_view type, std::span<const std::string> inputs, std::string_view domain = "") {
    ::onnx::NodeProto& n = model_.node(type, scope() + std::string(type), inputs, domain);
    set_value(model_.result(n, chosen_[id_].empty() ? n.name() + "_output_0" : chosen_[id_], self().type));
    return n;
  }
  /// Appends an ONNX node with the arguments of the current node.
  ::onnx::NodeProto& emit(std::string_view type, std::string_view domain = "") { return emit(type, args(), domain); }
  /// Appends a node for an intermediate result of the given type.
  ::onnx::NodeProto& emit_helper(std::string_view type, std::span<const std::string> inputs, const tensor_type& result,
                                 std::string_view domain = "") {
    ::onnx::NodeProto& n = model_.node(type, scope() + std::string(type), inputs, domain);
    model_.result(n, n.name() + "_output_0", result);
    return n;
  }
  /// Reshapes value `x` of type `from` to `to`; returns the name of the result.
  std::string reshape(const std::string& x, const tensor_type& from, const shape& to) {
    return model_.reshape(scope() + "Reshape", x, from, to);
  }

  /// Makes `x`, of type `from`, reshaped to the current node's shape, the current node's value.
  void set_reshaped(const std::string& x, const tensor_type& from) {
    if (chosen_[id_].empty()) return set_value(reshape(x, from, self().dims()));
    emit("Reshape", std::vector{x, model_.int64s(model_.reshape_target(from.dims, self().dims()))});
  }

  /// Makes the next output of `n` the value of node `id`.
  void give_result(::onnx::NodeProto& n, std::size_t id) {
    values_[id] = model_.result(
        n, chosen_[id].empty() ? n.name() + "_output_" + std::to_string(n.output_size()) : chosen_[id], at(id).type);
  }
  /// Makes an existing value that of result `k` of the current node, if that result is used.
  void set_result(std::int32_t k, const std::string& name) {
    if (const auto id = result_node(k)) values_[*id] = name;
  }
  /// Makes the next output of `n` that of result `k` of the current node, if that result is used.
  void give_result_of(::onnx::NodeProto& n, std::int32_t k) {
    if (const auto id = result_node(k)) give_result(n, *id);
  }
  /// True if the current node already has a value: its producer assigned one.
  bool has_value() const { return !values_[id_].empty(); }

  /// Assigns the further results of the current node to outputs of `n`: they are `get_tuple_element` nodes.
  void emit_further_results(::onnx::NodeProto& n, std::int32_t count) {
    for (std::int32_t k = 1; k < count; ++k) give_result_of(n, k);
  }

  // Quantization.

  /// Names of a slot's parameters, and how its codes are stored.
  struct slot_names {
    std::string scale,                   ///< Name of the initializer of the scale.
        zero_point;                      ///< Name of the initializer of the zero point; empty if there is none.
    std::optional<std::int64_t> axis{};  ///< Axis of per-axis scales; none for one scale.
    std::int32_t block = 0;              ///< Elements along the axis that share a scale.
    bool transposed = false;             ///< A matrix [N, K] is stored as [K, N].
  };
  /// Names of the parameters of `slot`, which must be written already.
  const slot_names& names_of(std::int16_t slot) const { return slots_[static_cast<std::size_t>(slot)]; }

  /// Slot of the current leaf; null if it holds floats.
  const slot* leaf_slot() const { return part_->leaf_slot(id_); }
  /// The slot with index `index`.
  const slot& slot_at(std::int16_t index) const { return part_->slots->starting_at(index); }

  /// Stores a quantized constant as `base`_quantized, next to its parameters, with the names of ONNX Runtime's
  /// quantizer.
  void emit_codes(const std::string& base, const std::string& key, const slot& s, quantized_source& q) {
    set_value(model_.initializer(base + "_quantized", key + ":" + std::string(name(s.format.element)), s.format.element,
                                 extents(stored_dims(self())), [&](const byte_sink& sink) { q.codes(sink); }));
    bases_[values_[id_]] = base;
    slots_[static_cast<std::size_t>(s.first)] = parameters(
        base, key, s.format.element, q.scale_count(), [&] { return q.scales(); }, [&] { return q.zero_points(); });
  }

  /// Stores a matrix [N, K] in blocks along K, as [K, N]. Codes are symmetric around 0 and need no zero points.
  void emit_block_codes(const std::string& base, const std::string& key, const slot& s, quantized_source& q) {
    const shape dims = stored_dims(self());
    const block_columns columns{q, s.format.element, dims[0].extent, dims[1].extent};
    set_value(model_.initializer(base + "_quantized", key + ":columns", columns.written(), {columns.k, columns.n},
                                 [&](const byte_sink& sink) { columns.write(sink); }));
    bases_[values_[id_]] = base;
    const std::string scale = model_.initializer(base + "_scale", key + ":column_scales", dtype::f32,
                                                 {columns.blocks(), columns.n}, [&](const byte_sink& sink) {
                                                   const std::vector<float> scales = columns.scales();
                                                   sink(std::as_bytes(std::span(scales)));
                                                 });
    slots_[static_cast<std::size_t>(s.first)] = {scale, "", 0, q.block(), true};
  }

  /// Stores the kernel [N, K, 1, 1] of a convolution in blocks, in its own order.
  void emit_block_kernel(const std::string& base, const std::string& key, const slot& s, quantized_source& q) {
    std::vector<std::int64_t> dims = extents(self().dims());
    if (!is_signed(s.format.element) || dims[1] % q.block() != 0)
      throw error("emit: " + base + ": expected signed codes in whole blocks of " + std::to_string(q.block()) +
                  ", found " + std::string(name(s.format.element)) + " in rows of " + std::to_string(dims[1]));
    set_value(model_.initializer(base + "_quantized", key + ":" + std::string(name(s.format.element)), s.format.element,
                                 dims, [&](const byte_sink& sink) { q.codes(sink); }));
    bases_[values_[id_]] = base;
    dims[1] /= q.block();
    const std::string scale = model_.initializer(base + "_scale", key + ":block_scales", dtype::f32, dims,
                                                 [&](const byte_sink& sink) { sink(std::as_bytes(q.scales())); });
    slots_[static_cast<std::size_t>(s.first)] = {scale, "", 1, q.block()};
  }

  /// Writes QuantizeLinear. Reuses the existing codes of a value that was dequantized with the same parameters.
  void emit_quantize() {
    if (self().args.size() == 2) return emit_expert_quantize();
    const kernel::affine& p = activation(self().slot);
    slot_names& names = slots_[static_cast<std::size_t>(self().slot)];
    const std::string& x = arg(0);
    if (const auto known = dequantized_.find(x); known != dequantized_.end() && known->second.scale == p.scale &&
                                                 known->second.zero_point == p.zero_point &&
                                                 known->second.type == self().type.type) {
      names = known->second.names;
      return set_value(known->second.codes);
    }
    if (names.scale.empty())
      names = parameters(
          x, x, self().type.type, 1, [&] { return std::span(&p.scale, 1); },
          [&] { return std::span(&p.zero_point, 1); });
    ::onnx::NodeProto& n =
        model_.node("QuantizeLinear", x + "_QuantizeLinear", std::vector{x, names.scale, names.zero_point});
    set_value(model_.result(n, x + "_QuantizeLinear_Output", self().type));
    bases_[values_[id_]] = x;
  }

  /// Writes DequantizeLinear, once for the same codes and parameters.
  void emit_dequantize() {
    if (self().args.size() == 2) return emit_expert_dequantize();
    const slot_names& names = slots_[static_cast<std::size_t>(self().slot)];
    const std::string& codes = arg(0);
    std::string& known = readers_[codes + ' ' + names.scale];
    if (!known.empty() && chosen_[id_].empty()) return set_value(known);
    const std::string& x = bases_[codes];
    std::vector<std::string> inputs{codes, names.scale};
    if (!names.zero_point.empty()) inputs.push_back(names.zero_point);
    tensor_type type{self().type.type, stored_dims(arg_node(0))};
    if (names.transposed) std::swap(type.dims[0], type.dims[1]);
    ::onnx::NodeProto& n = model_.node("DequantizeLinear", x + "_DequantizeLinear", inputs);
    if (names.axis) set_attribute(n, "axis", *names.axis);
    if (names.block > 0) set_attribute(n, "block_size", std::int64_t{names.block});
    if (is_stack(arg_node(0))) {
      known = unstacked(x, model_.result(n, x + "_DequantizeLinear_Output", type), type, names.transposed);
      return set_value(known);
    }
    known = model_.result(n, chosen_[id_].empty() ? x + "_DequantizeLinear_Output" : chosen_[id_], type);
    set_value(known);
    if (arg_node(0).kind == op::quantize) {
      const kernel::affine& p = activation(self().slot);
      dequantized_[known] = {codes, names, p.scale, p.zero_point, arg_node(0).type.type};
    }
  }

 private:
  /// The node that projects result `k` of the current node, if any.
  std::optional<std::size_t> result_node(std::int32_t k) const {
    for (std::size_t i = id_ + 1; i < part_->nodes.size(); ++i)
      if (at(i).kind == op::get_tuple_element && at(i).args[0] == id_ && at(i).attr.ints[0] == k) return i;
    return std::nullopt;
  }

  /// Shape of a weight's stored codes: expert matrices [E,N,K] as one matrix [E*N,K].
  static shape stored_dims(const qwq::node& n) {
    const shape& d = n.dims();
    return is_stack(n) ? shape{dim{d[0].extent * d[1].extent}, d[2]} : d;
  }
  static bool is_stack(const qwq::node& n) { return n.kind == op::weight && n.dims().size() == 3; }
  /// Restores the expert matrices from the values of their stack.
  std::string unstacked(const std::string& base, std::string stack, const tensor_type& type, bool transposed) {
    tensor_type rows{type.type, stored_dims(arg_node(0))};
    if (transposed) {
      ::onnx::NodeProto& n = model_.node("Transpose", base + "_Transpose", std::vector{stack});
      set_attribute(n, "perm", std::vector<std::int64_t>{1, 0});
      stack = model_.result(n, base + "_rows", rows);
    }
    return model_.reshape(base + "_Reshape", stack, rows, self().dims());
  }

  /// The type of rows of a value [1,S,k,N], or of their expert indices, as the first axis of `rest`.
  tensor_type expert_rows(dtype type, const shape& rest) const {
    const shape& d = self().dims();
    shape rows{d[1].named() ? dim{d[1].extent * d[2].extent, "expert_rows"} : dim{d[1].extent * d[2].extent}};
    for (const dim& r : rest) rows.push_back(r);
    return {type, rows};
  }
  /// Writes QuantizeLinear for rows with the parameters of their experts.
  void emit_expert_quantize() {
    slot_names& names = slots_[static_cast<std::size_t>(self().slot)];
    const std::string& x = arg(0);
    const auto count = static_cast<std::size_t>(slot_at(self().slot).count);
    std::vector<float> scales;
    std::vector<std::int32_t> zero_points;
    for (std::size_t e = 0; e < count; ++e) {
      const kernel::affine& p = activation(static_cast<std::int16_t>(self().slot + static_cast<std::int16_t>(e)));
      scales.push_back(p.scale);
      zero_points.push_back(p.zero_point);
    }
    const slot_names all = parameters(
        x, x, self().type.type, count, [&] { return std::span<const float>(scales); },
        [&] { return std::span<const std::int32_t>(zero_points); });
    const std::string experts = model_.reshape(x + "_experts", arg(1), arg_node(1).type, expert_rows({}, {}).dims);
    const auto of_rows = [&](const std::string& parameter, dtype type, const char* what) {
      ::onnx::NodeProto& n = model_.node("Gather", x + what, std::vector{parameter, experts});
      return model_.result(n, x + what, expert_rows(type, {}));
    };
    names = {of_rows(all.scale, dtype::f32, "_row_scale"), of_rows(all.zero_point, self().type.type, "_row_zero_point"),
             0};
    const tensor_type rows = expert_rows(self().type.type, {self().dims().last()});
    const std::string flat = model_.reshape(x + "_rows", x, arg_node(0).type, rows.dims);
    ::onnx::NodeProto& n =
        model_.node("QuantizeLinear", x + "_QuantizeLinear", std::vector{flat, names.scale, names.zero_point});
    set_attribute(n, "axis", std::int64_t{0});
    set_value(model_.result(n, x + "_QuantizeLinear_Output", rows));
    bases_[values_[id_]] = x;
  }
  void emit_expert_dequantize() {
    const slot_names& names = slots_[static_cast<std::size_t>(self().slot)];
    const std::string& x = bases_[arg(0)];
    const tensor_type rows = expert_rows(dtype::f32, {self().dims().last()});
    ::onnx::NodeProto& n =
        model_.node("DequantizeLinear", x + "_DequantizeLinear", std::vector{arg(0), names.scale, names.zero_point});
    set_attribute(n, "axis", std::int64_t{0});
    set_reshaped(model_.result(n, x + "_DequantizeLinear_Output", rows), rows);
  }

  struct boundary {
    std::string codes;
    slot_names names;
    float scale = 0;
    std::int32_t zero_point = 0;
    dtype type = dtype::f32;
  };

  const kernel::affine& activation(std::int16_t slot) const { return part_->params_of(slot, params_); }

  /// Stores scale and zero point, scalars or one per row; `scales` and `zero_points` compute them when they are stored.
  template <class Scales, class ZeroPoints>
  slot_names parameters(const std::string& base, const std::string& key, dtype type, std::size_t count, Scales&& scales,
                        ZeroPoints&& zero_points) {
    const bool per_channel = count > 1;
    std::vector<std::int64_t> dims;
    if (per_channel) dims.push_back(static_cast<std::int64_t>(count));
    const auto bytes_each = static_cast<std::size_t>(bits(type) / 8);
    return {model_.initializer(base + "_scale", key + ":scale", dtype::f32, dims,
                               [&](const byte_sink& sink) { sink(std::as_bytes(scales())); }),
            model_.initializer(base + "_zero_point", key + ":zero_point", type, dims,
                               [&](const byte_sink& sink) {
                                 // Little-endian: the first bytes of an integer are the integer of fewer bits.
                                 for (const std::int32_t& z : zero_points())
                                   sink(std::as_bytes(std::span(&z, 1)).first(bytes_each));
                               }),
            per_channel ? std::optional<std::int64_t>(0) : std::nullopt};
  }

  model_builder& model_;
  tensor_source& constants_;
  const op_map<graph_writer>& ops_;
  emit_options options_;

  // Of the part that is being written.
  const part* part_ = nullptr;
  std::int64_t layer_ = -1;
  const value_names* inputs_ = nullptr;
  const std::vector<kernel::affine>* params_ = nullptr;
  std::size_t id_ = 0;
  std::vector<std::string> values_;  ///< ONNX name of each node's value.
  std::vector<std::string> chosen_;  ///< Names requested by the caller.
  std::vector<slot_names> slots_;

  // Of the model.
  std::map<std::string, std::string> bases_;     ///< Codes -> name of the value that they encode.
  std::map<std::string, boundary> dequantized_;  ///< Value -> the codes that it was dequantized from.
  std::map<std::string, std::string> readers_;   ///< Codes and parameters -> dequantized value.
};

}  // namespace qwq::to_onnx
