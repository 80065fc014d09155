// SPDX-License-Identifier: Apache-2.0
// Defines `mapped_file`, a read-only memory-mapped file.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "qwq/core/error.hpp"
#include "qwq/io/io_error.hpp"

namespace qwq {

/// A memory-mapped regular file: pages are read on access, and the system can drop them again. Moving keeps every
/// address. The file must not shrink while it is mapped.
class mapped_file {
 public:
  /// Throws `error` if `path` cannot be opened, is not a regular file or cannot be mapped, and if a placeholder was
  /// downloaded instead of the file: a git-lfs pointer or an HTML page.
  explicit mapped_file(const std::filesystem::path& path) : path_(path) {
    const std::string file = path.string();
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // opening a pipe must not block
    if (fd < 0) refuse_to_open(file, errno);
    struct stat& info = state_;
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
    bytes_.value = {static_cast<const std::byte*>(at), at == nullptr ? 0 : size};
    refuse_stand_in(file);
  }

  /// The bytes of the file.
  std::span<const std::byte> bytes() const { return bytes_.value; }
  /// Number of bytes.
  std::size_t size() const { return bytes().size(); }
  /// The bytes as characters.
  std::string_view text() const { return {reinterpret_cast<const char*>(bytes().data()), size()}; }

  /// Throws `error` if the file was modified after it was mapped. If the file was replaced by another one of its name,
  /// the mapping still has the old contents.
  void check_unchanged() const {
    struct stat now {};
    if (::stat(path_.c_str(), &now) != 0 || now.st_dev != state_.st_dev || now.st_ino != state_.st_ino) return;
    if (now.st_size != state_.st_size || now.st_mtim.tv_sec != state_.st_mtim.tv_sec ||
        now.st_mtim.tv_nsec != state_.st_mtim.tv_nsec)
      throw error(path_.string() + ": expected a file that does not change while it is read, found one that did");
  }

  /// True if `part` is inside the mapping.
  bool contains(std::span<const std::byte> part) const {
    const std::less_equal<const std::byte*> not_after;
    return not_after(bytes().data(), part.data()) && not_after(part.data() + part.size(), bytes().data() + size());
  }

  /// Hint: `part` of the mapping will be read sequentially.
  void sequential(std::span<const std::byte> part) const { advise(part, MADV_SEQUENTIAL); }
  /// Hint: `part` of the mapping is no longer needed; its pages are dropped, and read again on access.
  void release(std::span<const std::byte> part) const { advise(part, MADV_DONTNEED); }

 private:
  /// Throws the reason why `file` could not be opened; for a dangling link also its destination.
  [[noreturn]] static void refuse_to_open(const std::string& file, int code) {
    std::error_code no_link;
    if (const auto target = std::filesystem::read_symlink(file, no_link); code == ENOENT && !no_link)
      throw error(file + ": cannot open: it is a link to " + target.string() + ", which is not there");
    throw detail::io_error(file, "open", code);
  }

  /// Throws `error` if the file is a placeholder for the intended one.
  void refuse_stand_in(const std::string& file) const {
    const auto starts_with = [&](std::string_view lower_case) {
      return std::ranges::equal(text().substr(0, lower_case.size()), lower_case, {},
                                [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
    };
    const std::string found = ", found " + std::to_string(size()) + " bytes of ";
    if (starts_with("version https://git-lfs"))
      throw error(file + ": expected the file itself" + found + "a git-lfs pointer to it (run `git lfs pull`)");
    if (starts_with("<!doctype html") || starts_with("<html"))
      throw error(file + ": expected the file itself" + found + "an HTML page");
  }

  /// Applies `advice` to every page of `part`. A hint that the system declines affects only speed.
  void advise(std::span<const std::byte> part, int advice) const {
    if (part.empty() || !contains(part)) return;
    const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
    const auto first = reinterpret_cast<std::uintptr_t>(part.data()) / page * page;
    const auto last = reinterpret_cast<std::uintptr_t>(part.data() + part.size());
    ::madvise(reinterpret_cast<void*>(first), last - first, advice);
  }

  /// The mapped bytes. After a move, the source has none.
  struct mapping {
    std::span<const std::byte> value{};
    mapping() = default;
    mapping(mapping&& other) noexcept : value(std::exchange(other.value, {})) {}
    mapping& operator=(mapping&& other) noexcept {
      std::swap(value, other.value);
      return *this;
    }
    ~mapping() {
      if (!value.empty()) ::munmap(const_cast<std::byte*>(value.data()), value.size());
    }
  };

  std::filesystem::path path_;
  struct stat state_ {};
  mapping bytes_{};
};

}  // namespace qwq
