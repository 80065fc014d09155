// SPDX-License-Identifier: Apache-2.0
// Defines `is_present`, which distinguishes an absent file from one that cannot be read.
#pragma once

#include <cerrno>
#include <filesystem>

#include <sys/stat.h>

namespace qwq::detail {

/// False only if no file has the name `path`. A dangling link, or a file in a folder without search permission, counts
/// as present: opening it then reports the cause.
inline bool is_present(const std::filesystem::path& path) {
  struct stat info {};
  return ::lstat(path.c_str(), &info) == 0 || (errno != ENOENT && errno != ENOTDIR);
}

}  // namespace qwq::detail
