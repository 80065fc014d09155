// SPDX-License-Identifier: Apache-2.0
// Defines `model_builder`, which builds a Circle or TFLite model and writes its file.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "qwq/core/error.hpp"
#include "qwq/emit/circle/circle_schema.hpp"
#include "qwq/emit/constant_source.hpp"
#include "qwq/graph/tensor_type.hpp"

namespace qwq::to_circle {

using namespace to_file;

/// The two variants of the format; they differ in identifier, version and the number of u4.
enum class file_format : std::uint8_t { circle, tflite };

/// Bytes 4 to 7 of a file.
constexpr const char* identifier(file_format f) { return f == file_format::circle ? "CIR0" : "TFL3"; }
/// Model.version. Circle's is 0, the default, and therefore not stored.
constexpr std::uint32_t format_version(file_format f) { return f == file_format::circle ? 0 : 3; }

/// Number of an element type in the format.
constexpr schema::TensorType element_type(dtype t, file_format f) {
  using enum schema::TensorType;
  const schema::TensorType u4 = f == file_format::circle ? UINT4_CIRCLE : UINT4_TFLITE;
  const schema::TensorType numbers[] = {FLOAT32, FLOAT16, BFLOAT16, INT4, u4, INT8, UINT8, INT16, UINT16, INT32, INT64};
  return numbers[static_cast<std::size_t>(t)];
}

/// Parameters of an integer tensor: none, one scale and zero point, or one of each per index of axis 0.
struct quantization {
  std::vector<float> scales;              ///< Scales.
  std::vector<std::int32_t> zero_points;  ///< Zero points, one per scale.
  /// Compares all members.
  friend bool operator==(const quantization&, const quantization&) = default;
};

/// Index of a tensor in its subgraph.
using tensor_id = std::int32_t;
/// Index of an optional input that is absent.
inline constexpr tensor_id no_tensor = -1;

/// Tensors with the names that callers use for them, as inputs or outputs.
using named_tensors = std::vector<std::pair<std::string, tensor_id>>;

/// Builds one model. Everything is added to the subgraph that was begun last. Constants with equal keys share one
/// tensor per subgraph and one buffer per model.
class model_builder {
 public:
  /// `dynamic`: leave named dimensions open; otherwise they get their bound.
  explicit model_builder(file_format f, bool dynamic = false) : flavour_(f), dynamic_(dynamic) {
    model_.version = format_version(f);
    model_.description = "qwq";
    buffer();  // buffer 0, shared by tensors that are not constants
  }
  model_builder(const model_builder&) = delete;
  model_builder& operator=(const model_builder&) = delete;

  /// Begins a subgraph and makes it the current one.
  void begin(const std::string& subgraph) {
    graph_ = model_.subgraphs.emplace_back(std::make_unique<schema::SubGraphT>()).get();
    graph_->name = subgraph;
    constants_.clear();
    names_.clear();
  }

  /// Adds a tensor that operators compute or callers pass. The name is made unique in the subgraph.
  tensor_id tensor(const std::string& name, const tensor_type& type, const quantization& q = {}) {
    return add(name, type, 0, q);
  }
  /// Adds a tensor and makes it an input of the current subgraph.
  tensor_id input(const std::string& name, const tensor_type& type, const quantization& q = {}) {
    return graph_->inputs.emplace_back(tensor(name, type, q));
  }
  /// Makes a tensor an output of the current subgraph.
  void output(tensor_id t) { graph_->outputs.push_back(t); }

  /// Adds a constant. `key` identifies its contents across subgraphs. On first use, the bytes of `source` are read: at
  /// once if they are few, otherwise whenever the file is written.
  tensor_id constant(const std::string& name, const std::string& key, const tensor_type& type,
                     const byte_source& source, const quantization& q = {}) {
    const auto [at, added] = constants_.try_emplace(key);
    if (added) at->second = add(name, type, stored(key, type, source), q);
    return at->second;
  }
  /// Adds an int32 [n] constant, the form of shapes, axes and the like.
  tensor_id ints(const std::vector<std::int32_t>& values) {
    std::string name = "ints";
    for (const std::int32_t v : values) name.append("_").append(std::to_string(v));
    return constant(name, name, {dtype::i32, {static_cast<std::int64_t>(values.size())}},
                    [values](const byte_sink& sink) { sink(std::as_bytes(std::span(values))); });
  }

