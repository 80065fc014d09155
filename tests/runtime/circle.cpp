// SPDX-License-Identifier: Apache-2.0
// Sessions that host a graph with a static cache.
#include "qwq/targets/circle.hpp"

#include <doctest/doctest.h>

#include <cmath>

#include "support.hpp"

using namespace qwq;
using namespace qwq::test;

namespace {

const checkpoint& weights() {
  static const checkpoint c = checkpoint::open(data / "tinyqwen");
  return c;
}

float worst_difference(std::span<const float> a, std::span<const float> b) {
  REQUIRE(a.size() == b.size());
  float worst = 0;
  for (std::size_t i = 0; i < a.size(); ++i) worst = std::max(worst, std::abs(a[i] - b[i]));
  return worst;
}

/// A text of `count` tokens.
std::vector<std::int32_t> text_of(std::size_t count) {
  std::vector<std::int32_t> ids;
  for (const token_sequence& t : texts("eval.jsonl", 16)) ids.insert(ids.end(), t.ids.begin(), t.ids.end());
  ids.resize(count);
  return ids;
}

}  // namespace

TEST_CASE("the first chunk is the prefill graph's, all further tokens are the decode graph's") {
  using target = circle<circle_options{.prompt = 32, .length = 96}>;
  const bound_model<tinyqwen> plain(weights(), {.positions = 96});
  const bound_model<tinyqwen, target> bound(weights());
  session<tinyqwen> reference(plain);
  session<tinyqwen, target> s(bound);
  CHECK(s.capacity() == 96);
  for (const std::size_t length : {1u, 7u, 31u, 32u, 33u, 96u}) {
    CAPTURE(length);
    const auto ids = text_of(length);
    std::vector<float> expected, found;
    std::vector<std::int64_t> chunks;
    const auto into = [](std::vector<float>& all) {
      return [&all](std::int64_t, matrix_view<const float> rows) {
        all.insert(all.end(), rows.data, rows.data + rows.rows * rows.cols);
      };
    };
    reference.truncate(0);
    s.truncate(0);
    reference.prefill(ids, into(expected));
    s.prefill(ids, [&](std::int64_t first, matrix_view<const float> rows) {
      CHECK(first * tinyqwen::config.vocab_size == static_cast<std::int64_t>(found.size()));
      chunks.push_back(rows.rows);
      into(found)(first, rows);
    });
    CHECK(worst_difference(expected, found) < 1e-3f);  // of up to 20
    CHECK(chunks.size() == (length <= 32 ? 1 : length - 31));
    CHECK(s.position() == static_cast<std::int64_t>(length));
  }
  CHECK_THROWS_WITH_AS(s.decode(5), "session: 96 + 1 tokens do not fit into a cache of 96", error);
}

TEST_CASE("what was forgotten is not seen, although the cache still holds it") {
  using target = circle<circle_options{.prompt = 16, .length = 48}>;
  const bound_model<tinyqwen, target> bound(weights());
  session<tinyqwen, target> s(bound), fresh(bound);
  const auto ids = text_of(48);
  s.prefill(ids);
  for (const std::int64_t kept : {20, 5, 0}) {
    CAPTURE(kept);
    s.truncate(kept);
    fresh.truncate(0);
    fresh.prefill(std::span(ids).first(static_cast<std::size_t>(kept)));
    for (const std::int32_t id : {7, 300, 41}) CHECK(worst_difference(s.decode(id), fresh.decode(id)) < 1e-4f);
  }
}

TEST_CASE("keys in the cache are scaled, values are the model's") {
  const bound_model<tinyqwen> plain(weights(), {.positions = 64});
  const bound_model<tinyqwen, circle<>> bound(weights());
  session<tinyqwen> reference(plain);
  session<tinyqwen, circle<>> s(bound);
  const auto ids = text_of(40);
  reference.prefill(ids);
  s.prefill(ids);
  float keys = 0, values = 0;
  for (std::int64_t layer = 0; layer < 6; ++layer)
    for (std::int64_t head = 0; head < 2; ++head)
      for (std::int64_t position = 0; position < 40; ++position)
        for (std::int64_t d = 0; d < 64; ++d) {
          const float key = reference.cache(layer, "key").at(head, position)[d] / 8;  // sqrt(head_dim)
          keys = std::max(keys, std::abs(s.cache(layer, "key").at(head, position)[d] - key));
          values = std::max(values, std::abs(s.cache(layer, "value").at(head, position)[d] -
                                             reference.cache(layer, "value").at(head, position)[d]));
        }
  CHECK(keys < 1e-4f);
  CHECK(values < 1e-4f);
}

TEST_CASE("prompts are continued as the model continues them, with norms in parts or whole") {
  const auto check = [&]<class Target>(Target) {
    const bound_model<tinyqwen, Target> bound(weights());
    session<tinyqwen, Target> s(bound);
    sampler greedy({}, 1280);
    for (const prompt& p : prompts("tinyqwen")) {
      std::vector<std::int32_t> said;
      s.truncate(0);
      generate(s, s.prefill(p.ids), static_cast<std::int64_t>(p.continuation.size()), greedy, eos,
               [&](std::int32_t id) {
                 said.push_back(id);
                 return true;
               });
      CHECK(said == p.continuation);
    }
  };
  check(circle<>{});
  check(circle<circle_options{.fused_norm = true}>{});
  check(circle<circle_options{.prompt = 8, .length = 128, .mask_fill = -10000}>{});
}
