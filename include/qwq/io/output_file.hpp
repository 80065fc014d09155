// SPDX-License-Identifier: Apache-2.0
// Defines `output_file`, a file that is written sequentially, and implementations that only count or compare bytes.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

#include "qwq/core/error.hpp"
#include "qwq/io/mapped_file.hpp"

namespace qwq {

/// Receives the bytes of a file.
class output_file {
 public:
  virtual ~output_file() = default;
  output_file(const output_file&) = delete;
  output_file& operator=(const output_file&) = delete;

  /// Appends bytes.
  void write(std::span<const std::byte> bytes) {
    put(bytes);
    skip(bytes.size());
  }
  /// Appends text.
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

  /// True if the contents of the file matter. If only their size does, `skip` can be called instead of `write`.
  virtual bool takes_bytes() const { return true; }
  /// Counts bytes without writing them.
  void skip(std::uint64_t bytes) {
    position_ += bytes;
    if (watcher_ != nullptr && *watcher_) (*watcher_)(bytes);
  }

  /// Number of bytes so far.
  std::uint64_t position() const { return position_; }
  /// Name of the file, for messages.
  const std::string& name() const { return name_; }
  /// Names the part of the file that follows, for messages.
  void begin(std::string_view what) { part_ = what; }
  /// Sets a function that is called with every number of bytes; it must outlive the file.
  void watch(const std::function<void(std::uint64_t)>* watcher) { watcher_ = watcher; }

  /// The complete file, as it is on disk; none if bytes are only counted.
  virtual std::optional<mapped_file> whole() { return std::nullopt; }

 protected:
  /// `name`: name of the file, for messages.
  explicit output_file(std::string name) : name_(std::move(name)) {}
  const std::string& part() const { return part_; }  ///< The part that `begin` named last.

 private:
  virtual void put(std::span<const std::byte> bytes) = 0;

  std::string name_, part_;
  std::uint64_t position_ = 0;
  const std::function<void(std::uint64_t)>* watcher_ = nullptr;
};

/// A file that only counts bytes.
class counted_file final : public output_file {
 public:
  /// `target` is not touched.
  explicit counted_file(const std::filesystem::path& target) : output_file(target.string()) {}
  bool takes_bytes() const override { return false; }

 private:
  void put(std::span<const std::byte>) override {}
};

/// A file that is compared with one on disk. Throws `error` at the first byte that differs.
class compared_file final : public output_file {
 public:
  /// Throws `error` if `target` does not exist.
  explicit compared_file(const std::filesystem::path& target)
      : output_file(target.string()), target_(uncached(target)), file_(target) {}

  std::optional<mapped_file> whole() override { return mapped_file(target_); }
  /// Checks that the file on disk ends after the last byte.
  void finish() const {
    if (position() != file_.size())
      throw error(name() + ": expected " + std::to_string(position()) + " bytes, found " +
                  std::to_string(file_.size()));
  }

 private:
  /// Drops `target` from the page cache, so that the bytes on disk are compared.
  static const std::filesystem::path& uncached(const std::filesystem::path& target) {
    if (const int fd = ::open(target.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK); fd >= 0) {
      ::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
      ::close(fd);
    }
    return target;
  }

  void put(std::span<const std::byte> bytes) override {
    const std::size_t at = std::min<std::size_t>(position(), file_.size());
    const auto found = file_.bytes().subspan(at, std::min(bytes.size(), file_.size() - at));
    if (found.size() == bytes.size() && (bytes.empty() || std::memcmp(found.data(), bytes.data(), bytes.size()) == 0))
      return file_.release(found);
    const auto differs = std::ranges::mismatch(found, bytes).in1 - found.begin();
    const auto hex = [](std::byte b) { return std::to_string(std::to_integer<int>(b)); };
    const auto i = static_cast<std::size_t>(differs);
    throw error(name() + (part().empty() ? "" : ": tensor '" + part() + "'") + ": byte " + std::to_string(at + i) +
                ": expected " + hex(bytes[i]) + ", found " + (i < found.size() ? hex(found[i]) : "the end"));
  }

  std::filesystem::path target_;
  mapped_file file_;
};

}  // namespace qwq
