// SPDX-License-Identifier: Apache-2.0
// Defines `replaced_file`, an older file that keeps a temporary name until its successor is in place.
#pragma once

#include <cerrno>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#include "qwq/io/io_error.hpp"

namespace qwq::detail {

/// Renames a file to a temporary name. The destructor removes it, unless `restore` was called.
class replaced_file {
 public:
  /// Does nothing if there is no such file. Throws `error` if it cannot be renamed.
  explicit replaced_file(std::filesystem::path target) : target_(std::move(target)) {
    // The lock shows `atomic_file` that the temporary name is in use.
    fd_ = ::open(target_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
    if (fd_ >= 0) ::flock(fd_, LOCK_SH | LOCK_NB);
    try {
      std::error_code ignored;
      int attempt = 0;
      do {
        aside_ = target_;
        aside_ += '.' + std::to_string(::getpid()) + '.' + std::to_string(attempt++) + ".tmp";
      } while (std::filesystem::exists(std::filesystem::symlink_status(aside_, ignored)));
      if (::rename(target_.c_str(), aside_.c_str()) == 0) return;
      if (errno != ENOENT) throw io_error(target_.string(), "replace", errno);
      aside_.clear();
    } catch (...) {
      if (fd_ >= 0) ::close(fd_);
      throw;
    }
  }
  replaced_file(const replaced_file&) = delete;
  replaced_file& operator=(const replaced_file&) = delete;
  ~replaced_file() {
    if (!aside_.empty()) ::unlink(aside_.c_str());
    if (fd_ >= 0) ::close(fd_);
  }

  /// Restores the file's name and returns true; if that fails, returns false and keeps the file.
  bool restore() {
    const bool restored = aside_.empty() || ::rename(aside_.c_str(), target_.c_str()) == 0;
    kept_ = std::exchange(aside_, {});
    return restored;
  }
  /// The temporary name that the file had before `restore`.
  const std::filesystem::path& kept() const { return kept_; }

 private:
  std::filesystem::path target_, aside_, kept_;
  int fd_ = -1;
};

}  // namespace qwq::detail
