// SPDX-License-Identifier: Apache-2.0
// Several files of one folder, and of folders in it, that appear together.
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
  /// How long `commit` waits for another process that puts files into the same folder.
  std::chrono::milliseconds patience{10'000};
};

/// Writes files under temporary names; `commit` renames them when all are whole. Without `commit`, and after any error,
/// the folder is as it was. Every error throws `error` naming the file and the reason.
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
  ~file_set() = default;

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

  /// Puts the files on the disk and renames them in the order in which they were added, so add what others refer to
  /// first. Older files of the same names are moved away before, the last ones first: whenever the process is killed,
  /// the files that have their names belong together. After an error the older files have their names again.
  std::vector<written_file> commit() {
    for (const entry& e : files_) {
      if (e.written != nullptr) e.written->sync();
      if (e.compared != nullptr) e.compared->finish();
    }
    std::vector<written_file> files;
    for (const entry& e : files_) files.push_back({e.name, e.file->position()});
    if (how_.watcher) how_.watcher(0);  // the last moment at which nothing has happened
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

  /// Folders that were created; the destructor removes those that are empty.
  struct created_folders {
    std::vector<std::filesystem::path> paths{};  // inner ones last
    created_folders() = default;
    created_folders(const created_folders&) = delete;
    created_folders& operator=(const created_folders&) = delete;
    ~created_folders() {
      std::error_code ignored;
      for (; !paths.empty(); paths.pop_back()) std::filesystem::remove(paths.back(), ignored);
    }
  };

  void create(const std::filesystem::path& folder) {
    std::vector<std::filesystem::path> missing;  // inner ones first
    std::error_code code;
    for (auto at = folder; !at.empty() && !std::filesystem::is_directory(at, code); at = at.parent_path())
      missing.push_back(at);
    for (; !missing.empty(); missing.pop_back()) {
      created_.paths.emplace_back();  // before the folder, so that the list is never short of one
      if (std::filesystem::create_directory(missing.back(), code))
        created_.paths.back().swap(missing.back());
      else
        created_.paths.pop_back();
      if (code) throw detail::io_error(folder.string(), "create", code.value());
    }
  }

  /// Renames the files, or changes nothing and throws.
  void replace() {
    std::list<detail::replaced_file> older;  // the first file's first
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

  /// Takes back the first `renamed` renames and gives older files their names again. Returns what failed, as text.
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
