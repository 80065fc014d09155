// SPDX-License-Identifier: Apache-2.0
// Defines `folder_lock`, which keeps two processes from replacing the files of one folder at the same time.
#pragma once

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <thread>
#include <utility>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "qwq/core/error.hpp"

namespace qwq::detail {

/// Holds an advisory lock on a folder. The lock ends with the process. On a file system without locks, it does nothing.
class folder_lock {
 public:
  /// Waits at most `patience` for another holder; calls `idle()`, which can throw, meanwhile. Throws `error` if the
  /// folder is still locked.
  template <class Idle>
  folder_lock(const std::filesystem::path& folder, std::chrono::milliseconds patience, Idle&& idle)
      : fd_(::open(folder.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECTORY)) {
    const auto end = std::chrono::steady_clock::now() + patience;
    while (fd_ >= 0 && ::flock(fd_, LOCK_EX | LOCK_NB) != 0 && (errno == EWOULDBLOCK || errno == EINTR)) {
      try {
        idle();
        if (std::chrono::steady_clock::now() > end)
          throw error(folder.string() + ": expected no other export into this folder, found one that is not done");
      } catch (...) {
        ::close(fd_);
        throw;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }
  folder_lock(const folder_lock&) = delete;
  folder_lock& operator=(const folder_lock&) = delete;
  ~folder_lock() {
    if (fd_ >= 0) ::close(fd_);
  }

 private:
  int fd_;
};

}  // namespace qwq::detail
