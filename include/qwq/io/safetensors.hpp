// SPDX-License-Identifier: Apache-2.0
// Defines `safetensors_file`, a mapped safetensors file whose header is validated before anything refers to its data.
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
#include "qwq/core/quote.hpp"
#include "qwq/io/json_reader.hpp"
#include "qwq/io/mapped_file.hpp"

namespace qwq {

static_assert(std::endian::native == std::endian::little, "safetensors data is little-endian and used where it lies");

/// One tensor of a file: row-major, not aligned. It points into the mapped file.
struct tensor_info {
  std::string name;                 ///< Name of the tensor.
  dtype type = dtype::f32;          ///< Element type.
  std::vector<std::int64_t> shape;  ///< Extents.
  const std::byte* data = nullptr;  ///< The elements.
  std::size_t bytes = 0;            ///< Size in bytes.
  std::string_view file;            ///< Name of the file, for messages.

  /// The elements as bytes.
  std::span<const std::byte> span() const { return {data, bytes}; }
  /// Number of elements.
  std::size_t size() const { return bytes / static_cast<std::size_t>(bits(type) / 8); }
};

/// A tensor of a dtype that is not supported.
struct unread_tensor {
  std::string name;       ///< Name of the tensor.
  std::string dtype;      ///< The dtype, as spelled in the file.
  std::string_view file;  ///< Name of the file, for messages.
};

/// The contents of one safetensors file. `tensors` and `unread` are sorted by name.
struct safetensors_content {
  std::vector<tensor_info> tensors;             ///< Tensors of supported dtypes.
  std::vector<unread_tensor> unread;            ///< Tensors of other dtypes; they have no entry in `tensors`.
  std::map<std::string, std::string> metadata;  ///< The metadata of the header.
};

namespace detail {

struct safetensors_dtype {
  std::string_view name;
  dtype type;
};
/// BOOL is last: it is read as bytes, and bytes are written as U8.
inline constexpr safetensors_dtype safetensors_dtypes[] = {
    {"F32", dtype::f32}, {"F16", dtype::f16}, {"BF16", dtype::bf16}, {"I64", dtype::i64}, {"I32", dtype::i32},
    {"I16", dtype::i16}, {"U16", dtype::u16}, {"I8", dtype::i8},     {"U8", dtype::u8},   {"BOOL", dtype::u8}};

/// Maximum size of the header in bytes, the reference implementation's limit.
inline constexpr std::uint64_t safetensors_header_limit = 100'000'000;

inline std::string to_string(std::span<const std::int64_t> shape) {
  std::string out = "[";
  for (const auto dim : shape) out += (out.size() > 1 ? ", " : "") + std::to_string(dim);
  return out + "]";
}

/// Computes the size of a tensor in bytes; false if an extent is negative or the size overflows.
inline bool byte_count(dtype type, std::span<const std::int64_t> shape, std::size_t& bytes) {
  bytes = static_cast<std::size_t>(bits(type) / 8);
  for (const auto dim : shape)
    if (dim < 0 || __builtin_mul_overflow(bytes, static_cast<std::size_t>(dim), &bytes)) return false;
  return true;
}

/// The supported dtypes, for messages.
inline constexpr const char* safetensors_dtype_names = "F32, F16, BF16, I64, I32, I16, U16, I8, U8 or BOOL";

/// Throws the error for a tensor that is needed and has an unsupported dtype.
[[noreturn]] inline void refuse_unread(const unread_tensor& tensor) {
  throw error(std::string(tensor.file) + ": tensor " + quote(tensor.name) + ": dtype: expected " +
              safetensors_dtype_names + ", found " + quote(tensor.dtype));
}

/// One entry of the header.
struct safetensors_entry {
  tensor_info tensor;
  std::string unknown_dtype;  ///< Empty if the dtype is supported.
  std::uint64_t begin = 0, end = 0;
};

/// Reads one entry of the header. `data`: size in bytes of the buffer that the offsets refer to; an entry can exceed
/// it.
inline safetensors_entry parse_tensor(const std::string& name, json_reader& header, std::uint64_t data,
                                      std::string_view file) {
  const std::string where = std::string(file) + ": tensor " + quote(name) + ": ";
  const auto refuse = [&](const char* field, const std::string& expected, const std::string& found) {
    throw error(where + field + ": expected " + expected + ", found " + found);
  };
  constexpr const char* types = safetensors_dtype_names;
  if (header.peek() != '{') throw error(where + "expected an object, found " + header.found());

  safetensors_entry entry{.tensor = {.name = name, .shape = {}, .file = file}, .unknown_dtype = {}};
  tensor_info& tensor = entry.tensor;
  bool has_type = false, has_shape = false;
  std::string_view range;  // the offsets, as written in the file
  std::vector<std::optional<std::uint64_t>> offsets;
  header.object([&](const std::string& field) {
    if (field == "dtype") {
      if (header.peek() != '"') refuse("dtype", types, header.found());
      const std::string type = header.string();
      const auto known = std::ranges::find(safetensors_dtypes, type, &safetensors_dtype::name);
      if (known != std::ranges::end(safetensors_dtypes))
        tensor.type = known->type;
      else if (type.empty())
        refuse("dtype", types, quote(type));
      else
        entry.unknown_dtype = type;
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

  const bool has_size = entry.unknown_dtype.empty();
  if (has_size && !byte_count(tensor.type, tensor.shape, tensor.bytes))
    refuse("shape", "a size that fits 64 bits", printable(to_string(tensor.shape)));
  if (offsets.size() != 2 || !offsets[0] || !offsets[1]) refuse("data_offsets", "[begin, end]", printable(range));
  const std::uint64_t begin = entry.begin = *offsets[0], end = entry.end = *offsets[1];
  if (begin > end || end > std::uint64_t{1} << 62)
    refuse("data_offsets", "begin <= end <= " + std::to_string(data), printable(range));
  if (!has_size) tensor.bytes = end - begin;
  if (end - begin != tensor.bytes)
    refuse("data_offsets",
           std::to_string(tensor.bytes) + " bytes for " + std::string(qwq::name(tensor.type)) + ' ' +
               printable(to_string(tensor.shape)),
           std::to_string(end - begin));
  return entry;
}

}  // namespace detail

/// Parses the bytes of a safetensors file; the tensors point into `bytes` and refer to `file`, its name in messages.
/// Format: https://huggingface.co/docs/safetensors/index#format. As specified there, tensors must not overlap, and the
/// byte buffer "needs to be entirely indexed, and cannot contain holes". Throws `error` for anything else. A tensor of
/// an unsupported dtype is not an error: see `safetensors_content::unread`.
inline safetensors_content parse_safetensors(std::span<const std::byte> bytes, std::string_view file) {
  const std::string where(file);
  std::uint64_t length = 0;
  if (bytes.size() < sizeof length)
    throw error(where + ": expected a safetensors file (at least 8 bytes), found " + std::to_string(bytes.size()));
  std::memcpy(&length, bytes.data(), sizeof length);
  const auto refuse_size = [&](const char* least, std::uint64_t expected) {
    throw error(where + ": expected " + least + std::to_string(expected) + " bytes, as its header says, found " +
                std::to_string(bytes.size()));
  };
  const auto limit = std::min<std::uint64_t>(detail::safetensors_header_limit, bytes.size() - sizeof length);
  if (length > detail::safetensors_header_limit)
    throw error(where + ": header length: expected at most " + std::to_string(limit) + " bytes, found " +
                std::to_string(length));
  if (length > limit) refuse_size("at least ", sizeof length + length);
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + sizeof length, length);
  if (!text.starts_with('{'))
    throw error(where + ": header: expected to begin with '{', found " + detail::quote(text.substr(0, 1)));
  const std::span data = bytes.subspan(sizeof length + length);

  safetensors_content content;
  std::vector<detail::safetensors_entry> entries;
  detail::json_reader header(text, where + ": header");
  header.object([&](const std::string& name) {
    if (name != "__metadata__") {
      entries.push_back(detail::parse_tensor(name, header, data.size(), file));
      return;
    }
    if (header.peek() == 'n') return void(header.skip());  // null, the only such value, means absent
    if (header.peek() != '{') throw error(where + ": __metadata__: expected an object, found " + header.found());
    header.object([&](const std::string& key) {
      if (header.peek() != '"')
        throw error(where + ": __metadata__: " + detail::quote(key) + ": expected a string, found " + header.found());
      content.metadata.emplace(key, header.string());
    });
  });
  header.end();
  std::ranges::sort(entries, {}, [](const detail::safetensors_entry& e) { return std::pair(e.begin, e.end); });
  std::uint64_t next = 0;
  for (const auto& e : entries) {
    if (e.begin != next)
      throw error(where + ": tensor " + detail::quote(e.tensor.name) + ": data_offsets: expected to begin at " +
                  std::to_string(next) + ", where the tensor before it ends, found " + std::to_string(e.begin) +
                  (e.begin < next ? " (overlap)" : " (hole)"));
    next = e.end;
  }
  if (next > data.size()) refuse_size("", sizeof length + length + next);
  if (next != data.size())
    throw error(where + ": expected " + std::to_string(next) + " bytes of tensor data, found " +
                std::to_string(data.size()));
  for (auto& e : entries) {
    e.tensor.data = data.data() + e.begin;
    if (e.unknown_dtype.empty())
      content.tensors.push_back(std::move(e.tensor));
    else
      content.unread.push_back({std::move(e.tensor.name), std::move(e.unknown_dtype), file});
  }
  std::ranges::sort(content.tensors, {}, &tensor_info::name);
  std::ranges::sort(content.unread, {}, &unread_tensor::name);
  return content;
}

/// One mapped safetensors file.
class safetensors_file {
 public:
  /// Maps a file and validates its header. Throws `error` if it is not a complete safetensors file.
  explicit safetensors_file(const std::filesystem::path& path)
      : name_(std::make_unique<const std::string>(path.string())),
        file_(path),
        content_(parse_safetensors(file_.bytes(), *name_)) {}

  /// Tensors of supported dtypes, sorted by name.
  const std::vector<tensor_info>& tensors() const { return content_.tensors; }
  /// The metadata of the header.
  const std::map<std::string, std::string>& metadata() const { return content_.metadata; }
  /// The mapped file.
  const mapped_file& file() const { return file_; }
  /// The path that the file was opened with.
  const std::string& name() const { return *name_; }

  /// Tensors of unsupported dtypes, sorted by name.
  const std::vector<unread_tensor>& unread() const { return content_.unread; }

  /// The tensor, or null. Throws `error` if its dtype is not supported.
  const tensor_info* find(std::string_view name) const {
    const auto at = std::ranges::lower_bound(content_.tensors, name, {}, &tensor_info::name);
    if (at != content_.tensors.end() && at->name == name) return &*at;
    for (const unread_tensor& tensor : content_.unread)
      if (tensor.name == name) detail::refuse_unread(tensor);
    return nullptr;
  }
  /// The tensor. Throws `error`, with the tensor and the file, if it is missing.
  const tensor_info& at(std::string_view name) const {
    if (const auto* tensor = find(name)) return *tensor;
    throw error(*name_ + ": tensor " + detail::quote(name) + ": missing");
  }

 private:
  std::unique_ptr<const std::string> name_;  // its address survives a move: tensors refer to it
  mapped_file file_;
  safetensors_content content_;
};

namespace detail {
/// Converts (or copies) `out.size()` elements of a float type, the first of which is at `from`, to f32. They need not
/// be aligned.
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

/// Converts (or copies) the elements of a float tensor to `out`, which has one float per element. Throws `error` if the
/// tensor is not f32, f16 or bf16, or `out` has another size.
inline void to_f32(const tensor_info& tensor, std::span<float> out) {
  const std::string where = std::string(tensor.file) + ": tensor " + detail::quote(tensor.name);
  if (!is_plain_float(tensor.type))
    throw error(where + ": expected f32, f16 or bf16, found " + std::string(name(tensor.type)));
  if (out.size() != tensor.size())
    throw error(where + ": expected " + std::to_string(out.size()) + " elements, found " +
                std::to_string(tensor.size()));
  detail::widen(tensor.type, tensor.data, out);
}

}  // namespace qwq
