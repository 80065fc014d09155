// SPDX-License-Identifier: Apache-2.0
// Runs the cases of one family in Google Benchmark.
#include "harness.hpp"

#include <benchmark/benchmark.h>
#include <sched.h>
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <fstream>
#include <random>
#include <string_view>
#include <thread>

#include "qwq/core/error.hpp"
#include "qwq/core/thread_pool.hpp"

namespace qwq::bench {

namespace {

std::vector<bench_case>& cases() {
  static std::vector<bench_case> all;
  return all;
}

/// Long enough for the clock, short enough to fall between two disturbances.
double sample_seconds = 2e-3;
int rounds_at_most = 1000;

/// As many threads as a case has, each on a processor of its own: a thread that moves takes its cache along.
class pinned_threads {
 public:
  explicit pinned_threads(std::size_t count) {
    CPU_ZERO(&before_);
    sched_getaffinity(0, sizeof before_, &before_);
    if (count == 1) {
      // The last one: systems prefer the first for what they do themselves.
      cpu_set_t one;
      CPU_ZERO(&one);
      for (int cpu = CPU_SETSIZE - 1; cpu >= 0 && CPU_COUNT(&one) == 0; --cpu)
        if (CPU_ISSET(cpu, &before_)) CPU_SET(cpu, &one);
      sched_setaffinity(0, sizeof one, &one);
      executor_ = std::make_unique<inline_executor>();
    } else {
      executor_ = std::make_unique<thread_pool>(count);
    }
  }
  ~pinned_threads() { sched_setaffinity(0, sizeof before_, &before_); }
  pinned_threads(const pinned_threads&) = delete;
  pinned_threads& operator=(const pinned_threads&) = delete;

  executor& get() { return *executor_; }

 private:
  cpu_set_t before_{};
  std::unique_ptr<executor> executor_;
};

/// A contender while its case runs.
class runner {
 public:
  runner(std::string n, double a, call c, std::int64_t turns)
      : name(std::move(n)), amount(a), f(std::move(c)), calls(turns) {}

  std::string name;
  double amount;
  call f;
  std::int64_t calls;  // of one sample
  double best = 0;     // amount per second

  double sample() {
    const auto from = std::chrono::steady_clock::now();
    for (std::int64_t i = 0; i < calls; ++i) f();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - from).count();
    best = std::max(best, amount * static_cast<double>(calls) / seconds);
    return seconds;
  }
  /// Calls before the samples, outside of the clock: others had the caches, and a last level of which a set is a good
  /// part changes hands over several passes. What takes long fills them by itself.
  double round() {
    for (int i = 0; i < 4 && !long_; ++i) f();
    return sample() / static_cast<double>(calls);
  }
  void find_calls() {
    long_ = sample() > 0.01;
    while (!long_ && sample() < sample_seconds && calls < (std::int64_t{1} << 40)) calls *= 2;
    if (!long_) best = 0;
  }

