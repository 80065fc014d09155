// SPDX-License-Identifier: Apache-2.0
// Writing a file that is complete or absent, never half there.
#pragma once

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "qwq/core/error.hpp"
#include "qwq/io/io_error.hpp"

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

/// Writes a file under a temporary name in the folder of `target`; `commit` gives it its name. Without `commit`, and
/// after any error, `target` is as it was before and nothing else stays behind. Every error throws `error` naming the
/// file and the reason.
class atomic_file {
 public:
  /// Creates the temporary file. An existing `target` must be a regular file: `commit` replaces it.
  explicit atomic_file(std::filesystem::path target) : target_(std::move(target)), name_(target_.string()) {
    std::error_code ignored;
    const auto status = std::filesystem::status(target_, ignored);
    if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status))
      throw error(name_ + ": expected a regular file or nothing, found something else");
    int attempt = 0;
    do {
      temporary_ = target_;
      temporary_ += '.' + std::to_string(::getpid()) + '.' + std::to_string(attempt++) + ".tmp";
      fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    } while (fd_ < 0 && errno == EEXIST);
    if (fd_ < 0) throw detail::io_error(name_, "create", errno);
  }

  atomic_file(const atomic_file&) = delete;
  atomic_file& operator=(const atomic_file&) = delete;

  ~atomic_file() { discard(); }

  void write(std::span<const std::byte> bytes) {
    position_ += bytes.size();
    if (bytes.size() > capacity - filled_) flush();
    if (bytes.size() >= capacity) return put(bytes);
    if (!bytes.empty()) std::memcpy(buffer_.get() + filled_, bytes.data(), bytes.size());
    filled_ += bytes.size();
  }
  void write(std::string_view text) { write(std::as_bytes(std::span{text})); }

  /// Appends zero bytes until `position()` is a multiple of `alignment`.
  void pad_to(std::size_t alignment) {
    constexpr std::array<std::byte, 64> zeros{};
    for (std::size_t rest = (alignment - position_ % alignment) % alignment; rest > 0;) {
      const std::size_t count = std::min(rest, zeros.size());
      write(std::span{zeros}.first(count));
      rest -= count;
    }
  }

  /// Bytes written so far.
  std::uint64_t position() const { return position_; }
  /// The target, for messages.
  const std::string& name() const { return name_; }

  /// Puts everything on the disk, so that `commit` has only to rename. Nothing may be written afterwards.
  void sync() {
    flush();
    if (::fsync(fd_) != 0) throw detail::io_error(name_, "flush to disk", errno);
  }
  /// Where everything is between `sync` and `commit`.
  const std::filesystem::path& temporary() const { return temporary_; }
  /// Flushes to the disk and renames to the target. Nothing may be written afterwards.
  void commit() {
    sync();
    if (::rename(temporary_.c_str(), target_.c_str()) != 0) throw detail::io_error(name_, "rename to", errno);
    ::close(fd_);
    fd_ = -1;
  }

 private:
  static constexpr std::size_t capacity = std::size_t{1} << 20;

  void flush() {
    put({buffer_.get(), filled_});
    filled_ = 0;
  }

  /// After an error the file cannot be continued: later calls fail too.
  void put(std::span<const std::byte> bytes) {
    try {
      detail::write_all(fd_, bytes, name_);
    } catch (const error&) {
      discard();
      throw;
    }
  }

  void discard() {
    if (fd_ < 0) return;
    ::close(fd_);
    ::unlink(temporary_.c_str());
    fd_ = -1;
  }

  std::filesystem::path target_, temporary_;
  std::string name_;
  int fd_ = -1;
  std::uint64_t position_ = 0;
  std::unique_ptr<std::byte[]> buffer_ = std::make_unique<std::byte[]>(capacity);
  std::size_t filled_ = 0;
};

/// Writes `text` as the whole of `target`, complete or not at all.
inline void write_file(const std::filesystem::path& target, std::string_view text) {
  atomic_file file(target);
  file.write(text);
  file.commit();
}

}  // namespace qwq
