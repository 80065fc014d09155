// SPDX-License-Identifier: Apache-2.0
// The executor that kernels split their work over.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace qwq {

/// Runs `count` independent tasks. A runtime author may derive from it to use threads of his own;
/// `run` returns when every task is done. Tasks must not throw.
class executor {
 public:
  /// What is run for each index; `context` is what the caller of run gave.
  using task = void (*)(void* context, std::size_t index);
  virtual ~executor() = default;
  /// Threads that work at the same time, the caller included.
  virtual std::size_t threads() const = 0;
  virtual void run(std::size_t count, task f, void* context) = 0;
};

/// Everything on the calling thread.
class inline_executor final : public executor {
 public:
  std::size_t threads() const override { return 1; }
  void run(std::size_t count, task f, void* context) override {
    for (std::size_t i = 0; i < count; ++i) f(context, i);
  }
};

/// Multiply-adds below which meeting another thread (half a microsecond) costs more than it saves: two microseconds of one
/// core in registers, more where they wait for memory.
inline constexpr std::int64_t work_worth_sharing = std::int64_t{1} << 17;

/// Calls `f(i)` for i in [0, count) on `ex`, or on the calling thread when all of it is less than is worth sharing.
/// `work`: multiply-adds of all tasks together. `f` is called by reference: nothing is allocated.
template <class F>
void parallel_for(executor& ex, std::size_t count, std::int64_t work, F&& f) {
  if (count < 2 || work < work_worth_sharing) {
    for (std::size_t i = 0; i < count; ++i) f(i);
    return;
  }
  ex.run(
      count, [](void* context, std::size_t i) { (*static_cast<std::remove_reference_t<F>*>(context))(i); },
      const_cast<void*>(static_cast<const void*>(&f)));
}

}  // namespace qwq
