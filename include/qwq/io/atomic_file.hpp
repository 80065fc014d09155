// SPDX-License-Identifier: Apache-2.0
// Defines `atomic_file`, a file that is written completely or not at all.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "qwq/core/error.hpp"
#include "qwq/io/io_error.hpp"
#include "qwq/io/output_file.hpp"

namespace qwq {

namespace detail {
/// Writes all of `bytes` to `fd`. Throws `error` naming `file` and the reason.
inline void write_all(int fd, std::span<const std::byte> bytes, const std::string& file) {
  while (!bytes.empty()) {
    const auto written = ::write(fd, bytes.data(), bytes.size());
    if (written >= 0)
      bytes = bytes.subspan(static_cast<std::size_t>(written));
    else if (errno != EINTR)
      throw io_error(file, "write", errno);
  }
}
}  // namespace detail

/// Writes a file under a temporary name in the folder of `target`; `commit` renames it. Without `commit`, and after any
/// error, `target` is unchanged and no other file remains; temporary files of a killed process are removed when the
/// same file is written again. Every error throws `error` with the file and the reason.
class atomic_file final : public output_file {
 public:
  /// Creates the temporary file. If `target` exists, it must be a regular file: `commit` replaces it.
  explicit atomic_file(std::filesystem::path target) : output_file(target.string()), target_(std::move(target)) {
    std::error_code ignored;
    const auto status = std::filesystem::status(target_, ignored);
    if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status))
      throw error(name() + ": expected a regular file or nothing, found something else");
    remove_left_behind();
    for (int attempt = 0; fd_ < 0; ++attempt) create(attempt);
  }
  /// Removes the temporary file, unless it was committed.
  ~atomic_file() override { discard(); }

  /// Flushes everything to disk, so that `commit` only has to rename. Nothing can be written afterwards.
  void sync() {
    if (synced_) return;
    flush();
    if (::fsync(fd_) != 0) throw detail::io_error(name(), "flush to disk", errno);
    synced_ = true;
  }
  /// The complete file, under its temporary name.
  std::optional<mapped_file> whole() override {
    sync();
    return mapped_file(temporary_);
  }
  /// Flushes to disk and renames the file to the target. Nothing can be written afterwards.
  void commit() {
    sync();
    if (::rename(temporary_.c_str(), target_.c_str()) != 0) throw detail::io_error(name(), "rename to", errno);
    ::close(std::exchange(fd_, -1));
  }

 private:
  static constexpr std::size_t capacity = std::size_t{1} << 20;
  static constexpr std::string_view suffix = ".tmp";

  /// Creates temporary file number `attempt`. Leaves `fd_` negative if another process has taken the name.
  void create(int attempt) {
    constexpr int most_attempts = 1000;
    if (attempt == most_attempts) throw detail::io_error(name(), "create", EEXIST);
    temporary_ = target_;
    temporary_ += '.' + std::to_string(::getpid()) + '.' + std::to_string(attempt) + std::string(suffix);
    fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd_ < 0 && errno != EEXIST) throw detail::io_error(name(), "create", errno);
    if (fd_ < 0) return;
    // If standard streams are closed, the new descriptor can be one of theirs; output meant for them must not go into
    // the file.
    if (fd_ <= STDERR_FILENO) {
      const int above = ::fcntl(fd_, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
      const int code = errno;
      if (above < 0) discard();
      if (above < 0) throw detail::io_error(name(), "create", code);
      ::close(std::exchange(fd_, above));
    }
    bool taken = false;
    if (const int code = lock(taken); code != 0) {
      discard();
      throw detail::io_error(name(), "create", code);
    }
    if (taken) discard();
  }

  /// Locks the temporary file to show that it is being written: the lock ends with the process. Sets `taken` if another
  /// process has just taken the file for an abandoned one. Returns an errno value, or 0.
  int lock(bool& taken) const {
    taken = ::flock(fd_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    if (taken) return 0;
    struct stat info {};
    if (::fstat(fd_, &info) != 0) return errno;
    taken = info.st_nlink == 0;
    return 0;  // on a file system without locks abandoned files are never found, so no lock is needed
  }

  /// Removes temporary files of this target that no process is writing.
  void remove_left_behind() const {
    const std::string start = target_.filename().string() + '.';
    const auto folder = target_.has_parent_path() ? target_.parent_path() : std::filesystem::path(".");
    struct close_folder {
      void operator()(DIR* at) const { ::closedir(at); }
    };
    const std::unique_ptr<DIR, close_folder> entries(::opendir(folder.c_str()));
    if (entries == nullptr) return;
    while (const dirent* const entry = ::readdir(entries.get())) {
      const std::string_view file = entry->d_name;
      if (!file.starts_with(start) || !file.ends_with(suffix) || file.size() < start.size() + suffix.size() ||
          file.find_first_not_of("0123456789.", start.size()) != file.size() - suffix.size() + 1)
        continue;
      const int fd = ::openat(::dirfd(entries.get()), entry->d_name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
      if (fd < 0) continue;
      if (::flock(fd, LOCK_EX | LOCK_NB) == 0) ::unlinkat(::dirfd(entries.get()), entry->d_name, 0);
      ::close(fd);
    }
  }

  void put(std::span<const std::byte> bytes) override {
    synced_ = false;
    if (bytes.size() > capacity - filled_) flush();
    if (bytes.size() >= capacity) return append(bytes);
    if (!bytes.empty()) std::memcpy(buffer_.get() + filled_, bytes.data(), bytes.size());
    filled_ += bytes.size();
  }

  void flush() {
    append({buffer_.get(), filled_});
    filled_ = 0;
  }

  /// After an error the file cannot be continued: later calls fail too.
  void append(std::span<const std::byte> bytes) {
    try {
      detail::write_all(fd_, bytes, name());
    } catch (const error&) {
      discard();
      throw;
    }
    appended_ += bytes.size();
#ifdef SYNC_FILE_RANGE_WRITE  // starts writing to disk now, so that `sync` waits less
    constexpr std::uint64_t worth_starting = std::uint64_t{8} << 20;
    if (appended_ - started_ >= worth_starting)
      ::sync_file_range(fd_, static_cast<off_t>(std::exchange(started_, appended_)), 0, SYNC_FILE_RANGE_WRITE);
#endif
  }

  void discard() {
    if (fd_ < 0) return;
    ::close(fd_);
    ::unlink(temporary_.c_str());
    fd_ = -1;
  }

  std::filesystem::path target_, temporary_;
  int fd_ = -1;
  std::unique_ptr<std::byte[]> buffer_ = std::make_unique<std::byte[]>(capacity);
  std::size_t filled_ = 0;
  std::uint64_t appended_ = 0, started_ = 0;
  bool synced_ = false;
};

/// Writes `text` as the complete contents of `target`, atomically.
inline void write_file(const std::filesystem::path& target, std::string_view text) {
  atomic_file file(target);
  file.write(text);
  file.commit();
}

}  // namespace qwq
