// SPDX-License-Identifier: Apache-2.0
// The executor that comes with the library: a persistent pool of threads.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "qwq/core/parallel.hpp"

namespace qwq {

/// A fixed number of threads, the caller included, that take tasks one by one. One run at a time; `run` allocates
/// nothing. Tasks are independent and each is done by one thread, so results do not depend on the number of threads.
class thread_pool final : public executor {
 public:
  /// `threads` = 0: as many as the machine runs at the same time.
  explicit thread_pool(std::size_t threads = 0) {
    if (threads == 0) threads = std::thread::hardware_concurrency();
    for (std::size_t i = 1; i < threads; ++i) workers_.emplace_back([this] { work(); });
  }
  ~thread_pool() override {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    for (std::thread& t : workers_) t.join();
  }
  thread_pool(const thread_pool&) = delete;
  thread_pool& operator=(const thread_pool&) = delete;

  std::size_t threads() const override { return workers_.size() + 1; }

  void run(std::size_t count, task f, void* context) override {
    if (workers_.empty() || count < 2) {
      for (std::size_t i = 0; i < count; ++i) f(context, i);
      return;
    }
    {
      const std::lock_guard lock(mutex_);
      task_ = f;
      context_ = context;
      count_ = count;
      next_.store(0, std::memory_order_relaxed);
      busy_.store(workers_.size(), std::memory_order_relaxed);
      round_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    take_tasks();
    while (busy_.load(std::memory_order_acquire) != 0) pause();  // the last tasks are as short as the others
  }

 private:
  static constexpr int spins_before_sleep =
      4000;  // some 50 us: shorter than the pauses between the products of a layer

  static void pause() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#else
    std::this_thread::yield();
#endif
  }

  void take_tasks() {
    for (std::size_t i = next_.fetch_add(1, std::memory_order_relaxed); i < count_;
         i = next_.fetch_add(1, std::memory_order_relaxed))
      task_(context_, i);
  }

  void work() {
    std::size_t seen = 0;
    for (;;) {
      for (int spin = 0; spin < spins_before_sleep && round_.load(std::memory_order_acquire) == seen; ++spin) pause();
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [&] { return stop_ || round_.load(std::memory_order_relaxed) != seen; });
        if (stop_) return;
        seen = round_.load(std::memory_order_relaxed);
      }
      take_tasks();
      busy_.fetch_sub(1, std::memory_order_release);
    }
  }

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stop_ = false;
  std::atomic<std::size_t> round_{0}, next_{0}, busy_{0};
  std::size_t count_ = 0;
  task task_ = nullptr;
  void* context_ = nullptr;
};

}  // namespace qwq