  /// Appends an operator; `options` is its options table of the object API, or empty.
  template <class... Options>
  void node(schema::BuiltinOperator code, const std::vector<tensor_id>& inputs, const std::vector<tensor_id>& outputs,
            const Options&... options) {
    auto& n = *graph_->operators.emplace_back(std::make_unique<schema::OperatorT>());
    n.opcode_index = opcode(code);
    n.inputs = inputs;
    n.outputs = outputs;
    (n.builtin_options.Set(Options(options)), ...);
  }

  /// Adds a signature: names for the inputs and outputs of the current subgraph.
  void signature(const named_tensors& inputs, const named_tensors& outputs) {
    auto& s = *model_.signature_defs.emplace_back(std::make_unique<schema::SignatureDefT>());
    s.signature_key = graph_->name;
    s.subgraph_index = static_cast<std::uint32_t>(model_.subgraphs.size() - 1);
    const auto fill = [](auto& to, const named_tensors& from) {
      for (const auto& [name, tensor] : from) {
        auto& entry = *to.emplace_back(std::make_unique<schema::TensorMapT>());
        entry.name = name;
        entry.tensor_index = static_cast<std::uint32_t>(tensor);
      }
    };
    fill(s.inputs, inputs);
    fill(s.outputs, outputs);
  }

  /// Tensor `t` of the current subgraph.
  schema::TensorT& at(tensor_id t) { return *graph_->tensors[static_cast<std::size_t>(t)]; }
  /// The model in the object API.
  const schema::ModelT& model() const { return model_; }
  file_format reader() const { return flavour_; }  ///< The variant that the file is written for.
  /// True if the file leaves the extent open.
  bool is_dynamic(const dim& d) const { return dynamic_ && d.named(); }

  /// Writes the file: the tables, then the bytes of large constants, each aligned to 16. Tables refer to them by
  /// FlatBuffers offsets, which reach 2 GB; beyond that, or if `external` is set, by Buffer.offset and .size.
  void write(output_file& file, bool external = false) {
    if (!external && !lay_out(false)) external = true;
    if (external) lay_out(true);
    file.write(head());
    for (const blob& b : blobs_) {
      file.pad_to(alignment);
      if (!external) {  // a FlatBuffers vector is preceded by its length
        const std::array<std::uint32_t, alignment / 4> length{0, 0, 0, static_cast<std::uint32_t>(b.bytes)};
        file.write(std::as_bytes(std::span(length)));
      }
      const std::uint64_t begin = file.position();
      file.begin(b.key);
      if (file.takes_bytes())
        b.source([&](std::span<const std::byte> piece) { file.write(piece); });
      else
        file.skip(b.bytes);
      file.begin("");
      if (const std::uint64_t count = file.position() - begin; count != b.bytes)
        throw error(file.name() + ": tensor '" + b.key + "': expected " + std::to_string(b.bytes) + " bytes, found " +
                    std::to_string(count));
    }
    file.pad_to(alignment);
  }

 private:
  static constexpr std::size_t alignment = 16;
  static constexpr std::size_t inline_limit = 1024;

  /// A constant that is stored after the tables.
  struct blob {
    std::string key;
    std::uint32_t buffer = 0;
    std::uint64_t bytes = 0;
    byte_source source;
  };

  schema::BufferT& buffer() { return *model_.buffers.emplace_back(std::make_unique<schema::BufferT>()); }

  tensor_id add(const std::string& name, const tensor_type& type, std::uint32_t buffer, const quantization& q) {
    auto& t = *graph_->tensors.emplace_back(std::make_unique<schema::TensorT>());
    int& twins = names_[name];
    t.name = twins == 0 ? name : name + '_' + std::to_string(twins);
    ++twins;
    t.type = element_type(type.type, flavour_);
    t.buffer = buffer;
    bool any = false;
    for (const dim& d : type.dims) {
      any = any || is_dynamic(d);
      t.shape.push_back(is_dynamic(d) ? 1 : static_cast<std::int32_t>(d.extent));
      t.shape_signature.push_back(is_dynamic(d) ? -1 : t.shape.back());
    }
    if (!any) t.shape_signature.clear();
    if (!q.scales.empty()) {
      t.quantization = std::make_unique<schema::QuantizationParametersT>();
      t.quantization->scale = q.scales;
      t.quantization->zero_point.assign(q.zero_points.begin(), q.zero_points.end());
    }
    return static_cast<tensor_id>(graph_->tensors.size() - 1);
  }

