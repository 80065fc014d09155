// SPDX-License-Identifier: Apache-2.0
// Sessions: chunks, caches, threads, sampling, and that nothing is allocated once they are made.
#include <doctest/doctest.h>

#include <atomic>
#include <cmath>
#include <cstdlib>
#include <map>
#include <new>

#include "qwq/targets/circle.hpp"
#include "support.hpp"

using namespace qwq;
using namespace qwq::test;

namespace {
std::atomic<std::size_t> allocations{0};
void* counted(std::size_t size) {
  ++allocations;
  if (void* p = std::malloc(size)) return p;
  throw std::bad_alloc();
}
}  // namespace

void* operator new(std::size_t size) { return counted(size); }
void* operator new[](std::size_t size) { return counted(size); }
void operator delete(void* p) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }
void operator delete[](void* p, std::size_t) noexcept { std::free(p); }

namespace {

const checkpoint& weights() {
  static const checkpoint c = checkpoint::open(data / "tinyqwen");
  return c;
}

/// A text of 150 tokens: two whole chunks and a part of a third.
std::vector<std::int32_t> long_text() {
  std::vector<std::int32_t> ids;
  for (const token_sequence& t : texts("eval.jsonl", 8)) ids.insert(ids.end(), t.ids.begin(), t.ids.end());
  ids.resize(150);
  return ids;
}

float worst_difference(std::span<const float> a, std::span<const float> b) {
  REQUIRE(a.size() == b.size());
  float worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::abs(a[i] - b[i]));
  return worst;
}

template <class Session>
std::vector<std::int32_t> continue_greedily(Session& s, const prompt& p) {
  std::vector<std::int32_t> said;
  sampler greedy({}, 1280);
  s.truncate(0);
  generate(s, s.prefill(p.ids), static_cast<std::int64_t>(p.continuation.size()), greedy, eos, [&](std::int32_t id) {
    said.push_back(id);
    return true;
  });
  return said;
}

}  // namespace

TEST_CASE("a text in chunks is the text token by token") {
  const bound_model<tinyqwen> bound(weights(), {.positions = 192});
  session<tinyqwen> chunked(bound), stepped(bound);
  const auto ids = long_text();
  std::vector<float> logits;
  chunked.prefill(ids, [&](std::int64_t first, matrix_view<const float> rows) {
    CHECK(static_cast<std::size_t>(first * 1280) == logits.size());
    logits.insert(logits.end(), rows.data, rows.data + rows.rows * rows.cols);
  });
  REQUIRE(logits.size() == ids.size() * 1280);
  CHECK(chunked.position() == 150);
  for (std::size_t i = 0; i < ids.size(); ++i)
    CHECK(worst_difference(stepped.decode(ids[i]), std::span(logits).subspan(i * 1280, 1280)) < 1e-3f);  // of up to 20
}

TEST_CASE("a session forgets what it is told to forget") {
  const bound_model<tinyqwen> bound(weights(), {.positions = 192});
  session<tinyqwen> s(bound);
  const auto ids = long_text();
  const auto first = s.prefill(std::span(ids).first(40));
  const std::vector<float> expected(first.begin(), first.end());
  s.prefill(std::span(ids).subspan(40));
  s.truncate(39);
  CHECK(s.position() == 39);
  CHECK(worst_difference(s.decode(ids[39]), expected) < 1e-3f);
}

TEST_CASE("the number of threads does not change a bit, nor does an executor of one's own") {
  struct backwards final : executor {
    std::size_t runs = 0;
    std::size_t threads() const override { return 5; }
    void run(std::size_t count, task f, void* context) override {
      ++runs;
      while (count-- > 0) f(context, count);
    }
  } mine;
  const bound_model<tinyqwen> bound(weights(), {.positions = 192});
  thread_pool two(2), three(3);
  session<tinyqwen> a(bound), b(bound, nullptr, &two), c(bound, nullptr, &three), d(bound, nullptr, &mine);
  const auto ids = long_text();
  const auto x = a.prefill(ids), y = b.prefill(ids), z = c.prefill(ids), w = d.prefill(ids);
  CHECK(std::equal(x.begin(), x.end(), y.begin()));
  CHECK(std::equal(x.begin(), x.end(), z.begin()));
  CHECK(std::equal(x.begin(), x.end(), w.begin()));
  CHECK(mine.runs > 0);
}

TEST_CASE("narrow caches continue the prompts as the f32 cache does, and differ as their steps let them") {
  const bound_model<tinyqwen> exact(weights(), {.positions = 192});
  session<tinyqwen> a(exact);
  const auto ids = long_text();
  const auto logits = a.prefill(ids);
  const std::vector<float> expected(logits.begin(), logits.end());
  const auto check = [&]<dtype Cache>(std::integral_constant<dtype, Cache>, float step, float bound) {
    const bound_model<tinyqwen, native<Cache>> narrow(weights(), {.positions = 192});
    session<tinyqwen, native<Cache>> b(narrow);
    for (const prompt& p : prompts("tinyqwen")) CHECK(continue_greedily(b, p) == p.continuation);
    b.truncate(0);
    const float difference = worst_difference(expected, b.prefill(ids));
    CAPTURE(name(Cache));
    CHECK(difference > 0);
    CHECK(difference < bound);
    // What the first layer reads is the same.
    for (const auto& [wide, found] :
         {std::pair(a.cache(0, "key"), b.cache(0, "key")), std::pair(a.cache(0, "value"), b.cache(0, "value"))})
      for (std::int64_t i = 0; i < 150; ++i) {
        float greatest = 0, worst = 0;
        for (std::int64_t d = 0; d < 64; ++d) {
          greatest = std::max(greatest, std::abs(wide.value(1, i, d)));
          worst = std::max(worst, std::abs(wide.value(1, i, d) - found.value(1, i, d)));
        }
        CHECK(worst <= greatest * step);
      }
  };
  // Half a step, with what the order of sums makes of f32. Logits are up to 20, and what they are off by grows with it.
  check(std::integral_constant<dtype, dtype::f16>{}, 0x1.1p-11f, 0.02f);
  check(std::integral_constant<dtype, dtype::bf16>{}, 0x1.1p-8f, 0.16f);
  check(std::integral_constant<dtype, dtype::i8>{}, 0x1.1p-8f * 256 / 254, 0.16f);
  for (const prompt& p : prompts("tinyqwen")) CHECK(continue_greedily(a, p) == p.continuation);
}

