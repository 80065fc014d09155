// SPDX-License-Identifier: Apache-2.0
// Defines `file_set`, files of one folder and its subfolders that are created together.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include "qwq/core/written_file.hpp"
#include "qwq/io/atomic_file.hpp"
#include "qwq/io/folder_lock.hpp"
#include "qwq/io/replaced_file.hpp"

namespace qwq {

/// How the files of a set are handled.
enum class file_use : std::uint8_t {
  /// The files are written.
  write,
  count,    ///< Nothing is written; bytes are only counted.
  compare,  ///< The folder must already contain these files, byte for byte.
};

/// Options of a `file_set`.
struct file_handling {
  file_use use = file_use::write;  ///< How the files are handled.
  /// Called with each number of bytes that was processed; can be empty.
  std::function<void(std::uint64_t)> watcher{};
  /// Maximum time that `commit` waits for another process that replaces files in the same folder.
  std::chrono::milliseconds patience{10'000};
};

/// Writes files under temporary names; `commit` renames them when all are complete. Without `commit`, and after any
/// error, the folder is unchanged. Every error throws `error` with the file and the reason.
class file_set {
 public:
  /// Creates `folder` if it does not exist and files are written.
  explicit file_set(std::filesystem::path folder, file_handling how = {})
      : folder_(std::move(folder)), how_(std::move(how)) {
    if (!folder_.has_filename()) folder_ = folder_.parent_path();  // "out/" is "out"
    if (how_.use == file_use::write) create(folder_);
  }
  file_set(const file_set&) = delete;
  file_set& operator=(const file_set&) = delete;
  ~file_set() = default;

  /// Adds a file, "name" or "folder/name". It lives as long as the set.
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

  /// Flushes the files to disk and renames them in the order in which they were added: add files first that others
  /// refer to. Existing files of the same names are moved away first, in reverse order, so a crash never leaves a mix
  /// of old and new files. After an error the existing files have their names again.
  std::vector<written_file> commit() {
    for (const entry& e : files_) {
      if (e.written != nullptr) e.written->sync();
      if (e.compared != nullptr) e.compared->finish();
    }
    std::vector<written_file> files;
    for (const entry& e : files_) files.push_back({e.name, e.file->position()});
    if (how_.watcher) how_.watcher(0);  // last call before the folder changes
    if (how_.use == file_use::write) replace();
    return files;
  }

 private:
  struct entry {
    std::string name;
    std::unique_ptr<output_file> file{};
    atomic_file* written = nullptr;
    const compared_file* compared = nullptr;
  };

  /// Folders that were created; the destructor removes the empty ones.
  struct created_folders {
    std::vector<std::filesystem::path> paths{};  // innermost last
    created_folders() = default;
    created_folders(const created_folders&) = delete;
    created_folders& operator=(const created_folders&) = delete;
    ~created_folders() {
      std::error_code ignored;
      for (; !paths.empty(); paths.pop_back()) std::filesystem::remove(paths.back(), ignored);
    }
  };

  void create(const std::filesystem::path& folder) {
    std::vector<std::filesystem::path> missing;  // innermost first
    std::error_code code;
    for (auto at = folder; !at.empty() && !std::filesystem::is_directory(at, code); at = at.parent_path())
      missing.push_back(at);
    for (; !missing.empty(); missing.pop_back()) {
      created_.paths.emplace_back();  // before the folder is created, so that the list always includes it
      if (std::filesystem::create_directory(missing.back(), code))
        created_.paths.back().swap(missing.back());
      else
        created_.paths.pop_back();
      if (code) throw detail::io_error(folder.string(), "create", code.value());
    }
  }

  /// Renames the files, or changes nothing and throws.
  void replace() {
    std::list<detail::replaced_file> older;  // in the order of the files
    const detail::folder_lock lock(folder_, how_.patience, [&] {
      if (how_.watcher) how_.watcher(0);
    });
    std::size_t renamed = 0;
    try {
      if (files_.size() > 1)
        for (auto e = files_.rbegin(); e != files_.rend(); ++e) older.emplace_front(folder_ / e->name);
      for (; renamed < files_.size(); ++renamed) files_[renamed].written->commit();
    } catch (const error& e) {
      if (const std::string lost = restore(older, renamed); !lost.empty()) throw error(e.what() + lost);
      throw;
    } catch (...) {
      restore(older, renamed);
      throw;
    }
  }

  /// Undoes the first `renamed` renames and restores the names of the older files. Returns the failures, as text.
  std::string restore(std::list<detail::replaced_file>& older, std::size_t renamed) const {
    while (renamed-- > 0) ::unlink((folder_ / files_[renamed].name).c_str());
    std::string lost;
    for (detail::replaced_file& file : older)
      if (!file.restore()) lost += "; the older file is kept as " + file.kept().string();
    return lost;
  }

  std::filesystem::path folder_;
  file_handling how_;
  created_folders created_;
  std::vector<entry> files_;  // destroyed before the folders
};

}  // namespace qwq
