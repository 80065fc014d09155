// SPDX-License-Identifier: Apache-2.0
// Several files of one folder, and of folders in it, that appear together.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "qwq/core/written_file.hpp"
#include "qwq/io/atomic_file.hpp"

namespace qwq {

/// What becomes of the files of a set.
enum class file_use : std::uint8_t {
  write,
  count,    ///< nothing is touched, only sizes become known
  compare,  ///< the folder must hold these files already, byte for byte
};

/// The same, and who hears of every byte.
struct file_handling {
  file_use use = file_use::write;  ///< What becomes of the files.
  /// Is told of every number of bytes that was taken; may be empty.
  std::function<void(std::uint64_t)> watcher{};
};

/// Writes files under temporary names; `commit` renames them when all are whole. Without `commit`, and after any error
/// before its first rename, the folder is as it was. Every error throws `error` naming the file and the reason.
class file_set {
 public:
  /// To write, creates `folder` if it is not there.
  explicit file_set(std::filesystem::path folder, file_handling how = {})
      : folder_(std::move(folder)), how_(std::move(how)) {
    if (!folder_.has_filename()) folder_ = folder_.parent_path();  // "out/" is "out"
    if (how_.use == file_use::write) create(folder_);
  }
  file_set(const file_set&) = delete;
  file_set& operator=(const file_set&) = delete;
  ~file_set() {
    files_.clear();
    std::error_code ignored;
    for (; !created_.empty(); created_.pop_back())
      std::filesystem::remove(created_.back(), ignored);  // which it does only when nothing is inside
  }

  /// Starts a file, "name" or "folder/name". It lives as long as the set.
  output_file& add(const std::string& name) {
    const std::filesystem::path target = folder_ / name;
    entry e{name};
    const auto open = [&]<class File>(std::type_identity<File>) {
      auto file = std::make_unique<File>(target);
      File* const made = file.get();
      e.file = std::move(file);
      return made;
    };
    if (how_.use == file_use::write) create(target.parent_path());
    if (how_.use == file_use::write) e.written = open(std::type_identity<atomic_file>{});
    if (how_.use == file_use::count) open(std::type_identity<counted_file>{});
    if (how_.use == file_use::compare) e.compared = open(std::type_identity<compared_file>{});
    e.file->watch(&how_.watcher);
    return *files_.emplace_back(std::move(e)).file;
  }

  /// Written files are put on the disk and renamed in the order in which they were added, so add what others refer to
  /// first. Older ones of the same names go before, the last ones first: whenever the process is killed, what is there
  /// belongs together.
  std::vector<written_file> commit() {
    for (const entry& e : files_) {
      if (e.written != nullptr) e.written->sync();
      if (e.compared != nullptr) e.compared->finish();
    }
    if (how_.watcher) how_.watcher(0);  // the last moment at which nothing has happened
    std::error_code ignored;
    if (how_.use == file_use::write && files_.size() > 1)
      for (auto e = files_.rbegin(); e != files_.rend(); ++e) std::filesystem::remove(folder_ / e->name, ignored);
    std::vector<written_file> files;
    for (const entry& e : files_) {
      if (e.written != nullptr) e.written->commit();
      files.push_back({e.name, e.file->position()});
    }
    return files;
  }

 private:
  struct entry {
    std::string name;
    std::unique_ptr<output_file> file{};
    atomic_file* written = nullptr;
    const compared_file* compared = nullptr;
  };

  void create(const std::filesystem::path& folder) {
    std::vector<std::filesystem::path> missing;  // inner ones first
    std::error_code code;
    for (auto at = folder; !at.empty() && !std::filesystem::is_directory(at, code); at = at.parent_path())
      missing.push_back(at);
    for (; !missing.empty(); missing.pop_back()) {
      if (std::filesystem::create_directory(missing.back(), code)) created_.push_back(missing.back());
      if (code) throw detail::io_error(folder.string(), "create", code.value());
    }
  }

  std::filesystem::path folder_;
  file_handling how_;
  std::vector<std::filesystem::path> created_;  // inner ones last
  std::vector<entry> files_;
};

}  // namespace qwq
