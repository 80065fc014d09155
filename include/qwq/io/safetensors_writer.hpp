// SPDX-License-Identifier: Apache-2.0
// Defines `safetensors_writer`, which writes a safetensors file one tensor at a time.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwq/core/dtype.hpp"
#include "qwq/core/error.hpp"
#include "qwq/core/quote.hpp"
#include "qwq/core/utf8.hpp"
#include "qwq/io/atomic_file.hpp"
#include "qwq/io/safetensors.hpp"

namespace qwq {

/// Streams a safetensors file: declare every tensor, write the data of each in that order, commit. Only names and
/// shapes are kept in memory. The file lists and stores the tensors in the order of the declarations, without gaps,
/// from an offset that is a multiple of 8: declare wide element types first if alignment matters. Equal calls write
/// equal bytes. Throws `error`, with file and tensor, if a call does not match the declarations (then nothing changes)
/// or writing fails.
class safetensors_writer {
 public:
  /// Begins a file; `commit` creates it as `target`.
  explicit safetensors_writer(const std::filesystem::path& target,
                              const std::map<std::string, std::string>& metadata = {})
      : file_(target) {
    for (const auto& [key, value] : metadata) {
      header_ += header_.empty() ? "\"__metadata__\":{" : ",";
      header_ += json_string("__metadata__", key) + ':' + json_string("__metadata__", value);
    }
    if (!metadata.empty()) header_ += '}';
  }

  /// Declares a tensor. The format has no dtype for 4-bit codes: store them packed, as u8.
  void declare(const std::string& name, dtype type, const std::vector<std::int64_t>& shape) {
    if (started_) throw fail(name, "expected every declaration before the first write");
    const auto known = std::ranges::find(detail::safetensors_dtypes, type, &detail::safetensors_dtype::type);
    if (known == std::ranges::end(detail::safetensors_dtypes))
      throw fail(name, "expected a dtype of the format, found " + std::string(qwq::name(type)));
    std::size_t bytes = 0, end = 0;
    if (!detail::byte_count(type, shape, bytes) || __builtin_add_overflow(offset_, bytes, &end))
      throw fail(name, "expected dimensions >= 0 and a size that fits 64 bits, found " + detail::to_string(shape));
    std::string dims;
    for (const std::int64_t dim : shape) dims += (dims.empty() ? "" : ",") + std::to_string(dim);
    const std::string entry = json_string(name, name) + ":{\"dtype\":\"" + std::string(known->name) + "\",\"shape\":[" +
                              dims + "],\"data_offsets\":[" + std::to_string(offset_) + ',' + std::to_string(end) +
                              "]}";
    if (name == "__metadata__" || !names_.insert(name).second) throw fail(name, "expected a new name, found it in use");
    if (!header_.empty()) header_ += ',';
    header_ += entry;
    declared_.push_back({name, bytes});
    offset_ = end;
  }

  /// Writes all data of the next declared tensor, which must be `name`.
  void write(std::string_view name, std::span<const std::byte> bytes) {
    start();
    if (written_ == declared_.size() || declared_[written_].name != name)
      throw fail(name, written_ == declared_.size() ? "expected no more tensors"
                                                    : "expected " + detail::quote(declared_[written_].name) + " next");
    if (bytes.size() != declared_[written_].bytes)
      throw fail(name, "expected " + std::to_string(declared_[written_].bytes) + " bytes, found " +
                           std::to_string(bytes.size()));
    file_.write(bytes);
    ++written_;
  }

  /// Completes the file; every declared tensor must have been written.
  void commit() {
    start();
    if (written_ < declared_.size()) throw fail(declared_[written_].name, "declared but not written");
    file_.commit();
  }

 private:
  struct entry {
    std::string name;
    std::size_t bytes;
  };

  error fail(std::string_view name, const std::string& what) const {
    return error(file_.name() + ": tensor " + detail::quote(name) + ": " + what);
  }

  /// `value`, which must be UTF-8, as JSON text. `name` is the tensor that it belongs to.
  std::string json_string(std::string_view name, std::string_view value) const {
    constexpr std::string_view hex = "0123456789abcdef";
    std::string out = "\"";
    for (std::size_t at = 0; at < value.size();) {
      const std::string_view rest = value.substr(at);
      const detail::utf8_step step = detail::read_utf8(rest);
      if (!detail::is_well_formed(step, rest)) throw fail(name, "expected UTF-8 text, found something else");
      if (step.code_point < 0x20)
        out.append("\\u00").append(1, hex[step.code_point >> 4]).append(1, hex[step.code_point & 15]);
      else
        out.append(rest.front() == '"' || rest.front() == '\\' ? "\\" : "").append(rest.substr(0, step.length));
      at += step.length;
    }
    return out + '"';
  }

  void start() {
    if (std::exchange(started_, true)) return;
    std::string text = '{' + header_ + '}';
    text.resize((text.size() + 7) / 8 * 8, ' ');
    if (text.size() > detail::safetensors_header_limit)
      throw error(file_.name() + ": header: expected at most " + std::to_string(detail::safetensors_header_limit) +
                  " bytes, found " + std::to_string(text.size()));
    const std::uint64_t length = text.size();
    file_.write(std::as_bytes(std::span{&length, 1}));
    file_.write(text);
  }

  atomic_file file_;
  std::string header_;  // without the outer braces
  std::set<std::string> names_;
  std::vector<entry> declared_;
  std::size_t offset_ = 0;
  std::size_t written_ = 0;
  bool started_ = false;
};

/// Writes `tensors`, in the given order, as the complete contents of `target`.
inline void write_safetensors(const std::filesystem::path& target, std::span<const tensor_info> tensors,
                              const std::map<std::string, std::string>& metadata = {}) {
  safetensors_writer writer(target, metadata);
  for (const auto& tensor : tensors) writer.declare(tensor.name, tensor.type, tensor.shape);
  for (const auto& tensor : tensors) writer.write(tensor.name, tensor.span());
  writer.commit();
}

}  // namespace qwq
