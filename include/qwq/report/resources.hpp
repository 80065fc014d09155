// SPDX-License-Identifier: Apache-2.0
// Defines `peak_rss_bytes`, the peak memory use of this process.
#pragma once

#include <sys/resource.h>

#include <cstdint>
#include <fstream>
#include <string>

namespace qwq {

/// Peak resident set size of this process so far, in bytes.
inline std::uint64_t peak_rss_bytes() {
  // Linux keeps ru_maxrss across exec: a small process that a large one starts would report the peak of its parent.
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    std::uint64_t kib = 0;
    if (word == "VmHWM:" && status >> kib) return kib * 1024;
  }
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
#ifdef __APPLE__
  return static_cast<std::uint64_t>(usage.ru_maxrss);
#else
  return static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
#endif
}

}  // namespace qwq
