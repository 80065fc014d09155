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
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwq/core/dtype.hpp"
#include "qwq/core/error.hpp"
#include "qwq/io/json.hpp"
#include "qwq/io/json_place.hpp"
#include "qwq/io/mapped_file.hpp"

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
inline tensor_info parse_tensor(const std::string& name, const json& value, std::span<const std::byte> data,
                                std::string_view file) {
  const std::string where = std::string(file) + ": tensor " + quote(name);
  if (!value.is_object()) throw error(where + ": expected an object, found " + describe(value));
  const json_place entry = json_place::root(value, where);
  tensor_info tensor{.name = name, .shape = {}, .file = file};
  const json_place type = entry["dtype"];
  const auto known = std::ranges::find_if(safetensors_dtypes, [&](const auto& d) { return *type == d.name; });
  if (known == std::ranges::end(safetensors_dtypes)) type.refuse("F32, F16, BF16, I64, I32, I16, U16, I8, U8 or BOOL");
  tensor.type = known->type;

  const json_place shape = entry["shape"];
  for (const json& dim : shape.list()) {
    if (!dim.is_number_unsigned() || dim.get<std::uint64_t>() > INT64_MAX)
      throw error(shape.where() + ": expected dimensions >= 0, found " + describe(dim));
    tensor.shape.push_back(dim.get<std::int64_t>());
  }
  if (!byte_count(tensor.type, tensor.shape, tensor.bytes))
    throw error(shape.where() + ": expected a size that fits 64 bits, found " + printable(to_string(tensor.shape)));

  const json_place offsets = entry["data_offsets"];
  const json& range = offsets.list();
  if (range.size() != 2 || !range[0].is_number_unsigned() || !range[1].is_number_unsigned())
    throw error(offsets.where() + ": expected [begin, end], found " + printable(range.dump()));
  const auto begin = range[0].get<std::uint64_t>();
  const auto end = range[1].get<std::uint64_t>();
  if (begin > end || end > data.size())
    throw error(offsets.where() + ": expected begin <= end <= " + std::to_string(data.size()) + ", found " +
                range.dump());
  if (end - begin != tensor.bytes)
    throw error(offsets.where() + ": expected " + std::to_string(tensor.bytes) + " bytes for " +
                std::string(qwq::name(tensor.type)) + ' ' + printable(to_string(tensor.shape)) + ", found " +
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
  const detail::json header = detail::parse_object(text, where + ": header");
  for (const auto& [name, entry] : header.items()) {  // sorted by name
    if (name != "__metadata__") {
      content.tensors.push_back(detail::parse_tensor(name, entry, data, file));
      continue;
    }
    if (!entry.is_object()) throw error(where + ": __metadata__: expected an object, found " + detail::describe(entry));
    for (const auto& [key, value] : entry.items()) {
      if (!value.is_string())
        throw error(where + ": __metadata__: " + detail::quote(key) + ": expected a string, found " +
                    detail::describe(value));
      content.metadata.emplace(key, value.get<std::string>());
    }
  }

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

/// Widens (or copies) the elements of a float tensor into `out`, which has one float per element.
/// Throws `error` when the tensor is not f32, f16 or bf16, or `out` has another size.
inline void to_f32(const tensor_info& tensor, std::span<float> out) {
  const std::string where = std::string(tensor.file) + ": tensor " + detail::quote(tensor.name);
  if (!is_float(tensor.type))
    throw error(where + ": expected f32, f16 or bf16, found " + std::string(name(tensor.type)));
  if (out.size() != tensor.size())
    throw error(where + ": expected " + std::to_string(out.size()) + " elements, found " +
                std::to_string(tensor.size()));
  const auto widen = [&]<class T>(T) {
    for (std::size_t i = 0; i < out.size(); ++i) {
      T element;
      std::memcpy(&element, tensor.data + i * sizeof element, sizeof element);
      out[i] = static_cast<float>(element);
    }
  };
  if (tensor.type == dtype::f32) widen(float{});
  if (tensor.type == dtype::f16) widen(float16{});
  if (tensor.type == dtype::bf16) widen(bfloat16{});
}

}  // namespace qwq
