// SPDX-License-Identifier: Apache-2.0
// Defines `executor`, the interface by which kernels run tasks in parallel, and `parallel_for`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace qwq {

/// Interface that runs independent tasks. Derive from it to use your own threads.
class executor {
 public:
  /// A task. It is called with the context passed to `run` and an index.
  using task = void (*)(void* context, std::size_t index);
  virtual ~executor() = default;
  /// Number of threads that run tasks at the same time, including the caller's.
  virtual std::size_t threads() const = 0;
  /// Calls `f(context, i)` for i in [0, count), and returns when all tasks are done. Tasks must not throw.
  virtual void run(std::size_t count, task f, void* context) = 0;
};

/// An executor that runs all tasks on the calling thread.
class inline_executor final : public executor {
 public:
  std::size_t threads() const override { return 1; }  ///< Only the caller's thread.
  /// Runs the tasks in order of their indices.
  void run(std::size_t count, task f, void* context) override {
    for (std::size_t i = 0; i < count; ++i) f(context, i);
  }
};

/// Number of multiply-adds below which synchronization with another thread (half a microsecond) costs more than it
/// saves. It takes one core two microseconds in registers, and longer when memory-bound.
inline constexpr std::int64_t work_worth_sharing = std::int64_t{1} << 17;

/// Calls `f(i)` for i in [0, count) on `ex`, or on the calling thread if the total is below `work_worth_sharing`.
/// `work` is the number of multiply-adds of all tasks together. `f` is called by reference, so nothing is allocated.
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
