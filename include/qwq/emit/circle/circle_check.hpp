// SPDX-License-Identifier: Apache-2.0
// Defines `check_file`, which verifies a complete Circle or TFLite file: the FlatBuffers verifier and semantic checks.
#pragma once

#include <algorithm>
#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "qwq/emit/circle/circle_model_builder.hpp"

namespace qwq::to_circle {

namespace detail {

/// Bits of one element; 0 for a type that qwq does not write.
constexpr std::uint64_t element_bits(schema::TensorType t) {
  for (const file_format f : {file_format::circle, file_format::tflite})
    for (int i = 0; i <= static_cast<int>(dtype::i64); ++i)
      if (element_type(static_cast<dtype>(i), f) == t) return static_cast<std::uint64_t>(bits(static_cast<dtype>(i)));
  return 0;
}

/// The elements of a vector; empty if the vector is absent.
template <class Vector>
std::vector<typename Vector::return_type> items(const Vector* v) {
  if (v == nullptr) return {};
  return {v->begin(), v->end()};
}
template <class Vector>
std::int64_t size(const Vector* v) {
  return v != nullptr ? static_cast<std::int64_t>(v->size()) : 0;
}

/// Checks one file. Every violation throws `error` with its location.
class file_check {
 public:
  file_check(std::span<const std::byte> file, const std::string& name)
      : file_(file), name_(name), place_(name), model_(*schema::GetModel(file.data())) {}

  void run() {
    buffers();
    for (const auto* code : items(model_.operator_codes()))
      expect(code->deprecated_builtin_code() == std::min(127, static_cast<int>(code->builtin_code())),
             "the deprecated code of an operator to be min(127, code)");
    for (const auto* g : items(model_.subgraphs())) subgraph(*g);
    place_ = name_;
    for (const auto* s : items(model_.signature_defs())) signature(*s);
  }

 private:
  void expect(bool holds, const char* what) const {
    if (!holds) throw error(place_ + ": expected " + what);
  }
  void expect_index(std::int64_t i, std::int64_t count, const char* what) const { expect(0 <= i && i < count, what); }

  static bool is_empty(const schema::Buffer& b) { return size(b.data()) == 0 && b.offset() == 0 && b.size() == 0; }

  void buffers() const {
    expect(size(model_.buffers()) > 0 && is_empty(*model_.buffers()->Get(0)), "buffer 0 to be there and empty");
    for (const auto* b : items(model_.buffers())) {
      expect(b->data() == nullptr || b->offset() == 0, "a buffer to be inside or outside, not both");
      expect(b->offset() % 16 == 0 && b->offset() <= file_.size() && b->size() <= file_.size() - b->offset(),
             "a buffer at a multiple of 16 inside of the file");
    }
  }

  void tensor(const schema::Tensor& t) const {
    std::uint64_t elements = 1;
    for (const std::int32_t d : items(t.shape())) {
      expect(d >= 0, "extents that are not negative");
      elements *= static_cast<std::uint64_t>(d);
    }
    if (t.shape_signature() != nullptr) {
      expect(size(t.shape_signature()) == size(t.shape()), "a shape signature of the rank of the shape");
      for (flatbuffers::uoffset_t i = 0; i < t.shape()->size(); ++i) {
        const std::int32_t signed_extent = t.shape_signature()->Get(i);
        expect(signed_extent == -1 || signed_extent == t.shape()->Get(i), "a shape signature of -1 or the extent");
      }
    }
    expect_index(t.buffer(), size(model_.buffers()), "a buffer that is there");
    const std::uint64_t width = element_bits(t.type());
    expect(width > 0, "an element type that is written here");
    if (const schema::Buffer& b = *model_.buffers()->Get(t.buffer()); t.buffer() != 0) {
      const std::uint64_t bytes = b.offset() != 0 ? b.size() : static_cast<std::uint64_t>(size(b.data()));
      expect(bytes == (elements * width + 7) / 8, "as many bytes as the shape says");
    }
    if (const auto* q = t.quantization()) {
      const std::int64_t count = size(q->scale());
      expect(count == size(q->zero_point()), "a zero point for each scale");
      expect(count == 1 || (q->quantized_dimension() == 0 && size(t.shape()) > 0 && count == t.shape()->Get(0)),
             "one scale, or one for each index of axis 0");
    }
  }

