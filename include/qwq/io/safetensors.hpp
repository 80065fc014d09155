// SPDX-License-Identifier: Apache-2.0
// Reading safetensors files: the header is checked against the file before anything points into it.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwq/core/dtype.hpp"
#include "qwq/core/error.hpp"
#include "qwq/io/json_reader.hpp"
#include "qwq/io/mapped_file.hpp"
#include "qwq/io/quote.hpp"

namespace qwq {

static_assert(std::endian::native == std::endian::little, "safetensors data is little-endian and used where it lies");

/// One tensor of a file: row-major, not aligned. It points into the file that it came from.
struct tensor_info {
  std::string name;
  dtype type = dtype::f32;
  std::vector<std::int64_t> shape;
  const std::byte* data = nullptr;
  std::size_t bytes = 0;
  std::string_view file;  ///< For messages.

  std::span<const std::byte> span() const { return {data, bytes}; }
  /// Number of elements.
  std::size_t size() const { return bytes / static_cast<std::size_t>(bits(type) / 8); }
};

/// What one safetensors file holds. `tensors` are sorted by name.
struct safetensors_content {
  std::vector<tensor_info> tensors;
  std::map<std::string, std::string> metadata;
};

namespace detail {

struct safetensors_dtype {
  std::string_view name;
  dtype type;
};
/// BOOL comes last: it is read as bytes, and bytes are written as U8.
inline constexpr safetensors_dtype safetensors_dtypes[] = {
    {"F32", dtype::f32}, {"F16", dtype::f16}, {"BF16", dtype::bf16}, {"I64", dtype::i64}, {"I32", dtype::i32},
    {"I16", dtype::i16}, {"U16", dtype::u16}, {"I8", dtype::i8},     {"U8", dtype::u8},   {"BOOL", dtype::u8}};

/// The reference implementation's limit on the header, in bytes.
inline constexpr std::uint64_t safetensors_header_limit = 100'000'000;

inline std::string to_string(std::span<const std::int64_t> shape) {
  std::string out = "[";
  for (const auto dim : shape) out += (out.size() > 1 ? ", " : "") + std::to_string(dim);
  return out + "]";
}

/// Bytes that a tensor takes, or false when a dimension is negative or the product does not fit.
inline bool byte_count(dtype type, std::span<const std::int64_t> shape, std::size_t& bytes) {
  bytes = static_cast<std::size_t>(bits(type) / 8);
  for (const auto dim : shape)
    if (dim < 0 || __builtin_mul_overflow(bytes, static_cast<std::size_t>(dim), &bytes)) return false;
  return true;
}

/// One entry of the header. `data` is the byte buffer that the offsets count from.
inline tensor_info parse_tensor(const std::string& name, json_reader& header, std::span<const std::byte> data,
                                std::string_view file) {
  const std::string where = std::string(file) + ": tensor " + quote(name) + ": ";
  const auto refuse = [&](const char* field, const std::string& expected, const std::string& found) {
    throw error(where + field + ": expected " + expected + ", found " + found);
  };
  constexpr const char* types = "F32, F16, BF16, I64, I32, I16, U16, I8, U8 or BOOL";
  if (header.peek() != '{') throw error(where + "expected an object, found " + header.found());

  tensor_info tensor{.name = name, .shape = {}, .file = file};
  bool has_type = false, has_shape = false;
  std::string_view range;  // the offsets as the file has them
  std::vector<std::optional<std::uint64_t>> offsets;
  header.object([&](const std::string& field) {
    if (field == "dtype") {
      if (header.peek() != '"') refuse("dtype", types, header.found());
      const std::string type = header.string();
      const auto known = std::ranges::find(safetensors_dtypes, type, &safetensors_dtype::name);
      if (known == std::ranges::end(safetensors_dtypes)) refuse("dtype", types, quote(type));
      tensor.type = known->type;
      has_type = true;
    } else if (field == "shape") {
      if (header.peek() != '[') refuse("shape", "a list", header.found());
      header.list([&] {
        json_reader ahead = header;
        const auto dim = unsigned_integer(header.skip());
        if (!dim || *dim > INT64_MAX) refuse("shape", "dimensions >= 0", ahead.found());
        tensor.shape.push_back(static_cast<std::int64_t>(*dim));
      });
      has_shape = true;
    } else if (field == "data_offsets") {
      if (header.peek() != '[') refuse("data_offsets", "a list", header.found());
      json_reader ahead = header;
      range = ahead.skip();
      header.list([&] { offsets.push_back(unsigned_integer(header.skip())); });
    } else {
      header.skip();
    }
  });
  if (!has_type) refuse("dtype", types, "null");
  if (!has_shape) refuse("shape", "a list", "null");
  if (range.empty()) refuse("data_offsets", "a list", "null");

  if (!byte_count(tensor.type, tensor.shape, tensor.bytes))
    refuse("shape", "a size that fits 64 bits", printable(to_string(tensor.shape)));
  if (offsets.size() != 2 || !offsets[0] || !offsets[1])
    refuse("data_offsets", "[begin, end]", printable(range));
  const std::uint64_t begin = *offsets[0], end = *offsets[1];
  if (begin > end || end > data.size())
    refuse("data_offsets", "begin <= end <= " + std::to_string(data.size()), printable(range));
  if (end - begin != tensor.bytes)
    refuse("data_offsets",
           std::to_string(tensor.bytes) + " bytes for " + std::string(qwq::name(tensor.type)) + ' ' +
               printable(to_string(tensor.shape)),
           std::to_string(end - begin));
  tensor.data = data.data() + begin;
  return tensor;
}

}  // namespace detail

/// Parses the bytes of a safetensors file; the tensors point into `bytes` and refer to `file`, its name in messages.
/// Format: https://huggingface.co/docs/safetensors/index#format. As there, tensors must not overlap, and the byte
/// buffer "needs to be entirely indexed, and cannot contain holes". Throws `error` for anything else.
inline safetensors_content parse_safetensors(std::span<const std::byte> bytes, std::string_view file) {
  const std::string where(file);
  std::uint64_t length = 0;
  if (bytes.size() < sizeof length)
    throw error(where + ": expected a safetensors file (at least 8 bytes), found " + std::to_string(bytes.size()));
  std::memcpy(&length, bytes.data(), sizeof length);
  const auto limit = std::min<std::uint64_t>(detail::safetensors_header_limit, bytes.size() - sizeof length);
  if (length > limit)
    throw error(where + ": header length: expected at most " + std::to_string(limit) + " bytes, found " +
                std::to_string(length));
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + sizeof length, length);
  if (!text.starts_with('{'))
    throw error(where + ": header: expected to begin with '{', found " + detail::quote(text.substr(0, 1)));
  const std::span data = bytes.subspan(sizeof length + length);

