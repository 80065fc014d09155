// SPDX-License-Identifier: Apache-2.0
// A file mapped into memory, read only.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "qwq/core/error.hpp"
#include "qwq/io/io_error.hpp"

namespace qwq {

/// A regular file in memory: pages are read when they are touched, and the system may drop them again.
/// Moving keeps every address. The file must not shrink while it is mapped.
class mapped_file {
 public:
  /// Throws `error` when `path` cannot be opened, is not a regular file or cannot be mapped.
  explicit mapped_file(const std::filesystem::path& path) {
    const std::string file = path.string();
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // a pipe must not make us wait
    if (fd < 0) throw detail::io_error(file, "open", errno);
    struct stat info{};
    void* at = nullptr;
    int code = ::fstat(fd, &info) == 0 ? 0 : errno;
    const bool regular = S_ISREG(info.st_mode);
    const auto size = static_cast<std::size_t>(info.st_size);
    if (code == 0 && regular && size > 0) {
      at = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
      if (at == MAP_FAILED) code = errno;
    }
    ::close(fd);
    if (code != 0) throw detail::io_error(file, "map", code);
    if (!regular) throw error(file + ": expected a regular file, found something else");
    bytes_ = {static_cast<const std::byte*>(at), at == nullptr ? 0 : size};
  }

  /// The other one has no bytes afterwards.
  mapped_file(mapped_file&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
  /// Unmaps what was mapped before.
  mapped_file& operator=(mapped_file&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~mapped_file() {
    if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
  }

  std::span<const std::byte> bytes() const { return bytes_; }
  std::size_t size() const { return bytes_.size(); }
  /// The bytes as characters.
  std::string_view text() const { return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()}; }

  /// True when `part` lies inside the mapping.
  bool contains(std::span<const std::byte> part) const {
    const std::less_equal<const std::byte*> not_after;
    return not_after(bytes_.data(), part.data()) && not_after(part.data() + part.size(), bytes_.data() + bytes_.size());
  }

  /// Hint: `part` of the mapping is about to be read from front to back.
  void sequential(std::span<const std::byte> part) const { advise(part, MADV_SEQUENTIAL); }
  /// Hint: `part` of the mapping is not needed any more; its pages leave memory and are read again if touched.
  void release(std::span<const std::byte> part) const { advise(part, MADV_DONTNEED); }

 private:
  /// Applies `advice` to every page that `part` touches. A hint that the system declines costs only speed.
  void advise(std::span<const std::byte> part, int advice) const {
    if (part.empty() || !contains(part)) return;
    const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
    const auto first = reinterpret_cast<std::uintptr_t>(part.data()) / page * page;
    const auto last = reinterpret_cast<std::uintptr_t>(part.data() + part.size());
    ::madvise(reinterpret_cast<void*>(first), last - first, advice);
  }

  std::span<const std::byte> bytes_;
};

}  // namespace qwq