 private:
  bool long_ = false;
};

struct unit_text {
  const char* name;
  double scale;
};
unit_text text_of(unit u) {
  switch (u) {
    case unit::bytes:
      return {"GB/s", 1e-9};
    case unit::flops:
      return {"GFLOP/s", 1e-9};
    case unit::int_ops:
      return {"GOP/s", 1e-9};
    case unit::rounds:
      return {"k/s", 1e-3};
    default:
      return {"tok/s", 1};
  }
}

void run(benchmark::State& state, const bench_case& one) {
  pinned_threads threads(one.threads);
  std::vector<runner> all;
  const auto start = [&](const std::string& name, const maker& make, double amount, std::int64_t turns = 1) {
    all.emplace_back(name, amount == 0 ? one.amount : amount, make(threads.get()), turns);
    all.back().find_calls();
  };
  start("ours", one.ours, one.amount, one.turns);
  for (const auto* contenders : {&one.limits, &one.also_limits, &one.peers})
    for (const contender& c : *contenders) start(c.name, c.make, c.amount);

  // Threads of peers may wait for more work for a while, on the processors that others need.
  const std::chrono::milliseconds rest(one.threads > 1 && !one.peers.empty() ? 20 : 0);
  for ([[maybe_unused]] auto _ : state) {
    double seconds = 0;
    for (runner& contender : all) {
      std::this_thread::sleep_for(rest);
      const double found = contender.round();
      if (&contender == &all.front()) seconds = found;
    }
    state.SetIterationTime(seconds);
  }

  const unit_text unit = text_of(one.counts);
  state.counters["amount"] = one.amount;
  state.counters["ours"] = all.front().best * unit.scale;
  std::string label = unit.name;
  const std::span<const runner> limits = std::span(all).subspan(1, one.limits.size());
  const std::span<const runner> also = std::span(all).subspan(1 + limits.size(), one.also_limits.size());
  if (!limits.empty()) {
    const runner* limit = &*std::ranges::max_element(limits, {}, &runner::best);
    if (!also.empty())
      limit = &std::ranges::min(*limit, *std::ranges::max_element(also, {}, &runner::best), {}, &runner::best);
    state.counters["limit"] = limit->best * unit.scale;
    state.counters["percent_of_limit"] = 100 * all.front().best / limit->best;
    label += ", limit: " + limit->name;
  }
  state.SetLabel(label);
  for (const runner& peer : std::span(all).subspan(1 + limits.size() + also.size()))
    state.counters["peer " + peer.name] = peer.best * unit.scale;
}

std::size_t cache_bytes(int index) {
  std::ifstream file("/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/size");
  std::size_t kilobytes = 0;
  file >> kilobytes;
  return kilobytes * 1024;
}

/// The processor by name, and by family and model: virtual machines hide the rest of the name.
std::string machine() {
  std::ifstream info("/proc/cpuinfo");
  std::string line, name = "unknown processor", family, model;
  while (std::getline(info, line) && !line.empty())
    for (const auto& [field, to] : {std::pair{"model name\t", &name}, {"cpu family\t", &family}, {"model\t", &model}})
      if (line.starts_with(field)) *to = line.substr(line.find(": ") + 2);
  return name + " (family " + family + ", model " + model + "), " +
         std::to_string(std::thread::hardware_concurrency()) + " processors, L2 " +
         std::to_string(cache_bytes(2) >> 10) + " KB, L3 " + std::to_string(cache_bytes(3) >> 20) + " MB";
}

}  // namespace

void add(bench_case one) { cases().push_back(std::move(one)); }

void* allocate(std::size_t bytes) {
  constexpr std::size_t huge_page = std::size_t{2} << 20;
  const bool large = bytes >= 2 * huge_page;
  const std::size_t alignment = large ? huge_page : 64;
  const std::size_t rounded = (bytes + alignment) / alignment * alignment;
  void* const p = std::aligned_alloc(alignment, rounded);
  if (p == nullptr) throw error("expected " + std::to_string(rounded) + " bytes of memory for a benchmark");
  if (large) madvise(p, rounded, MADV_HUGEPAGE);
  std::memset(p, 0, rounded);
  return p;
}

buffer<float> floats(std::size_t size, float spread, std::uint32_t seed) {
  // A table of normal numbers, read at random: hundreds of megabytes of them in a moment.
  std::mt19937 bits(seed);
  std::normal_distribution<float> normal(0, spread);
  float table[4096];
  for (float& x : table) x = normal(bits);
  buffer<float> result = make_buffer<float>(size);
  std::uint32_t state = seed;
  for (std::size_t i = 0; i < size; ++i) result[i] = table[(state = state * 1664525u + 1013904223u) >> 20];
  return result;
}

std::span<const working_set> working_sets() {
  static const std::vector<working_set> sets = [] {
    const std::size_t l2 = cache_bytes(2), l3 = cache_bytes(3);
    std::vector<working_set> result;
    if (l2 != 0) result.push_back({"L2", l2 / 4});
    if (l3 > 4 * l2) result.push_back({"L3", std::min(l3 / 4, 4 * l2)});
    result.push_back({"memory", std::max<std::size_t>(std::size_t{256} << 20, 3 * l3)});
    return result;
  }();
  return sets;
}

}  // namespace qwq::bench

int main(int argc, char** argv) {
  using namespace qwq::bench;
  // Ours: --quick (a look, whose figures mean little) and --first (only the first case of the family).
  const auto flag = [&](std::string_view name) {
    const auto at = std::find(argv + 1, argv + argc, name);
    if (at == argv + argc) return false;
    std::rotate(at, at + 1, argv + argc);
    --argc;
    return true;
  };
  const bool first = flag("--first");
  if (flag("--quick")) {
    sample_seconds = 2e-4;
    rounds_at_most = 2;
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::AddCustomContext("machine", machine());
  add_cases();
  if (first) cases().resize(1);
  for (const bench_case& one : cases()) {
    const std::string name = one.kernel + '/' + one.shape + "/threads:" + std::to_string(one.threads);
    benchmark::RegisterBenchmark(name.c_str(), [&one](benchmark::State& state) { run(state, one); })
        ->UseManualTime()
        ->Iterations(std::min(one.rounds, rounds_at_most));
  }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
