// SPDX-License-Identifier: Apache-2.0
// What a writer of files says about one of them.
#pragma once

#include <cstdint>
#include <string>

namespace qwq {

/// A file that was written: its name inside its folder, and its size.
struct written_file {
  std::string name;
  std::uint64_t bytes = 0;
};

}  // namespace qwq
