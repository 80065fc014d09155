// SPDX-License-Identifier: Apache-2.0
// What a benchmark says of itself: a kernel, a shape, what a call does, and what limits it.
//
// How to add a benchmark:
//   1. bench/<family>.cpp includes the kernels, this header and limits.hpp, and defines `void qwq::bench::add_cases()`.
//   2. add_cases() calls `add({...})` for each case:
//        add({.kernel = "swiglu", .shape = "1x3072", .counts = unit::bytes, .threads = 1,
//             .amount = 3 * 4 * 3072,                              // bytes (or operations) that one call moves
//             .ours = [](executor& ex) {                           // makes the data; runs when the case runs
//               auto gate = floats(3072), up = floats(3072), y = floats(3072);
//               return [=] { kernel::swiglu(y, gate, up); };       // one call: this is timed
//             },
//             .limits = memory_bandwidth({.reads = 2, .writes = 1}, 3 * 4 * 3072)});
//      A limit is a bandwidth or a peak of limits.hpp, or a hand-written loop of the same arithmetic:
//      `{{"by hand", [](executor&) {...}}}`; where there are several the best counts. What must be done besides is
//      `.also_limits`: the lower of the two is the limit. `.peers` are timed beside them.
//   3. bench/CMakeLists.txt: `qwq_bench(<family> [LIBRARIES ...])`. The names in tables are those of `.kernel`.
//   4. Peers in other processes (peers/) are found by the names and the dimensions in front of the shape:
//        fake_quant_<u8|u16|i8|i16>, fake_quant_<type>_<row|column>   "<rows>x<columns>, <set>"
//        group_int4, observer_minmax, observer_histogram     "<rows>x<columns>, <set>"
//        attention_decode_<f32|f16|...>         "<KV>x<query heads>x<kv heads>x<head dim>"
//        attention_prefill_<tokens>_<f32|...>   "<tokens>x<query heads>x<kv heads>x<head dim>"
//        gemm_<f32|int8|int4_g32>_m<M>, gemv_<f32|int8|int4_g32>   "<K>x<N>"
// Ours, limits and peers take turns, a short sample of each, and the best sample of each counts: what disturbs a
// machine for a while disturbs them all, and what disturbs it for a moment none.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "qwq/core/parallel.hpp"

namespace qwq::bench {

/// One call of what is timed.
using call = std::function<void()>;
/// Makes the data of a call. The executor has as many threads as the case.
using maker = std::function<call(executor&)>;

/// Something that is timed beside our kernel: a limit, or a peer.
struct contender {
  std::string name;
  maker make;
  double amount = 0;  ///< of one call; 0: as much as a call of ours
};

/// What is counted. Tables show bytes as GB/s, operations as GFLOP/s (integer ones as GOP/s), tokens as tok/s, and
/// rounds of a parallel loop in thousands a second.
enum class unit : std::uint8_t { bytes, flops, int_ops, tokens, rounds };

/// One line of the table.
struct bench_case {
  std::string kernel, shape;
  unit counts = unit::bytes;
  std::size_t threads = 1;
  double amount = 0;  ///< of one call
  maker ours = {};
  std::vector<contender> limits = {}, also_limits = {}, peers = {};
  std::int64_t turns = 1;  ///< calls after which data comes again: a sample has no fewer
  int rounds = 15;         ///< samples of each; fewer for calls of a second
};

/// Registers a case.
void add(bench_case one);
/// What a family has: called once, by main.
void add_cases();

/// Keeps the optimizer from dropping the computation of `x`.
template <class T>
void keep(const T& x) {
  asm volatile("" : : "r,m"(x) : "memory");
}

/// An array that copies share; large ones are made of huge pages, and what may fit a second-level cache of ordinary
/// ones, as in programs: those share its sets by chance.
template <class T>
struct buffer {
  std::shared_ptr<T[]> first;
  std::size_t size = 0;

  T* data() const { return first.get(); }
  T& operator[](std::size_t i) const { return data()[i]; }
  operator std::span<T>() const { return {data(), size}; }
  operator std::span<const T>() const { return {data(), size}; }
};

/// Memory for `buffer`, zeroed.
void* allocate(std::size_t bytes);

template <class T>
buffer<T> make_buffer(std::size_t size) {
  return {std::shared_ptr<T[]>(static_cast<T*>(allocate(size * sizeof(T))), [](T* p) { std::free(p); }), size};
}

/// Normally distributed floats times `spread`, the same ones each time for a seed.
buffer<float> floats(std::size_t size, float spread = 1, std::uint32_t seed = 1);

/// Bytes of a working set that sits in the second-level cache, in the last level, and in neither.
struct working_set {
  const char* name;  ///< L2, L3, memory
  std::size_t bytes;
};
std::span<const working_set> working_sets();

}  // namespace qwq::bench
