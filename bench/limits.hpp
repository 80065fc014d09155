// SPDX-License-Identifier: Apache-2.0
// What the machine can do at most: bandwidths and peaks of arithmetic, timed as any other contender.
#pragma once

#include "harness.hpp"

namespace qwq::bench {

/// Bytes that are read for each one that is written, as 1:0, 0:1 (fill), 1:1 (copy), 2:1, 3:1, 4:1 or 8:1.
struct traffic {
  int reads = 1, writes = 0;
  bool in_place = false;  ///< 1:1 only: what was read is written back
};

/// Loops over `bytes` of memory (at least 32 KB), each thread over its part; past the second-level cache also with
/// stores that bypass the caches, and with four pages in turn, which come faster. `amount`: what a case does while a
/// loop runs once over all of it; 0: bytes read and written.
std::vector<contender> memory_bandwidth(traffic mix, std::size_t bytes, double amount = 0);
inline std::vector<contender> read_bandwidth(std::size_t bytes, double amount = 0) {
  return memory_bandwidth({.reads = 1, .writes = 0}, bytes, amount);
}
inline std::vector<contender> copy_bandwidth(std::size_t bytes, double amount = 0) {
  return memory_bandwidth({.reads = 1, .writes = 1}, bytes, amount);
}

/// Multiply-adds in registers: two operations each. `per_unit`: operations that a unit of the case stands for (1 for
/// cases in operations; operations per token for those in tokens).
std::vector<contender> fma_peak(double per_unit = 1);
/// Multiply-adds, two for each number that is read from the first-level cache and widened to f32: bytes of such
/// numbers. `T`: float, float16, bfloat16 or int8, whose products attention takes as integers where it can.
template <class T>
std::vector<contender> widened_peak();
/// u8 x s8 dot products, in integer operations; without VNNI the f32 peak.
std::vector<contender> vnni_peak(double per_unit = 1);
/// bf16 dot products; without them the f32 peak.
std::vector<contender> bf16_peak(double per_unit = 1);

}  // namespace qwq::bench
