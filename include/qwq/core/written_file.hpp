// SPDX-License-Identifier: Apache-2.0
// Defines `written_file`, the name and size of a file that a writer created.
#pragma once

#include <cstdint>
#include <string>

namespace qwq {

/// A file that was written.
struct written_file {
  std::string name;         ///< Name within its folder.
  std::uint64_t bytes = 0;  ///< Size in bytes.
};

}  // namespace qwq
