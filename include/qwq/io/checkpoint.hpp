// SPDX-License-Identifier: Apache-2.0
// Defines `checkpoint`, a checkpoint folder: one safetensors file, or shards and their index.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwq/core/error.hpp"
#include "qwq/core/quote.hpp"
#include "qwq/io/json_reader.hpp"
#include "qwq/io/mapped_file.hpp"
#include "qwq/io/presence.hpp"
#include "qwq/io/safetensors.hpp"

namespace qwq {

/// The tensors of a Hugging Face checkpoint folder, memory-mapped, not loaded. Moving keeps every address.
class checkpoint {
 public:
  /// Opens `folder`/model.safetensors, or else the shards that `folder`/model.safetensors.index.json lists. With an
  /// index, the checkpoint has every tensor of every shard, as in the reference implementation; if several shards have
  /// a tensor of one name, it is the one in the shard that the weight_map gives, or else the last. A tensor of the
  /// weight_map that no shard has is an error only when it is requested. Throws `error` if neither file exists, or if a
  /// file or the index is invalid.
  static checkpoint open(const std::filesystem::path& folder) {
    checkpoint result(folder.string());
    const auto single = folder / "model.safetensors";
    const auto index = folder / "model.safetensors.index.json";
    if (detail::is_present(single)) {
      result.add(result.files_.emplace_back(single), {}, {});
    } else if (detail::is_present(index)) {
      result.open_shards(folder, index);
    } else {
      throw error(result.folder_ + ": expected model.safetensors or model.safetensors.index.json, found neither");
    }
    return result;
  }

  /// The folder that the checkpoint was opened from.
  const std::string& folder() const { return folder_; }

  /// The tensor, or null. Throws `error` if its dtype is not supported.
  const tensor_info* find(std::string_view name) const {
    const auto at = tensors_.find(name);
    if (at == tensors_.end()) return nullptr;
    if (at->second.unread != nullptr) detail::refuse_unread(*at->second.unread);
    return at->second.tensor;
  }
  /// The tensor. Throws `error`, with the tensor and the folder or the shard that should have it, if it is missing.
  const tensor_info& at(std::string_view name) const {
    if (const auto* tensor = find(name)) return *tensor;
    const auto at = missing_.find(name);
    throw error((at == missing_.end() ? folder_ : at->second) + ": tensor " + detail::quote(name) + ": missing");
  }
  /// The tensor. Throws `error` if it is missing or has another shape.
  const tensor_info& at(std::string_view name, std::span<const std::int64_t> shape) const {
    const auto& tensor = at(name);
    if (!std::ranges::equal(tensor.shape, shape))
      throw error(std::string(tensor.file) + ": tensor " + detail::quote(name) + ": expected shape " +
                  detail::to_string(shape) + ", found " + detail::to_string(tensor.shape));
    return tensor;
  }
  /// All names, sorted, including tensors of unsupported dtypes.
  std::vector<std::string_view> names() const {
    std::vector<std::string_view> result;
    for (const auto& [name, at] : tensors_) result.push_back(name);
    return result;
  }

  /// The safetensors files.
  std::vector<std::string> files() const {
    std::vector<std::string> result;
    for (const auto& file : files_) result.push_back(file.name());
    return result;
  }
  /// Throws `error` if one of the files was modified after it was opened.
  void check_unchanged() const {
    for (const auto& file : files_) file.file().check_unchanged();
  }

  /// Hint: `bytes` of a tensor will be read sequentially.
  void sequential(std::span<const std::byte> bytes) const {
    for (const auto& file : files_) file.file().sequential(bytes);
  }
  /// Hint: `tensor` will be read sequentially.
  void sequential(const tensor_info& tensor) const { sequential(tensor.span()); }
  /// Hint: `bytes` of a tensor are no longer needed; their pages are dropped, and read again on access.
  void release(std::span<const std::byte> bytes) const {
    for (const auto& file : files_) file.file().release(bytes);
  }
  /// Hint: `tensor` is no longer needed.
  void release(const tensor_info& tensor) const { release(tensor.span()); }

 private:
  explicit checkpoint(std::string folder) : folder_(std::move(folder)) {}

  /// A tensor that is supported or not: one of the two pointers is null.
  struct place {
    const tensor_info* tensor = nullptr;
    const unread_tensor* unread = nullptr;
  };
  using weight_map = std::map<std::string, std::string, std::less<>>;

  /// Adds the tensors of `file`, named `name` in `places`. Replaces earlier tensors that are not in the file that
  /// `places` gives.
  void add(const safetensors_file& file, const std::string& name, const weight_map& places) {
    const auto put = [&](const std::string& tensor, place value) {
      const auto [at, added] = tensors_.try_emplace(tensor, value);
      if (added) return;
      const auto expected = places.find(tensor);
      if (expected == places.end() || expected->second == name) at->second = value;
    };
    for (const auto& tensor : file.tensors()) put(tensor.name, {.tensor = &tensor});
    for (const auto& tensor : file.unread()) put(tensor.name, {.unread = &tensor});
  }

  void open_shards(const std::filesystem::path& folder, const std::filesystem::path& index) {
    const mapped_file text(index);
    const std::string where = index.string();
    std::set<std::string> shards;
    weight_map places;
    const auto refuse = [&](const std::string& field, const char* expected, const std::string& found) {
      throw error(where + ": " + field + "expected " + expected + ", found " + found);
    };
    detail::json_reader reader(text.text(), where);
    const auto read_map = [&] {
      if (reader.peek() != '{') refuse("weight_map: ", "an object", reader.found());
      reader.object([&](const std::string& name) {
        const bool is_text = reader.peek() == '"';
        std::string file = is_text ? reader.string() : reader.found();
        if (file.starts_with("./")) file.erase(0, 2);
        if (!is_text || !plain_file_name(file))
          refuse("weight_map." + detail::printable(name) + ": ", "a plain file name ending in .safetensors",
                 is_text ? detail::quote(file) : file);
        shards.insert(file);
        places.emplace(name, std::move(file));
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
    for (const auto& shard : shards) add(files_.emplace_back(folder / shard), shard, places);
    for (const auto& [name, file] : places)
      if (!tensors_.contains(name)) missing_.emplace(name, (folder / file).string());
  }

  /// The index must not refer to files outside of the folder.
  static bool plain_file_name(std::string_view name) {
    return name.ends_with(".safetensors") && name.find_first_of(std::string_view{"/\\\0", 3}) == name.npos;
  }

  std::string folder_;
  std::vector<safetensors_file> files_;
  std::map<std::string, place, std::less<>> tensors_;
  std::map<std::string, std::string, std::less<>> missing_;  // tensors of the index -> shards that lack them
};

}  // namespace qwq