  void subgraph(const schema::SubGraph& g) {
    const std::string where = name_ + ": subgraph '" + (g.name() != nullptr ? g.name()->str() : "") + "': ";
    const std::int64_t count = size(g.tensors());
    std::vector<bool> known(static_cast<std::size_t>(count));
    std::set<std::string> names;
    for (std::int64_t i = 0; i < count; ++i) {
      const schema::Tensor& t = *g.tensors()->Get(static_cast<flatbuffers::uoffset_t>(i));
      place_ = where + "tensor '" + (t.name() != nullptr ? t.name()->str() : "") + "'";
      expect(t.name() != nullptr && names.insert(t.name()->str()).second, "a name of its own");
      tensor(t);
      known[static_cast<std::size_t>(i)] = t.buffer() != 0;
    }
    place_ = where + "inputs";
    const auto make = [&](std::int32_t t) {
      expect_index(t, count, "a tensor that is there");
      expect(!known[static_cast<std::size_t>(t)], "a tensor to be made once");
      known[static_cast<std::size_t>(t)] = true;
    };
    const auto read = [&](std::int32_t t) {
      expect_index(t, count, "a tensor that is there");
      expect(known[static_cast<std::size_t>(t)], "a tensor to be made before it is read");
    };
    for (const std::int32_t t : items(g.inputs())) make(t);
    std::size_t at = 0;
    for (const auto* n : items(g.operators())) {
      place_ = where + "operator " + std::to_string(at++);
      expect_index(n->opcode_index(), size(model_.operator_codes()), "an operator code that is there");
      for (const std::int32_t t : items(n->inputs()))
        if (t != no_tensor) read(t);
      for (const std::int32_t t : items(n->outputs())) make(t);
    }
    place_ = where + "outputs";
    expect(size(g.outputs()) > 0, "an output");
    for (const std::int32_t t : items(g.outputs())) read(t);
  }

  void signature(const schema::SignatureDef& s) const {
    expect_index(s.subgraph_index(), size(model_.subgraphs()), "a signature of a subgraph that is there");
    const schema::SubGraph& g = *model_.subgraphs()->Get(s.subgraph_index());
    const auto same = [&](const auto* names, const auto* tensors) {
      std::multiset<std::int64_t> named, real;
      for (const auto* entry : items(names)) named.insert(entry->tensor_index());
      for (const std::int32_t t : items(tensors)) real.insert(t);
      expect(named == real, "a signature that names every input and output");
    };
    same(s.inputs(), g.inputs());
    same(s.outputs(), g.outputs());
  }

  std::span<const std::byte> file_;
  const std::string& name_;
  std::string place_;
  const schema::Model& model_;
};

}  // namespace detail

/// Throws `error`, starting with `name`, unless `file` is one that readers of `f` accept.
inline void check_file(std::span<const std::byte> file, file_format f, const std::string& name) {
  // Only the tables need the verifier; the data after them is not addressed by offsets.
  constexpr std::size_t most = FLATBUFFERS_MAX_BUFFER_SIZE - 1;
  flatbuffers::Verifier verifier(reinterpret_cast<const std::uint8_t*>(file.data()), std::min(file.size(), most));
  if (!verifier.VerifyBuffer<schema::Model>(identifier(f)))
    throw error(name + ": expected sound tables of a " + identifier(f) + " file");
  if (schema::GetModel(file.data())->version() != format_version(f))
    throw error(name + ": expected version " + std::to_string(format_version(f)) + ", found " +
                std::to_string(schema::GetModel(file.data())->version()));
  detail::file_check(file, name).run();
}

/// Number of values of a file, in all subgraphs, without quantization parameters: 0 if the target can compute in
/// integers only. Indices and shapes, which are int32, need none.
inline std::int64_t count_missing_qparams(std::span<const std::byte> file) {
  std::int64_t missing = 0;
  for (const auto* g : detail::items(schema::GetModel(file.data())->subgraphs()))
    for (const auto* t : detail::items(g->tensors()))
      missing += t->type() != schema::TensorType::INT32 && t->quantization() == nullptr;
  return missing;
}

}  // namespace qwq::to_circle
