// SPDX-License-Identifier: Apache-2.0
// Defines `model_builder`, which builds an ONNX model: names, types, constants and the opsets of its nodes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include <onnx/onnx_pb.h>

#include "qwq/core/error.hpp"
#include "qwq/core/version.hpp"
#include "qwq/emit/onnx/external_data.hpp"
#include "qwq/graph/tensor_type.hpp"

namespace qwq::to_onnx {

/// Versions that a file declares: of the operator sets and of the file format. IR 10 is the lowest that opset 21
/// allows.
struct opset_versions {
  // Versions of ai.onnx, com.microsoft and the IR.
  std::int64_t ai_onnx = 21,  ///< Opset version of ai.onnx.
      com_microsoft = 1,      ///< Opset version of com.microsoft.
      ir = 10;                ///< Version of the ONNX IR.
};

/// Domain of the contrib operators.
inline constexpr std::string_view microsoft = "com.microsoft";

/// Number of an element type in ONNX. The 4-bit types are of ONNX 1.16; older headers do not name them.
constexpr std::int32_t element_type(dtype t) {
  using type = ::onnx::TensorProto;
  constexpr std::int32_t numbers[] = {type::FLOAT, type::FLOAT16, type::BFLOAT16, 22,          21,         type::INT8,
                                      type::UINT8, type::INT16,   type::UINT16,   type::INT32, type::INT64};
  return numbers[static_cast<std::size_t>(t)];
}

/// Adds an attribute to a node.
inline void set_attribute(::onnx::NodeProto& n, std::string_view name, std::int64_t value) {
  ::onnx::AttributeProto& a = *n.add_attribute();
  a.set_name(std::string(name));
  a.set_type(::onnx::AttributeProto::INT);
  a.set_i(value);
}
/// Adds a float attribute.
inline void set_attribute(::onnx::NodeProto& n, std::string_view name, float value) {
  ::onnx::AttributeProto& a = *n.add_attribute();
  a.set_name(std::string(name));
  a.set_type(::onnx::AttributeProto::FLOAT);
  a.set_f(value);
}
/// Adds an attribute that is a list of integers.
inline void set_attribute(::onnx::NodeProto& n, std::string_view name, const std::vector<std::int64_t>& values) {
  ::onnx::AttributeProto& a = *n.add_attribute();
  a.set_name(std::string(name));
  a.set_type(::onnx::AttributeProto::INTS);
  a.mutable_ints()->Add(values.begin(), values.end());
}

/// Builds one model. Values are identified by their names.
class model_builder {
 public:
  /// `data`: file for constants that are too large for the model file. `fixed`: names of dimensions that get their
  /// bound in this model; other named dimensions stay symbolic.
  model_builder(std::string_view graph_name, external_data& data, const opset_versions& versions = {},
                std::vector<std::string_view> fixed = {})
      : data_(data), versions_(versions), fixed_(std::move(fixed)) {
    model_.set_ir_version(versions.ir);
    model_.set_producer_name("qwq");
    model_.set_producer_version(std::to_string(version.major) + '.' + std::to_string(version.minor) + '.' +
                                std::to_string(version.patch));
    graph().set_name(std::string(graph_name));
  }
  model_builder(const model_builder&) = delete;
  model_builder& operator=(const model_builder&) = delete;

  /// True if the file leaves the extent symbolic, under its name.
  bool is_symbolic(const dim& d) const { return d.named() && std::ranges::find(fixed_, d.symbol) == fixed_.end(); }

  /// Returns `base`, or the first of `base_1`, `base_2`, ... that is unused.
  std::string unique(const std::string& base) {
    std::string result = base;
    while (!names_.insert(result).second) result = base + '_' + std::to_string(++twins_[base]);
    return result;
  }
  /// A unique name for `key`, the same at each call.
  const std::string& name_of(const std::string& key, const std::string& base) {
    std::string& stored = named_[key];
    if (stored.empty()) stored = unique(base);
    return stored;
  }

