// SPDX-License-Identifier: Apache-2.0
// The pool does each task once, whatever the system does to its threads, and anybody's executor takes its place.
#include <qwq/core/thread_pool.hpp>

#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <numeric>
#include <thread>
#include <vector>

#include <dlfcn.h>
#include <pthread.h>

using namespace qwq;

namespace {
std::atomic<int> threads_granted = 1'000'000;
}

// Takes the place of the C library's in this executable.
extern "C" int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*),
                              void* argument) noexcept {
  if (threads_granted-- <= 0) return EAGAIN;
  using function = int (*)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*);
  static const auto create = reinterpret_cast<function>(::dlsym(RTLD_NEXT, "pthread_create"));
  return create(thread, attributes, start, argument);
}

TEST_CASE("each task is done once, before run returns") {
  for (const std::size_t threads : {1u, 2u, 3u, 8u}) {
    thread_pool pool(threads);
    CHECK(pool.threads() == threads);
    for (int round = 0; round < 300; ++round)
      for (const std::size_t count : {0u, 1u, 2u, 3u, 7u, 8u, 9u, 100u}) {
        std::vector<int> done(count);  // by one thread each: a race if not
        pool.run(
            count, [](void* c, std::size_t i) { ++(*static_cast<std::vector<int>*>(c))[i]; }, &done);
        REQUIRE(std::ranges::all_of(done, [](int times) { return times == 1; }));
      }
  }
}

TEST_CASE("threads that fell asleep wake up, and those that are late take nothing of another run") {
  thread_pool pool(4);
  std::atomic<int> done = 0;
  for (int round = 0; round < 40; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(round % 4 == 0 ? 2 : 0));
    // Runs of which nothing is left when the others come.
    for (int i = 0; i < 20; ++i)
      pool.run(
          2 + static_cast<std::size_t>(i), [](void* c, std::size_t) { ++*static_cast<std::atomic<int>*>(c); }, &done);
  }
  CHECK(done == 40 * (20 * 2 + 19 * 20 / 2));
}

TEST_CASE("a thread that is held back delays nothing but its own task") {
  thread_pool pool(2);
  struct state {
    std::atomic<bool> held = false, release = false;
    std::atomic<int> others = 0;
  } s;
  // One task waits for all the others: the other thread has to take those that were the first one's.
  pool.run(
      10,
      [](void* c, std::size_t) {
        state& at = *static_cast<state*>(c);
        if (!at.held.exchange(true))
          while (at.others.load() < 9) std::this_thread::yield();
        else
          ++at.others;
      },
      &s);
  CHECK(s.others == 9);
}

namespace {

/// Somebody's own: last task first, on threads that it starts as it likes.
class backwards final : public executor {
 public:
  std::size_t runs = 0;
  std::size_t threads() const override { return 3; }
  void run(std::size_t count, task f, void* context) override {
    ++runs;
    std::vector<std::thread> started;
    for (std::size_t i = count; i-- > 0;) started.emplace_back([=] { f(context, i); });
    for (std::thread& t : started) t.join();
  }
};

}  // namespace

TEST_CASE("parallel_for runs on an executor of one's own, and not at all for what is not worth sharing") {
  backwards mine;
  std::vector<int> done(5);
  parallel_for(mine, done.size(), work_worth_sharing, [&](std::size_t i) { done[i] += static_cast<int>(i) + 1; });
  CHECK(mine.runs == 1);
  CHECK(done == std::vector{1, 2, 3, 4, 5});
  parallel_for(mine, done.size(), work_worth_sharing - 1, [&](std::size_t i) { ++done[i]; });
  parallel_for(mine, 1, work_worth_sharing, [&](std::size_t i) { ++done[i]; });
  CHECK(mine.runs == 1);
  CHECK(done == std::vector{3, 3, 4, 5, 6});
}

TEST_CASE("a pool works with the threads that the system grants") {
  for (const int granted : {0, 1, 3}) {
    threads_granted = granted;
    thread_pool pool(8);
    threads_granted = 1'000'000;
    CHECK(pool.threads() == static_cast<std::size_t>(granted) + 1);
    std::vector<int> done(100);
    pool.run(
        done.size(), [](void* c, std::size_t i) { ++(*static_cast<std::vector<int>*>(c))[i]; }, &done);
    CHECK(std::ranges::all_of(done, [](int times) { return times == 1; }));
  }
}
