// SPDX-License-Identifier: Apache-2.0
// Defines `thread_pool`, the library's executor: a persistent pool of threads.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#include "qwq/core/parallel.hpp"

namespace qwq {

/// A fixed number of threads, including the caller's. Each thread starts with its own share of the tasks, the same
/// share in every run of as many tasks, and then takes tasks from other threads: a thread that the operating system
/// preempts delays only its current task. Only one run at a time; `run` does not allocate. Tasks are independent and
/// each is executed by one thread, so results do not depend on the number of threads.
class thread_pool final : public executor {
 public:
  /// Starts `threads` - 1 threads; 0 means as many threads as the hardware supports. If the system grants fewer, the
  /// pool uses those: see `threads()`.
  explicit thread_pool(std::size_t threads = 0) {
    if (threads == 0) threads = std::thread::hardware_concurrency();
    if (threads == 0) threads = 1;
    parts_ = std::make_unique<part[]>(threads);
    workers_.reserve(threads - 1);  // from here on, only starting a thread can fail
    try {
      for (std::size_t i = 1; i < threads; ++i) workers_.emplace_back([this, i] { work(i); });
    } catch (const std::system_error&) {  // limit on processes or on address space
    } catch (const std::bad_alloc&) {
    }
  }
  /// Stops and joins the threads.
  ~thread_pool() override {
    stop_.store(true, std::memory_order_relaxed);
    round_.fetch_add(1);
    round_.notify_all();
    for (std::thread& t : workers_) t.join();
  }
  thread_pool(const thread_pool&) = delete;
  thread_pool& operator=(const thread_pool&) = delete;

  /// Number of threads, including the caller's.
  std::size_t threads() const override { return workers_.size() + 1; }

  /// Runs the tasks on all threads, including the caller's.
  void run(std::size_t count, task f, void* context) override {
    if (workers_.empty() || count < 2) {
      for (std::size_t i = 0; i < count; ++i) f(context, i);
      return;
    }
    task_ = f;
    context_ = context;
    count_ = count;
    left_.store(count, std::memory_order_relaxed);
    const std::uint32_t round = round_.load(std::memory_order_relaxed) + 1;
    for (std::size_t i = 0; i < threads(); ++i)
      parts_[i].state.store(state_of(round, begin_of(i + 1) - begin_of(i)), std::memory_order_release);
    round_.store(round);  // sequentially consistent with notify_all, so no thread misses the wake-up
    round_.notify_all();
    take_tasks(round, 0);
    // Waits only for running tasks: a thread that slept through the round finds no tasks left.
    wait_until([&] { return left_.load(std::memory_order_acquire) == 0; }, [] { std::this_thread::yield(); });
  }

 private:
  /// Round and number of tasks that are not taken yet, in one word, so that a late thread cannot take tasks of another
  /// round.
  struct alignas(64) part {
    std::atomic<std::uint64_t> state{0};
  };
  static std::uint64_t state_of(std::uint32_t round, std::size_t untaken) {
    return std::uint64_t{round} << 32 | static_cast<std::uint32_t>(untaken);
  }
  std::size_t begin_of(std::size_t part) const { return count_ * part / threads(); }

  static void pause() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
  }

  /// Longer than the gaps between the parallel sections of a layer, so that threads are still spinning then.
  static constexpr std::chrono::microseconds patience{100};

  /// Spins until `done()`; calls `rest()` each time it has spun for `patience`.
  template <class Done, class Rest>
  static void wait_until(Done done, Rest rest) {
    while (!done()) {
      const auto end = std::chrono::steady_clock::now() + patience;
      for (std::uint32_t i = 1; !done(); ++i) {
        pause();
        if (i % 64 == 0 && std::chrono::steady_clock::now() > end) {
          rest();
          break;
        }
      }
    }
  }

  void take_tasks(std::uint32_t round, std::size_t self) {
    std::size_t finished = 0;
    for (std::size_t k = 0; k < threads(); ++k) {
      const std::size_t at = (self + k) % threads();
      std::atomic<std::uint64_t>& state = parts_[at].state;
      for (std::uint64_t seen = state.load(std::memory_order_acquire);
           seen >> 32 == round && static_cast<std::uint32_t>(seen) != 0;) {
        if (!state.compare_exchange_weak(seen, seen - 1, std::memory_order_acquire)) continue;
        // The round cannot end before this task does, so these members do not change.
        task_(context_, begin_of(at + 1) - static_cast<std::uint32_t>(seen));
        ++finished;
        --seen;
      }
    }
    if (finished != 0) left_.fetch_sub(finished, std::memory_order_release);
  }

  void work(std::size_t self) {
    for (std::uint32_t seen = 0;;) {
      wait_until([&] { return round_.load(std::memory_order_acquire) != seen; },
                 [&] { round_.wait(seen, std::memory_order_acquire); });
      if (stop_.load(std::memory_order_relaxed)) return;
      seen = round_.load(std::memory_order_acquire);
      take_tasks(seen, self);
    }
  }

  std::vector<std::thread> workers_;
  std::unique_ptr<part[]> parts_;
  alignas(64) std::atomic<std::uint32_t> round_{0};
  std::atomic<bool> stop_{false};
  std::size_t count_ = 0;
  task task_ = nullptr;
  void* context_ = nullptr;
  alignas(64) std::atomic<std::size_t> left_{0};
};

}  // namespace qwq
