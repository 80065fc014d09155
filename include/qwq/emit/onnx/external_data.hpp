// SPDX-License-Identifier: Apache-2.0
// Defines `external_data`, the file that holds the bytes of large constants for all models of a folder.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>

#include "qwq/core/error.hpp"
#include "qwq/emit/constant_source.hpp"
#include "qwq/io/output_file.hpp"

namespace qwq::to_onnx {

using namespace to_file;

/// Position of a tensor in the data file, in bytes.
struct data_range {
  std::uint64_t offset = 0,  ///< Offset of the first byte.
      bytes = 0;             ///< Number of bytes.
};

/// Appends tensors to a file, each once, even if several models of the folder use it.
class external_data {
 public:
  /// `location`: name of the file, as models refer to it.
  external_data(output_file& file, std::string location) : file_(file), location_(std::move(location)) {}

  /// Name of the file, as models refer to it.
  const std::string& location() const { return location_; }
  /// Bytes written so far.
  std::uint64_t size() const { return file_.position(); }

  /// Returns the position of tensor `key`; on first use, writes the bytes of `source`. Equal keys mean equal bytes.
  /// Tensors of more than 1 MB are aligned to a page, so that runtimes can map them; others to 64 bytes, a cache line.
  data_range put(const std::string& key, std::uint64_t bytes, const byte_source& source) {
    const auto [at, added] = stored_.try_emplace(key);
    if (added) {
      file_.pad_to(bytes > (1u << 20) ? 4096 : 64);
      at->second.offset = file_.position();
      file_.begin(key);
      if (file_.takes_bytes())
        source([this](std::span<const std::byte> piece) { file_.write(piece); });
      else
        file_.skip(bytes);
      file_.begin("");
      at->second.bytes = file_.position() - at->second.offset;
    }
    if (at->second.bytes != bytes)
      throw error(file_.name() + ": tensor '" + key + "': expected " + std::to_string(bytes) + " bytes, found " +
                  std::to_string(at->second.bytes));
    return at->second;
  }

 private:
  output_file& file_;
  std::string location_;
  std::map<std::string, data_range> stored_;
};

}  // namespace qwq::to_onnx
