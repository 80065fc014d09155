// SPDX-License-Identifier: Apache-2.0
// What the runtime promises: the model's texts, from many threads as from one, and no allocation after start-up.
#include "runtime.hpp"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <fstream>
#include <latch>
#include <new>
#include <string>
#include <thread>
#include <vector>

namespace {
std::atomic<std::size_t> allocations{0};

void* counted(std::size_t size, std::size_t alignment) {
  ++allocations;
  if (void* p = std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment)) return p;
  throw std::bad_alloc();
}
}  // namespace

void* operator new(std::size_t size) { return counted(size, alignof(std::max_align_t)); }
void* operator new(std::size_t size, std::align_val_t a) { return counted(size, static_cast<std::size_t>(a)); }
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete(void* p, std::align_val_t) noexcept { std::free(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { std::free(p); }

namespace {

struct golden {
  std::string text;  // with what the float model adds, as long as it is sure
  std::vector<std::int32_t> prompt;
  std::int64_t limit;
};

std::vector<golden> goldens(const std::filesystem::path& folder, const qwq::tokenizer& words) {
  std::ifstream file(folder / "generate.json");
  std::vector<golden> all;
  for (const auto& row : nlohmann::json::parse(file)) {
    std::vector<std::int32_t> added;
    for (std::size_t i = 0; i < row.at("new_ids").size() && row.at("margins")[i].get<double>() >= 0.05; ++i)
      added.push_back(row.at("new_ids")[i]);
    const std::string prompt = row.at("prompt");
    all.push_back({prompt + words.decode(added, true), words.encode(prompt), static_cast<std::int64_t>(added.size())});
  }
  return all;
}

int failures = 0;
void expect(bool holds, const std::string& what) {
  if (holds) return;
  std::printf("not so: %s\n", what.c_str());
  ++failures;
}

/// Continues every golden in one conversation, then in many at once that start together.
template <qwq::dtype Cache>
void check(const std::filesystem::path& folder, const std::string& name) {
  const loaded_model<Cache> loaded(folder);
  const std::vector<golden> all = goldens(folder, loaded.words);
  std::vector<std::string> alone(all.size()), together(all.size());
  for (auto* replies : {&alone, &together})
    for (std::string& reply : *replies) reply.reserve(4096);

  conversation<Cache> one(loaded);
  const std::size_t before = allocations;
  std::int64_t pieces = 0;
  for (std::size_t i = 0; i < all.size(); ++i)
    one.reply(all[i].prompt, all[i].limit, [&](std::string_view text) {
      alone[i] += text;
      ++pieces;
    });
  const std::size_t after = allocations;
  expect(before > 0, name + ": start-up allocates, which is counted");
  expect(after == before,
         name + ": one conversation allocates nothing, but did so " + std::to_string(after - before) + " times");
  expect(pieces > 100, name + ": texts come piece by piece");
  for (std::size_t i = 0; i < all.size(); ++i) {
    const std::string prompt = loaded.words.decode(all[i].prompt);
    expect(prompt + alone[i] == all[i].text, name + ": '" + prompt + "' + '" + alone[i] + "' is '" + all[i].text + "'");
  }

  constexpr std::size_t threads = 4;
  std::deque<conversation<Cache>> each;
  for (std::size_t t = 0; t < threads; ++t) each.emplace_back(loaded);
  std::latch ready(threads + 1), done(threads);
  std::vector<std::jthread> running;
  for (std::size_t t = 0; t < threads; ++t)
    running.emplace_back([&, t] {
      ready.arrive_and_wait();
      for (std::size_t i = t; i < all.size(); i += threads)
        each[t].reply(all[i].prompt, all[i].limit, [&](std::string_view text) { together[i] += text; });
      done.count_down();
    });
  const std::size_t start = allocations;
  ready.arrive_and_wait();
  done.wait();
  const std::size_t end = allocations;
  expect(end == start,
         name + ": many conversations allocate nothing, but did so " + std::to_string(end - start) + " times");
  expect(together == alone, name + ": many conversations say what one says");
  std::printf("%s: %zu texts, %lld pieces, %zu and %zu allocations after start-up\n", name.c_str(), all.size(),
              static_cast<long long>(pieces), after - before, end - start);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  check<qwq::dtype::f16>(argv[1], "f16");
  check<qwq::dtype::i8>(argv[1], "i8");
  return failures == 0 ? 0 : 1;
}
