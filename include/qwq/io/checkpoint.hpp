// SPDX-License-Identifier: Apache-2.0
// A checkpoint folder: one safetensors file, or shards and their index.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwq/core/error.hpp"
#include "qwq/io/json_reader.hpp"
#include "qwq/io/mapped_file.hpp"
#include "qwq/io/presence.hpp"
#include "qwq/io/quote.hpp"
#include "qwq/io/safetensors.hpp"

namespace qwq {

/// The tensors of a Hugging Face checkpoint folder, mapped, not loaded. Moving keeps every address.
class checkpoint {
 public:
  /// Opens `folder`/model.safetensors, or else the shards that `folder`/model.safetensors.index.json names. With an
  /// index, a tensor is where the weight_map says; tensors that it does not name are not part of the checkpoint.
  /// Throws `error` when neither is there, or a file or the index is not sound.
  static checkpoint open(const std::filesystem::path& folder) {
    checkpoint result(folder.string());
    const auto single = folder / "model.safetensors";
    const auto index = folder / "model.safetensors.index.json";
    if (detail::is_present(single)) {
      const auto& file = result.files_.emplace_back(single);
      for (const auto& tensor : file.tensors()) result.tensors_.emplace(tensor.name, &tensor);
    } else if (detail::is_present(index)) {
      result.open_shards(folder, index);
    } else {
      throw error(result.folder_ + ": expected model.safetensors or model.safetensors.index.json, found neither");
    }
    return result;
  }

  /// The folder that it was opened from.
  const std::string& folder() const { return folder_; }

  /// The tensor, or null.
  const tensor_info* find(std::string_view name) const {
    const auto at = tensors_.find(name);
    return at == tensors_.end() ? nullptr : at->second;
  }
  /// The tensor; throws `error` naming it and the folder when it is missing.
  const tensor_info& at(std::string_view name) const {
    if (const auto* tensor = find(name)) return *tensor;
    throw error(folder_ + ": tensor " + detail::quote(name) + ": missing");
  }
  /// The tensor; throws `error` when it is missing or has another shape.
  const tensor_info& at(std::string_view name, std::span<const std::int64_t> shape) const {
    const auto& tensor = at(name);
    if (!std::ranges::equal(tensor.shape, shape))
      throw error(std::string(tensor.file) + ": tensor " + detail::quote(name) + ": expected shape " +
                  detail::to_string(shape) + ", found " + detail::to_string(tensor.shape));
    return tensor;
  }
  /// Every name, sorted.
  std::vector<std::string_view> names() const {
    std::vector<std::string_view> result;
    for (const auto& [name, tensor] : tensors_) result.push_back(name);
    return result;
  }

  /// Hint: `tensor` is about to be read from front to back.
  void sequential(const tensor_info& tensor) const {
    for (const auto& file : files_) file.file().sequential(tensor.span());
  }
  /// Hint: `tensor` is not needed any more; its pages leave memory and are read again if touched.
  void release(const tensor_info& tensor) const {
    for (const auto& file : files_) file.file().release(tensor.span());
  }

 private:
  explicit checkpoint(std::string folder) : folder_(std::move(folder)) {}

  void open_shards(const std::filesystem::path& folder, const std::filesystem::path& index) {
    const mapped_file text(index);
    const std::string where = index.string();
    std::map<std::string, std::vector<std::string>> shards;  // file name: its tensors
    const auto refuse = [&](const std::string& field, const char* expected, const std::string& found) {
      throw error(where + ": " + field + "expected " + expected + ", found " + found);
    };
    detail::json_reader reader(text.text(), where);
    const auto read_map = [&] {
      if (reader.peek() != '{') refuse("weight_map: ", "an object", reader.found());
      reader.object([&](const std::string& name) {
        const bool is_text = reader.peek() == '"';
        const std::string file = is_text ? reader.string() : reader.found();
        if (!is_text || !plain_file_name(file))
          refuse("weight_map." + detail::printable(name) + ": ", "a plain file name ending in .safetensors",
                 is_text ? detail::quote(file) : file);
        shards[file].push_back(name);
      });
      if (shards.empty()) refuse("weight_map: ", "at least one tensor", "none");
    };
    if (reader.peek() != '{') refuse("", "a JSON object", reader.found());
    reader.object([&](const std::string& key) {
      if (key == "weight_map")
        read_map();
      else
        reader.skip();
    });
    reader.end();
    if (shards.empty()) refuse("weight_map: ", "an object", "null");
    files_.reserve(shards.size());
    for (const auto& [file, names] : shards) {
      const auto& shard = files_.emplace_back(folder / file);
      for (const auto& name : names) tensors_.emplace(name, &shard.at(name));
    }
  }

  /// The index must not lead out of the folder.
  static bool plain_file_name(std::string_view name) {
    return name.ends_with(".safetensors") && name.find_first_of(std::string_view{"/\\\0", 3}) == name.npos;
  }

  std::string folder_;
  std::vector<safetensors_file> files_;
  std::map<std::string, const tensor_info*, std::less<>> tensors_;
};

}  // namespace qwq