  safetensors_content content;
  detail::json_reader header(text, where + ": header");
  header.object([&](const std::string& name) {
    if (name != "__metadata__") {
      content.tensors.push_back(detail::parse_tensor(name, header, data, file));
      return;
    }
    if (header.peek() != '{') throw error(where + ": __metadata__: expected an object, found " + header.found());
    header.object([&](const std::string& key) {
      if (header.peek() != '"')
        throw error(where + ": __metadata__: " + detail::quote(key) + ": expected a string, found " + header.found());
      content.metadata.emplace(key, header.string());
    });
  });
  header.end();
  std::ranges::sort(content.tensors, {}, &tensor_info::name);

  std::vector<const tensor_info*> by_place;
  for (const auto& tensor : content.tensors) by_place.push_back(&tensor);
  std::ranges::sort(by_place, {}, [](const tensor_info* t) { return std::pair(t->data, t->bytes); });
  const std::byte* next = data.data();
  for (const tensor_info* tensor : by_place) {
    if (tensor->data != next)
      throw error(where + ": tensor " + detail::quote(tensor->name) + ": data_offsets: expected to begin at " +
                  std::to_string(next - data.data()) + ", where the tensor before it ends, found " +
                  std::to_string(tensor->data - data.data()) + (tensor->data < next ? " (overlap)" : " (hole)"));
    next += tensor->bytes;
  }
  if (next != data.data() + data.size())
    throw error(where + ": expected " + std::to_string(next - data.data()) + " bytes of tensor data, found " +
                std::to_string(data.size()));
  return content;
}

/// One mapped safetensors file.
class safetensors_file {
 public:
  /// Maps a file and checks its header. Throws `error` when it is no whole safetensors file.
  explicit safetensors_file(const std::filesystem::path& path)
      : name_(std::make_unique<const std::string>(path.string())),
        file_(path),
        content_(parse_safetensors(file_.bytes(), *name_)) {}

  /// Sorted by name.
  const std::vector<tensor_info>& tensors() const { return content_.tensors; }
  const std::map<std::string, std::string>& metadata() const { return content_.metadata; }
  const mapped_file& file() const { return file_; }

  /// The tensor, or null.
  const tensor_info* find(std::string_view name) const {
    const auto at = std::ranges::lower_bound(content_.tensors, name, {}, &tensor_info::name);
    return at != content_.tensors.end() && at->name == name ? &*at : nullptr;
  }
  /// The tensor; throws `error` naming it and the file when it is missing.
  const tensor_info& at(std::string_view name) const {
    if (const auto* tensor = find(name)) return *tensor;
    throw error(*name_ + ": tensor " + detail::quote(name) + ": missing");
  }

 private:
  std::unique_ptr<const std::string> name_;  // its address survives a move: the tensors refer to it
  mapped_file file_;
  safetensors_content content_;
};

namespace detail {
/// Widens (or copies) `out.size()` elements of a float type, the first of which is at `from`. They need not be aligned.
inline void widen(dtype type, const std::byte* from, std::span<float> out) {
  const auto each = [&]<class T>(T) {
    for (std::size_t i = 0; i < out.size(); ++i) {
      T element;
      std::memcpy(&element, from + i * sizeof element, sizeof element);
      out[i] = static_cast<float>(element);
    }
  };
  if (type == dtype::f32) each(float{});
  if (type == dtype::f16) each(float16{});
  if (type == dtype::bf16) each(bfloat16{});
}
}  // namespace detail

/// Widens (or copies) the elements of a float tensor into `out`, which has one float per element.
/// Throws `error` when the tensor is not f32, f16 or bf16, or `out` has another size.
inline void to_f32(const tensor_info& tensor, std::span<float> out) {
  const std::string where = std::string(tensor.file) + ": tensor " + detail::quote(tensor.name);
  if (!is_float(tensor.type))
    throw error(where + ": expected f32, f16 or bf16, found " + std::string(name(tensor.type)));
  if (out.size() != tensor.size())
    throw error(where + ": expected " + std::to_string(out.size()) + " elements, found " +
                std::to_string(tensor.size()));
  detail::widen(tensor.type, tensor.data, out);
}

}  // namespace qwq