  /// True if a value of that name exists.
  bool has_value(const std::string& name) const { return values_.contains(name); }
  /// Adds an input of the model.
  void input(const std::string& name, const tensor_type& type) { describe(*graph().add_input(), name, type); }
  /// Adds an output of the model.
  void output(const std::string& name, const tensor_type& type) { describe(*graph().add_output(), name, type); }

  /// Appends a node without outputs; its name is made unique.
  ::onnx::NodeProto& node(std::string_view op, const std::string& name, std::span<const std::string> inputs,
                          std::string_view domain = "") {
    ::onnx::NodeProto& n = *graph().add_node();
    n.set_op_type(std::string(op));
    n.set_domain(std::string(domain));
    n.set_name(unique(name));
    for (const std::string& i : inputs) n.add_input(i);
    return n;
  }
  /// Adds the next output of `n`, of the given type. The name must be new.
  const std::string& result(::onnx::NodeProto& n, const std::string& name, const tensor_type& type) {
    n.add_output(name);
    describe(*graph().add_value_info(), name, type);
    return n.output(n.output_size() - 1);
  }

  /// Value of an operator without attributes on `inputs`. Equal operators on equal inputs are written once.
  std::string once(std::string_view op, const std::string& name, std::span<const std::string> inputs,
                   const tensor_type& type) {
    std::string key(op);
    for (const std::string& i : inputs) key.append(" ").append(i);
    std::string& known = computed_[key];
    if (known.empty()) {
      ::onnx::NodeProto& n = node(op, name, inputs);
      known = result(n, n.name() + "_output_0", type);
    }
    return known;
  }

  /// Reshapes `x` of type `from` to `to`. Consecutive reshapes are merged, and those to the same shape are omitted.
  std::string reshape(const std::string& name, std::string x, tensor_type from, const shape& to) {
    for (auto at = reshaped_.find(x); at != reshaped_.end(); at = reshaped_.find(x)) std::tie(x, from) = at->second;
    if (from.dims == to) return x;
    const std::string y = once("Reshape", name, std::vector{x, int64s(reshape_target(from.dims, to))}, {from.type, to});
    reshaped_[y] = {x, from};
    return y;
  }
  /// Second input of a Reshape: a symbolic extent is copied from its position in the input (0), or else inferred by the
  /// runtime (-1).
  std::vector<std::int64_t> reshape_target(const shape& from, const shape& to) const {
    std::vector<std::int64_t> out;
    for (std::size_t i = 0; i < to.size(); ++i)
      out.push_back(!is_symbolic(to[i]) ? to[i].extent : i < from.size() && from[i] == to[i] ? 0 : -1);
    return out;
  }

  /// Adds a constant. Small ones are stored in the model, others in the data file, where `data_key` identifies equal
  /// bytes across models. If a constant of that name exists, returns it.
  std::string initializer(const std::string& name, const std::string& data_key, dtype type,
                          const std::vector<std::int64_t>& dims, const byte_source& source) {
    if (!values_.insert(name).second) return name;
    ::onnx::TensorProto& t = *graph().add_initializer();
    t.set_name(name);
    t.set_data_type(element_type(type));
    std::size_t count = 1;
    for (const std::int64_t d : dims) {
      t.add_dims(d);
      count *= static_cast<std::size_t>(d);
    }
    if (const std::size_t bytes = byte_size(type, count); bytes >= inline_limit) {
      const data_range at = data_.put(data_key, bytes, source);
      t.set_data_location(::onnx::TensorProto::EXTERNAL);
      const auto entry = [&](const char* key, const std::string& value) {
        ::onnx::StringStringEntryProto& e = *t.add_external_data();
        e.set_key(key);
        e.set_value(value);
      };
      entry("location", data_.location());
      entry("offset", std::to_string(at.offset));
      entry("length", std::to_string(at.bytes));
    } else {
      source([&](std::span<const std::byte> piece) {
        t.mutable_raw_data()->append(reinterpret_cast<const char*>(piece.data()), piece.size());
      });
    }
    return name;
  }

