// SPDX-License-Identifier: Apache-2.0
// Defines `check_file`, which verifies a complete ONNX file before it is renamed.
#pragma once

#include <climits>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>
#include <set>
#include <span>
#include <string>

#include <onnx/onnx_pb.h>

#include "qwq/core/error.hpp"
#include "qwq/emit/onnx/onnx_model_builder.hpp"

namespace qwq::to_onnx {

namespace detail {

/// Bits of one element; 0 for a type that qwq does not write.
constexpr std::uint64_t element_bits(std::int32_t type) {
  for (int i = 0; i <= static_cast<int>(dtype::i64); ++i)
    if (element_type(static_cast<dtype>(i)) == type) return static_cast<std::uint64_t>(bits(static_cast<dtype>(i)));
  return 0;
}

/// Checks one file. Every violation throws `error` with its location.
class file_check {
 public:
  file_check(const ::onnx::ModelProto& model, const std::string& name, const std::string& data,
             std::uint64_t data_bytes)
      : model_(model), name_(name), data_(data), data_bytes_(data_bytes), place_(name) {}

  void run() {
    const ::onnx::GraphProto& g = model_.graph();
    std::set<std::string> unused;
    for (const auto& opset : model_.opset_import())
      expect(unused.insert(opset.domain()).second, "an opset to be imported once");
    const std::set<std::string> imported = unused;
    for (const auto& i : g.input()) define(i.name(), "input");
    for (const auto& t : g.initializer()) {
      define(t.name(), "initializer");
      tensor(t);
    }
    for (const auto& n : g.node()) {
      place_ = name_ + ": node '" + n.name() + "'";
      expect(imported.contains(n.domain()), "its opset to be imported");
      unused.erase(n.domain());
      for (const std::string& x : n.input()) expect(x.empty() || known_.contains(x), "inputs that are made before it");
      for (const std::string& y : n.output()) define(y, "node '" + n.name() + "': output");
    }
    place_ = name_;
    expect(unused.empty(), "no opset to be imported that nodes do not use");
    expect(g.output_size() > 0, "an output");
    for (const auto& o : g.output()) expect(known_.contains(o.name()), "output '" + o.name() + "' to be made");
  }

 private:
  void expect(bool holds, std::string_view what) const {
    if (!holds) throw error(place_ + ": expected " + std::string(what));
  }

  void define(const std::string& value, const std::string& what) {
    place_ = name_ + ": " + what + " '" + value + "'";
    expect(!value.empty() && known_.insert(value).second, "a name of its own");
  }

  void tensor(const ::onnx::TensorProto& t) {
    std::uint64_t elements = 1;
    for (const std::int64_t d : t.dims()) {
      expect(d >= 0, "extents that are not negative");
      elements *= static_cast<std::uint64_t>(d);
    }
    const std::uint64_t width = element_bits(t.data_type());
    expect(width > 0, "an element type that is written here");
    const std::uint64_t bytes = (elements * width + 7) / 8;
    if (t.data_location() != ::onnx::TensorProto::EXTERNAL)
      return expect(t.raw_data().size() == bytes, "as many bytes as the shape says");
    std::map<std::string, std::string> at;
    for (const auto& e : t.external_data()) at[e.key()] = e.value();
    expect(at["location"] == data_, "its data in the file beside the model");
    const std::uint64_t offset = std::stoull("0" + at["offset"]), length = std::stoull("0" + at["length"]);
    expect(length == bytes, "as many bytes as the shape says");
    expect(offset % 64 == 0 && length <= data_bytes_ && offset <= data_bytes_ - length,
           "its data at a multiple of 64 inside of the file");
    const auto after = placed_.lower_bound(offset);
    expect(after == placed_.end() || after->first == offset || offset + length <= after->first,
           "no data that overlaps");
    expect(after == placed_.begin() || std::prev(after)->second <= offset, "no data that overlaps");
    placed_[offset] = offset + length;
  }

  const ::onnx::ModelProto& model_;
  const std::string &name_, &data_;
  std::uint64_t data_bytes_;
  std::string place_;
  std::set<std::string> known_;
  std::map<std::uint64_t, std::uint64_t> placed_;  ///< Begin -> end.
};

}  // namespace detail

/// Throws `error`, starting with `name`, unless `file` is a valid model whose large constants are in a file `data` of
/// `data_bytes` bytes.
inline void check_file(std::span<const std::byte> file, const std::string& name, const std::string& data,
                       std::uint64_t data_bytes) {
  ::onnx::ModelProto model;
  if (file.size() > INT_MAX || !model.ParseFromArray(file.data(), static_cast<int>(file.size())))
    throw error(name + ": expected an ONNX model");
  detail::file_check(model, name, data, data_bytes).run();
}

}  // namespace qwq::to_onnx
