// SPDX-License-Identifier: Apache-2.0
// A reader of Circle and TFLite files that shares nothing with what writes them: it walks FlatBuffers' tables by the
// field numbers of the format. Every access is checked against the end of the file.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace circle_reader {

using bytes = std::span<const std::byte>;

/// A little-endian number at a place of the file.
template <class T>
T number(bytes file, std::uint64_t at) {
  if (at > file.size() || file.size() - at < sizeof(T)) throw std::out_of_range("a number behind the end of the file");
  T value;
  std::memcpy(&value, file.data() + at, sizeof(T));
  return value;
}

/// A table: a signed distance back to its vtable, which holds the distance of every field.
struct table {
  bytes file;
  std::uint64_t at = 0;

  /// Place of field `id`; 0 when it is absent.
  std::uint64_t field(unsigned id) const {
    const std::uint64_t vtable = at - static_cast<std::uint64_t>(std::int64_t{number<std::int32_t>(file, at)});
    const unsigned entry = 4 + 2 * id;
    if (entry >= number<std::uint16_t>(file, vtable)) return 0;
    const std::uint64_t distance = number<std::uint16_t>(file, vtable + entry);
    return distance == 0 ? 0 : at + distance;
  }
  bool has(unsigned id) const { return field(id) != 0; }
  template <class T>
  T scalar(unsigned id, T by_default = 0) const {
    return has(id) ? number<T>(file, field(id)) : by_default;
  }
  /// Where the offset in field `id` leads.
  std::uint64_t target(unsigned id) const { return field(id) + number<std::uint32_t>(file, field(id)); }
  table sub(unsigned id) const { return {file, target(id)}; }

  template <class T>
  std::vector<T> numbers(unsigned id) const {
    std::vector<T> out;
    if (!has(id)) return out;
    const std::uint64_t first = target(id);
    for (std::uint32_t i = 0; i < number<std::uint32_t>(file, first); ++i)
      out.push_back(number<T>(file, first + 4 + i * sizeof(T)));
    return out;
  }
  std::vector<table> tables(unsigned id) const {
    std::vector<table> out;
    if (!has(id)) return out;
    const std::uint64_t first = target(id);
    for (std::uint32_t i = 0; i < number<std::uint32_t>(file, first); ++i) {
      const std::uint64_t entry = first + 4 + i * 4;
      out.push_back({file, entry + number<std::uint32_t>(file, entry)});
    }
    return out;
  }
  /// Bytes of a string or of a vector of bytes.
  std::string_view text(unsigned id) const {
    if (!has(id)) return {};
    const std::uint64_t first = target(id), size = number<std::uint32_t>(file, first);
    if (first + 4 > file.size() || size > file.size() - first - 4) throw std::out_of_range("bytes behind the end");
    return {reinterpret_cast<const char*>(file.data()) + first + 4, static_cast<std::size_t>(size)};
  }
};

struct buffer {
  std::string_view data;     // inside or outside of the tables
  std::uint64_t offset = 0;  // from the start of the file
  bool external = false;
};

struct tensor {
  table raw;
  std::string name;
  int type = 0;
  std::vector<std::int32_t> shape, signature;
  std::uint32_t buffer = 0;
  std::vector<float> scales;
  std::vector<std::int64_t> zero_points;
  std::int32_t axis = 0;
};

struct node {
  int code = 0, deprecated_code = 0, tag = 0;
  std::vector<std::int32_t> inputs, outputs;
  table options;  // at 0 when there are none
};

struct subgraph {
  std::string name;
  std::vector<tensor> tensors;
  std::vector<std::int32_t> inputs, outputs;
  std::vector<node> nodes;

  const tensor* find(std::string_view wanted) const {
    for (const tensor& t : tensors)
      if (t.name == wanted) return &t;
    return nullptr;
  }
  int count(int code) const {
    int n = 0;
    for (const node& o : nodes) n += o.code == code;
    return n;
  }
};

struct signature {
  std::string key;
  std::uint32_t subgraph = 0;
  std::vector<std::pair<std::string, std::uint32_t>> inputs, outputs;
};

struct model {
  std::string identifier;
  std::uint32_t version = 0;
  std::string description;
  std::vector<buffer> buffers;
  std::vector<subgraph> subgraphs;
  std::vector<signature> signatures;

  std::string_view bytes_of(const tensor& t) const { return buffers.at(t.buffer).data; }
};

inline model read(bytes file) {
  model m;
  m.identifier.assign(reinterpret_cast<const char*>(file.data()) + 4, 4);
  const table root{file, number<std::uint32_t>(file, 0)};
  m.version = root.scalar<std::uint32_t>(0);
  m.description = root.text(3);
  for (const table& b : root.tables(4)) {
    buffer out{b.text(0), b.has(0) ? b.target(0) + 4 : 0, false};
    if (b.scalar<std::uint64_t>(1) > 1) {
      const auto offset = b.scalar<std::uint64_t>(1), size = b.scalar<std::uint64_t>(2);
      if (b.has(0) || offset > file.size() || size > file.size() - offset) throw std::out_of_range("a bad buffer");
      out = {{reinterpret_cast<const char*>(file.data()) + offset, static_cast<std::size_t>(size)}, offset, true};
    }
    m.buffers.push_back(out);
  }
  const std::vector<table> codes = root.tables(1);
  for (const table& g : root.tables(2)) {
    subgraph out;
    out.name = g.text(4);
    for (const table& t : g.tables(0)) {
      tensor x{t,
               std::string(t.text(3)),
               t.scalar<std::int8_t>(1),
               t.numbers<std::int32_t>(0),
               t.numbers<std::int32_t>(7),
               t.scalar<std::uint32_t>(2),
               {},
               {},
               0};
      if (t.has(4)) {
        x.scales = t.sub(4).numbers<float>(2);
        x.zero_points = t.sub(4).numbers<std::int64_t>(3);
        x.axis = t.sub(4).scalar<std::int32_t>(6);
      }
      out.tensors.push_back(x);
    }
    out.inputs = g.numbers<std::int32_t>(1);
    out.outputs = g.numbers<std::int32_t>(2);
    for (const table& n : g.tables(3)) {
      const table& code = codes.at(n.scalar<std::uint32_t>(0));
      node o{code.scalar<std::int32_t>(3), code.scalar<std::int8_t>(0), n.scalar<std::uint8_t>(3),
             n.numbers<std::int32_t>(1),   n.numbers<std::int32_t>(2),  {file, 0}};
      if (code.scalar<std::int32_t>(2, 1) != 1) throw std::runtime_error("an operator of another version");
      if (n.has(4)) o.options = n.sub(4);
      out.nodes.push_back(o);
    }
    m.subgraphs.push_back(out);
  }
  for (const table& s : root.tables(7)) {
    signature out{std::string(s.text(2)), s.scalar<std::uint32_t>(4), {}, {}};
    for (const table& e : s.tables(0)) out.inputs.emplace_back(e.text(0), e.scalar<std::uint32_t>(1));
    for (const table& e : s.tables(1)) out.outputs.emplace_back(e.text(0), e.scalar<std::uint32_t>(1));
    m.signatures.push_back(out);
  }
  return m;
}

}  // namespace circle_reader
