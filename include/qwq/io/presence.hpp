// SPDX-License-Identifier: Apache-2.0
// Defines `is_present`, which tells a file that is absent from one that cannot be read.
#pragma once

#include <cerrno>
#include <filesystem>

#include <sys/stat.h>

namespace qwq::detail {

/// False only when nothing has the name `path`. A link that leads nowhere, or a folder that may not be searched, counts
/// as present: opening the file then says what is wrong.
inline bool is_present(const std::filesystem::path& path) {
  struct stat info {};
  return ::lstat(path.c_str(), &info) == 0 || (errno != ENOENT && errno != ENOTDIR);
}

}  // namespace qwq::detail