  /// Adds an int64 [n] constant, the form of shapes, axes and the like.
  std::string int64s(const std::vector<std::int64_t>& values) {
    std::string name = "ints";
    for (const std::int64_t v : values) name.append("_").append(std::to_string(v));
    return initializer(name, name, dtype::i64, {static_cast<std::int64_t>(values.size())},
                       [&](const byte_sink& sink) { sink(std::as_bytes(std::span(values))); });
  }

  /// Adds an i64 scalar.
  std::string int64(std::int64_t value) {
    const std::string name = "int_" + std::to_string(value);
    return initializer(name, name, dtype::i64, {},
                       [&](const byte_sink& sink) { sink(std::as_bytes(std::span(&value, 1))); });
  }
  /// Adds an f32 scalar.
  std::string scalar(double value) {
    char name[32];
    std::snprintf(name, sizeof name, "float_%.9g", value);
    const float x = static_cast<float>(value);
    return initializer(name, name, dtype::f32, {},
                       [&](const byte_sink& sink) { sink(std::as_bytes(std::span(&x, 1))); });
  }

  /// Completes the model and removes nodes that no output depends on. Nothing can be added afterwards.
  const ::onnx::ModelProto& finish() {
    std::set<std::string> outputs, domains;
    for (const auto& o : graph().output()) outputs.insert(o.name());
    std::set<std::string> needed = outputs;
    auto& nodes = *graph().mutable_node();
    for (auto n = nodes.rbegin(); n != nodes.rend(); ++n) {  // arguments precede their uses
      if (std::ranges::none_of(n->output(), [&](const std::string& o) { return needed.contains(o); })) {
        n->clear_output();
        continue;
      }
      needed.insert(n->input().begin(), n->input().end());
      domains.insert(n->domain());
    }
    const auto keep = [](auto& list, auto&& wanted) {
      list.erase(std::remove_if(list.begin(), list.end(), [&](const auto& x) { return !wanted(x); }), list.end());
    };
    keep(nodes, [](const auto& n) { return n.output_size() > 0; });
    keep(*graph().mutable_initializer(), [&](const auto& t) { return needed.contains(t.name()); });
    // Types of outputs are stored with the outputs.
    keep(*graph().mutable_value_info(),
         [&](const auto& v) { return needed.contains(v.name()) && !outputs.contains(v.name()); });
    for (const std::string& domain : domains) {
      ::onnx::OperatorSetIdProto& opset = *model_.add_opset_import();
      opset.set_domain(domain);
      opset.set_version(domain.empty() ? versions_.ai_onnx : domain == microsoft ? versions_.com_microsoft : 1);
    }
    return model_;
  }

 private:
  static constexpr std::size_t inline_limit = 1024;

  ::onnx::GraphProto& graph() { return *model_.mutable_graph(); }

  void describe(::onnx::ValueInfoProto& v, const std::string& name, const tensor_type& type) {
    values_.insert(name);
    v.set_name(name);
    ::onnx::TypeProto_Tensor& t = *v.mutable_type()->mutable_tensor_type();
    t.set_elem_type(element_type(type.type));
    for (const dim& d : type.dims) {
      ::onnx::TensorShapeProto_Dimension& to = *t.mutable_shape()->add_dim();
      if (is_symbolic(d))
        to.set_dim_param(std::string(d.symbol) + (d.plus > 0 ? '+' + std::to_string(d.plus) : ""));
      else
        to.set_dim_value(d.extent);
    }
  }

  external_data& data_;
  opset_versions versions_;
  std::vector<std::string_view> fixed_;
  ::onnx::ModelProto model_;
  std::set<std::string> names_, values_;
  std::map<std::string, int> twins_;
  std::map<std::string, std::string> computed_;  ///< Operator and inputs -> value.
  /// Value -> the value that it was reshaped from, with its type.
  std::map<std::string, std::pair<std::string, tensor_type>> reshaped_;
  std::map<std::string, std::string> named_;
};

}  // namespace qwq::to_onnx