  std::uint32_t stored(const std::string& key, const tensor_type& type, const byte_source& source) {
    const auto [at, added] = buffers_.try_emplace(key, static_cast<std::uint32_t>(model_.buffers.size()));
    if (!added) return at->second;
    schema::BufferT& b = buffer();
    const std::size_t bytes = byte_size(type.type, static_cast<std::size_t>(type.dims.elements()));
    if (bytes >= inline_limit)
      blobs_.push_back({key, at->second, bytes, source});
    else
      source([&](std::span<const std::byte> piece) {
        const auto* first = reinterpret_cast<const std::uint8_t*>(piece.data());
        b.data.insert(b.data.end(), first, first + piece.size());
      });
    return at->second;
  }

  std::uint32_t opcode(schema::BuiltinOperator code) {
    const auto [at, added] = opcodes_.try_emplace(code, static_cast<std::uint32_t>(model_.operator_codes.size()));
    if (added) {
      auto& entry = *model_.operator_codes.emplace_back(std::make_unique<schema::OperatorCodeT>());
      entry.deprecated_builtin_code = static_cast<std::int8_t>(std::min(127, static_cast<int>(code)));
      entry.builtin_code = code;
    }
    return at->second;
  }

  std::span<const std::byte> head() const {
    return {reinterpret_cast<const std::byte*>(head_.GetBufferPointer()), head_.GetSize()};
  }

  /// Serializes the tables and writes the positions of the blobs into them; false if those are out of reach of inline
  /// offsets.
  bool lay_out(bool external) {
    for (const blob& b : blobs_) {  // values other than the default, so that the fields are stored
      schema::BufferT& buffer = *model_.buffers[b.buffer];
      buffer.data.assign(external ? 0 : 1, 0);
      buffer.offset = buffer.size = external ? 1 : 0;
    }
    head_.Clear();
    head_.Finish(schema::Model::Pack(head_, &model_), identifier(flavour_));
    std::uint8_t* const start = head_.GetBufferPointer();
    auto& buffers = *schema::GetMutableModel(start)->mutable_buffers();
    const auto aligned = [](std::uint64_t n) { return (n + alignment - 1) / alignment * alignment; };
    std::uint64_t end = head_.GetSize();
    for (const blob& b : blobs_) {
      schema::Buffer& buffer = *buffers.GetMutableObject(b.buffer);
      const std::uint64_t begin = aligned(end) + (external ? 0 : alignment);
      end = begin + b.bytes;
      if (external) {
        buffer.mutate_offset(begin);
        buffer.mutate_size(b.bytes);
      } else if (aligned(end) < FLATBUFFERS_MAX_BUFFER_SIZE) {
        std::uint8_t* const field = reinterpret_cast<flatbuffers::Table&>(buffer).GetAddressOf(schema::Buffer::VT_DATA);
        const std::uint64_t length_at = begin - sizeof(flatbuffers::uoffset_t);
        flatbuffers::WriteScalar(
            field, static_cast<flatbuffers::uoffset_t>(length_at - static_cast<std::uint64_t>(field - start)));
      } else {
        return false;
      }
    }
    return true;
  }

  file_format flavour_;
  bool dynamic_;
  schema::ModelT model_;
  flatbuffers::FlatBufferBuilder head_;
  std::vector<blob> blobs_;
  std::map<std::string, std::uint32_t> buffers_;
  std::map<schema::BuiltinOperator, std::uint32_t> opcodes_;

  // Of the current subgraph.
  schema::SubGraphT* graph_ = nullptr;
  std::map<std::string, tensor_id> constants_;
  std::map<std::string, int> names_;
};

}  // namespace qwq::to_circle
