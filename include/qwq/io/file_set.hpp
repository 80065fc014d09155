// SPDX-License-Identifier: Apache-2.0
// Several files of one folder, and of folders in it, that appear together.
#pragma once

#include <deque>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "qwq/core/written_file.hpp"
#include "qwq/io/atomic_file.hpp"

namespace qwq {

/// Writes files under temporary names; `commit` renames them when all are whole. Without `commit`, and after any error
/// before its first rename, the folder is as it was. Every error throws `error` naming the file and the reason.
class file_set {
 public:
  /// Creates `folder` if it is not there.
  explicit file_set(std::filesystem::path folder) : folder_(std::move(folder)) { create(folder_); }
  file_set(const file_set&) = delete;
  file_set& operator=(const file_set&) = delete;
  ~file_set() {
    files_.clear();
    std::error_code ignored;
    for (; !created_.empty(); created_.pop_back())
      std::filesystem::remove(created_.back(), ignored);  // which it does only when nothing is inside
  }

  /// Starts a file, "name" or "folder/name". It lives as long as the set.
  atomic_file& add(const std::string& name) {
    create((folder_ / name).parent_path());
    return files_.emplace_back(name, folder_ / name).file;
  }

  /// Puts all on the disk, then renames them in the order in which they were added.
  std::vector<written_file> commit() {
    for (entry& e : files_) e.file.sync();
    std::vector<written_file> written;
    for (entry& e : files_) {
      e.file.commit();
      written.push_back({e.name, e.file.position()});
    }
    return written;
  }

 private:
  struct entry {
    entry(std::string n, std::filesystem::path path) : name(std::move(n)), file(std::move(path)) {}
    std::string name;
    atomic_file file;
  };

  void create(const std::filesystem::path& folder) {
    std::error_code code;
    if (std::filesystem::create_directories(folder, code)) created_.push_back(folder);
    if (code) throw detail::io_error(folder.string(), "create", code.value());
  }

  std::filesystem::path folder_;
  std::vector<std::filesystem::path> created_;  // inner ones last
  std::deque<entry> files_;
};

}  // namespace qwq
