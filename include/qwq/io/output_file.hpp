// SPDX-License-Identifier: Apache-2.0
// A file that is made front to back: written, only counted, or compared with one that is there.
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

/// Takes the bytes of a file.
class output_file {
 public:
  virtual ~output_file() = default;
  output_file(const output_file&) = delete;
  output_file& operator=(const output_file&) = delete;

  void write(std::span<const std::byte> bytes) {
    put(bytes);
    skip(bytes.size());
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

  /// Whether bytes matter. Where only their number does, `skip` stands for `write`.
  virtual bool takes_bytes() const { return true; }
  /// Counts bytes that need not be handed over.
  void skip(std::uint64_t bytes) {
    position_ += bytes;
    if (watcher_ != nullptr && *watcher_) (*watcher_)(bytes);
  }

  /// Bytes so far.
  std::uint64_t position() const { return position_; }
  /// The file, for messages.
  const std::string& name() const { return name_; }
  /// Says what follows, for messages.
  void begin(std::string_view what) { part_ = what; }
  /// Hears of every byte; must outlive the file.
  void watch(const std::function<void(std::uint64_t)>* watcher) { watcher_ = watcher; }

  /// The file as it is on the disk when all bytes are there; nothing where they are only counted.
  virtual std::optional<mapped_file> whole() { return std::nullopt; }

 protected:
  /// `name`: of the file, for messages.
  explicit output_file(std::string name) : name_(std::move(name)) {}
  const std::string& part() const { return part_; }  ///< What `begin` said last.

 private:
  virtual void put(std::span<const std::byte> bytes) = 0;

  std::string name_, part_;
  std::uint64_t position_ = 0;
  const std::function<void(std::uint64_t)>* watcher_ = nullptr;
};

/// Only counts.
class counted_file final : public output_file {
 public:
  /// `target` is not touched.
  explicit counted_file(const std::filesystem::path& target) : output_file(target.string()) {}
  bool takes_bytes() const override { return false; }

 private:
  void put(std::span<const std::byte>) override {}
};

/// Throws `error` at the first byte that the file on the disk has not.
class compared_file final : public output_file {
 public:
  /// Throws `error` when there is no such file.
  explicit compared_file(const std::filesystem::path& target)
      : output_file(target.string()), target_(uncached(target)), file_(target) {}

  std::optional<mapped_file> whole() override { return mapped_file(target_); }
  /// After the last byte: the file must end there too.
  void finish() const {
    if (position() != file_.size())
      throw error(name() + ": expected " + std::to_string(position()) + " bytes, found " +
                  std::to_string(file_.size()));
  }

 private:
  /// What is compared is what the disk holds, not what the system remembers of it.
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