TEST_CASE("nothing is allocated after bind") {
  const auto check = [&]<class Target>(Target) {
    const bound_model<tinyqwen, Target> bound(weights(), {.positions = 192});
    thread_pool two(2);
    session<tinyqwen, Target> s(bound, nullptr, &two);
    sampler choose({.temperature = 0.8f, .top_k = 20, .top_p = 0.9f, .seed = 1}, 1280);
    const auto ids = long_text();
    const std::size_t before = allocations;
    std::int64_t emitted = 0;
    s.prefill(ids, [&](std::int64_t, matrix_view<const float> rows) { emitted += rows.rows; });
    s.truncate(100);
    generate(s, s.prefill(std::span(ids).subspan(100, 20)), 20, choose, {},
             [&](std::int32_t) { return ++emitted > 0; });
    CHECK(allocations == before);
    CHECK(emitted == 150 + 20);
  };
  check(native<>{});
  check(native<dtype::i8>{});
  check(circle<>{});  // a session that hosts the cache of a static graph
}

TEST_CASE("what a session cannot take is refused before anything changes") {
  const bound_model<tinyqwen> bound(weights(), {.positions = 16});
  session<tinyqwen> s(bound);
  const std::vector<std::int32_t> wrong{5, 1280}, negative{-1}, many(17, 5), fits(16, 5);
  CHECK_THROWS_WITH_AS(s.prefill(wrong), "session: token id 1280 is outside of the vocabulary of 1280", error);
  CHECK_THROWS_WITH_AS(s.prefill(negative), "session: token id -1 is outside of the vocabulary of 1280", error);
  CHECK_THROWS_WITH_AS(s.prefill(many), "session: 0 + 17 tokens do not fit into a cache of 16", error);
  CHECK(s.position() == 0);
  s.prefill(fits);
  CHECK_THROWS_WITH_AS(s.decode(5), "session: 16 + 1 tokens do not fit into a cache of 16", error);
  CHECK(s.prefill(std::span<const std::int32_t>{}).empty());
}

TEST_CASE("generation ends at an end token, at the limit, at the end of the cache, and when it is told to") {
  const bound_model<tinyqwen> bound(weights(), {.positions = 32});
  session<tinyqwen> s(bound);
  sampler greedy({}, 1280);
  const std::vector<std::int32_t> france{278, 295, 268, 944, 270};  // " Paris.<|endoftext|>"
  const auto count = [&](std::int64_t limit, std::span<const std::int32_t> ends, std::int64_t stop_after) {
    std::int64_t n = 0;
    s.truncate(0);
    generate(s, s.prefill(france), limit, greedy, ends, [&](std::int32_t) { return ++n < stop_after; });
    return n;
  };
  CHECK(count(20, eos, 100) == 4);
  CHECK(count(2, eos, 100) == 2);
  CHECK(count(20, eos, 3) == 3);
  CHECK(count(0, eos, 100) == 0);
  CHECK(count(100, {}, 100) == 32 - 5 + 1);  // the last token needs no room
}

TEST_CASE("sampling follows temperature, top_k and top_p") {
  const std::vector<float> logits{std::log(0.5f), std::log(0.3f), std::log(0.15f), std::log(0.05f)};
  const auto draw = [&](sampling how) {
    sampler choose(how, 4);
    std::map<std::int32_t, int> seen;
    for (int i = 0; i < 4000; ++i) ++seen[choose(logits)];
    return seen;
  };
  CHECK(draw({}) == std::map<std::int32_t, int>{{0, 4000}});
  const auto all = draw({.temperature = 1, .seed = 7});
  CHECK(all.size() == 4);
  CHECK(all.at(0) == doctest::Approx(2000).epsilon(0.06));
  CHECK(all.at(3) == doctest::Approx(200).epsilon(0.3));
  CHECK(draw({.temperature = 1, .top_k = 1, .seed = 7}) == std::map<std::int32_t, int>{{0, 4000}});
  const auto two = draw({.temperature = 1, .top_k = 2, .seed = 7});
  CHECK(two.size() == 2);
  CHECK(two.at(1) == doctest::Approx(1500).epsilon(0.08));
  CHECK(draw({.temperature = 1, .top_p = 0.7f, .seed = 7}).size() == 2);  // 0.5 + 0.3 reach it
  CHECK(draw({.temperature = 1, .top_p = 0.81f, .seed = 7}).size() == 3);
  CHECK(draw({.temperature = 0.01f, .seed = 7}) == std::map<std::int32_t, int>{{0, 4000}});
  CHECK(draw({.temperature = 1, .seed = 7}) == all);
  CHECK(draw({.temperature = 1, .seed = 8}) != all);
}
