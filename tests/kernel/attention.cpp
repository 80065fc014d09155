// SPDX-License-Identifier: Apache-2.0
// Grouped-query attention over a cache.
#include "qwq/kernel/attention.hpp"

#include "qwq/kernel/reference.hpp"
#include "support.hpp"
#include "xtensor.hpp"

using namespace qwq;
using namespace test;

namespace {

struct shape {
  std::int64_t heads, kv_heads, head_dim, m, past;
  std::int64_t width() const { return heads * head_dim; }
  std::int64_t kv_width() const { return kv_heads * head_dim; }
  std::int64_t capacity() const { return past + m + 3; }
  float scale() const { return 1 / std::sqrt(static_cast<float>(head_dim)); }
};

/// A cache of `past` random positions, and room after it.
template <class T>
struct cache {
  explicit cache(const shape& s, unsigned seed, float fill = 0)
      : store(s.kv_heads * s.capacity() * s.head_dim, {kernel::is_kv_code<T> ? 99.0f : fill}),
        scales(s.kv_heads * s.capacity(), {fill}),
        view{store.data(), s.kv_heads, s.capacity(), s.head_dim, scales.data()} {
    const buffer<float> rows(s.past * s.kv_width(), normal(s.past * s.kv_width(), seed));
    kernel::append_kv(view, rows.matrix(s.past, s.kv_width()), 0);
  }
  buffer<T> store;
  buffer<float> scales;
  kernel::kv_view<T> view;
};

template <class T>
struct problem {
  explicit problem(const shape& shape, float spread = 1)
      : s(shape),
        keys(s, 1, quiet_nan),
        values(s, 2, quiet_nan),
        q(s.m * s.width(), normal(s.m * s.width(), 3, spread)),
        k(s.m * s.kv_width(), normal(s.m * s.kv_width(), 4)),
        v(s.m * s.kv_width(), normal(s.m * s.kv_width(), 5)) {}

  /// Rows [first, first + count), appended and then attended to.
  void run(buffer<float>& y, std::int64_t first, std::int64_t count) {
    inline_executor ex;
    kernel::append_kv(keys.view, k.matrix(s.m, s.kv_width()).rows_from(first, count), s.past + first);
    kernel::append_kv(values.view, v.matrix(s.m, s.kv_width()).rows_from(first, count), s.past + first);
    kernel::attention(ex, y.matrix(s.m, s.width()).rows_from(first, count),
                      q.matrix(s.m, s.width()).rows_from(first, count), keys.view, values.view, s.past + first,
                      s.scale());
  }

  shape s;
  cache<T> keys, values;
  buffer<float> q, k, v;
};

const std::vector<shape> shapes{{1, 1, 1, 1, 0},     {2, 1, 8, 1, 0},    {4, 2, 16, 3, 0},    {4, 2, 17, 5, 4},
                                {16, 8, 128, 1, 70}, {6, 2, 80, 9, 61},  {8, 1, 64, 7, 0},    {3, 3, 36, 70, 0},
                                {2, 2, 256, 2, 127}, {4, 2, 128, 64, 0}, {5, 1, 20, 13, 130}, {2, 1, 8, 0, 4},
                                {3, 1, 64, 1, 65},   {5, 1, 64, 1, 20},  {6, 1, 96, 1, 63},   {7, 1, 40, 21, 90},
                                {8, 1, 128, 6, 63},  {8, 1, 128, 1, 0},  {4, 4, 512, 3, 10},  {7, 1, 5, 1, 66},
                                {20, 1, 16, 1, 5},   {2, 1, 64, 40, 100}};

}  // namespace

TEST_CASE("attention equals the two-pass softmax, for every cache type") {
  const auto check = [&]<class T>(T, float bound) {
    for (const shape& s : shapes) {
      CAPTURE(s.heads);
      CAPTURE(s.head_dim);
      CAPTURE(s.m);
      CAPTURE(s.past);
      problem<T> p(s);
      buffer<float> y(s.m * s.width()), expected(s.m * s.width());
      p.run(y, 0, s.m);
      kernel::reference::attention(expected.matrix(s.m, s.width()), p.q.matrix(s.m, s.width()), p.keys.view,
                                   p.values.view, s.past, s.scale());
      CHECK(first_difference(y, expected, [&](float a, float b) { return close(a, b, 0, bound); }) == -1);
      CHECK((y.intact() && p.keys.store.intact() && p.values.store.intact()));
    }
  };
  // Scores below 8 are off by (head_dim + 2) half ulps at worst and by much less in practice.
  check(float{}, 2e-6f);
  check(float16{}, 2e-6f);
  check(bfloat16{}, 2e-6f);
  // Queries and weights may be integers of 16 bits: half a step of elements up to 4 is 6e-5.
  check(std::int8_t{}, 1e-4f);
}

TEST_CASE("a NaN spoils the heads that read it, and no other, for int8 too") {
  const auto check = [&]<class T>(T) {
    for (const std::int64_t head_dim : {16, 40, 64, 128}) {
      const shape s{6, 2, head_dim, 1, 200};
      buffer<float> clean(s.width()), y(s.width());
      problem<T> p(s);
      p.run(clean, 0, 1);
      const auto expect_nan = [&](std::int64_t first, std::int64_t last) {
        for (std::int64_t h = 0; h < s.heads; ++h)
          for (std::int64_t d = 0; d < head_dim; ++d) {
            const auto at = static_cast<std::size_t>(h * head_dim + d);
            CHECK(same(y[at], first <= h && h <= last ? quiet_nan : clean[at]));
          }
      };
      problem<T> query(s);
      query.q[static_cast<std::size_t>(4 * head_dim + 3)] = quiet_nan;
      query.run(y, 0, 1);
      expect_nan(4, 4);
      for (const bool key : {true, false}) {
        problem<T> spoiled(s);
        auto& cache = key ? spoiled.keys : spoiled.values;
        const std::vector<float> nan(static_cast<std::size_t>(s.kv_width()), quiet_nan);
        const std::vector<float> zero(nan.size());
        kernel::append_kv(cache.view, {nan.data(), 1, s.kv_width()}, 77);
        cache.view.kv_heads = 1;
        kernel::append_kv(cache.view, {zero.data(), 1, head_dim}, 77);  // head 1 keeps its NaN
        cache.view.kv_heads = 2;
        problem<T> zeroed(s);
        auto& other = key ? zeroed.keys : zeroed.values;
        other.view.kv_heads = 1;
        kernel::append_kv(other.view, {zero.data(), 1, head_dim}, 77);
        other.view.kv_heads = 2;
        zeroed.run(clean, 0, 1);
        spoiled.run(y, 0, 1);
        expect_nan(3, 5);
        p.run(clean, 0, 1);
      }
    }
  };
  check(float{});
  check(float16{});
  check(std::int8_t{});
}

TEST_CASE("one head is softmax(q k^T) v as xtensor computes it") {
  const shape s{1, 1, 24, 1, 99};
  problem<float> p(s);
  buffer<float> y(24);
  p.run(y, 0, 1);
  const auto matrix = [](const buffer<float>& x) -> xt::xtensor<double, 2> {
    return xt::view(xt::adapt(x.data(), x.size(), xt::no_ownership(), std::vector<std::size_t>{103, 24}),
                    xt::range(0, 100), xt::all());
  };
  const xt::xtensor<double, 1> q = xt::adapt(p.q.data(), p.q.size(), xt::no_ownership(), std::vector<std::size_t>{24});
  const xt::xtensor<double, 1> score = xt::sum(matrix(p.keys.store) * q, {1}) * static_cast<double>(s.scale());
  const xt::xtensor<double, 1> e = xt::exp(score - xt::amax(score)());
  const xt::xtensor<double, 1> weight = e / xt::sum(e)();
  const auto column = xt::view(weight, xt::all(), xt::newaxis());
  const xt::xtensor<double, 1> expected = xt::sum(matrix(p.values.store) * column, {0});
  for (std::size_t d = 0; d < 24; ++d) CHECK(std::abs(y[d] - expected(d)) < 1e-6);
}

TEST_CASE("chunks of several tokens, and the order of tasks, do not change a bit") {
  const auto check = [&]<class T>(T) {
    for (const shape& s : shapes) {
      if (s.m < 4) continue;
      CAPTURE(s.head_dim);
      problem<T> whole(s), chunked(s);
      buffer<float> y(s.m * s.width()), z(s.m * s.width());
      whole.run(y, 0, s.m);
      chunked.run(z, 0, 2);
      chunked.run(z, 2, s.m - 2);
      CHECK(first_difference(z, y, same) == -1);
      backward_executor backward;
      kernel::attention(backward, z.matrix(s.m, s.width()), whole.q.matrix(s.m, s.width()), whole.keys.view,
                        whole.values.view, s.past, s.scale());
      CHECK(first_difference(z, y, same) == -1);
    }
  };
  check(float{});
  check(float16{});
  check(std::int8_t{});
}

TEST_CASE("a long text, whose keys are split, is the same for any order of tasks and close to the text at once") {
  for (const shape& s : {shape{4, 2, 16, 2, 2000}, shape{8, 1, 40, 2, 1111}, shape{16, 8, 64, 2, 1500}}) {
    problem<float> p(s);
    buffer<float> together(2 * s.width()), y(2 * s.width()), z(2 * s.width());
    p.run(together, 0, 2);
    p.run(y, 0, 1);
    p.run(y, 1, 1);
    CHECK(first_difference(y, together, [](float a, float b) { return close(a, b, 0, 1e-6f); }) == -1);
    backward_executor backward;
    for (std::int64_t i = 0; i < 2; ++i)
      kernel::attention(backward, z.matrix(2, s.width()).rows_from(i, 1), p.q.matrix(2, s.width()).rows_from(i, 1),
                        p.keys.view, p.values.view, s.past + i, s.scale());
    CHECK(first_difference(z, y, same) == -1);
  }
}

TEST_CASE("a token sees nothing of the ones after it, not even NaN") {
  const shape s{4, 2, 20, 9, 60};
  problem<float> clean(s), spoiled(s);
  buffer<float> y(s.m * s.width()), z(s.m * s.width());
  for (std::int64_t d = 0; d < s.kv_width(); ++d) {
    spoiled.k.matrix(s.m, s.kv_width())(5, d) = quiet_nan;
    spoiled.v.matrix(s.m, s.kv_width())(5, d) = infinity;
  }
  clean.run(y, 0, s.m);
  spoiled.run(z, 0, s.m);
  for (std::int64_t i = 0; i < s.m; ++i)
    for (std::int64_t j = 0; j < s.width(); ++j) {
      const float got = z.matrix(s.m, s.width())(i, j);
      CHECK(same(got, i < 5 ? y.matrix(s.m, s.width())(i, j) : quiet_nan));
    }
}

TEST_CASE("scores of any size, and keys that are ruled out by -inf") {
  const shape s{2, 1, 16, 1, 150};
  problem<float> p(s, 1000);  // one key takes nearly all the weight
  buffer<float> y(32), expected(32);
  p.run(y, 0, 1);
  kernel::reference::attention(expected.matrix(1, 32), p.q.matrix(1, 32), p.keys.view, p.values.view, 150, s.scale());
  CHECK(first_difference(y, expected, [](float a, float b) { return close(a, b, 2e-3f, 2e-3f); }) == -1);

  // The first 100 keys score -inf, more than a block of them.
  p.q = buffer<float>(32, {0.25f});
  for (std::int64_t j = 0; j < 100; ++j) p.keys.view.at(0, j)[3] = -infinity;
  p.run(y, 0, 1);
  kernel::reference::attention(expected.matrix(1, 32), p.q.matrix(1, 32), p.keys.view, p.values.view, 150, s.scale());
  CHECK(std::isfinite(expected[0]));
  CHECK(first_difference(y, expected, [](float a, float b) { return close(a, b, 0, 2e-6f); }) == -1);
}

TEST_CASE("append_kv writes its positions only") {
  const shape s{2, 2, 19, 2, 3};
  cache<float16> c(s, 1, 9);
  const buffer<float16> before = c.store;
  const buffer<float> rows(2 * s.kv_width(), normal(2 * s.kv_width(), 6));
  kernel::append_kv(c.view, rows.matrix(2, s.kv_width()), 3);
  for (std::int64_t h = 0; h < 2; ++h)
    for (std::int64_t t = 0; t < s.capacity(); ++t)
      for (std::int64_t d = 0; d < 19; ++d) {
        const auto at = static_cast<std::size_t>(c.view.at(h, t) + d - c.store.data());
        const bool written = t == 3 || t == 4;
        const float16 expected = written ? float16(rows.matrix(2, 38)(t - 3, h * 19 + d)) : before[at];
        CHECK(c.store[at].bits == expected.bits);
      }
  CHECK(c.store.intact());
}

TEST_CASE("int8 keys and values are rounded to even steps of the greatest / 127, for each head and position") {
  const shape s{2, 2, 19, 4, 0};
  cache<std::int8_t> c(s, 1);
  buffer<float> rows(4 * s.kv_width(), normal(4 * s.kv_width(), 6));
  const auto at = [&](std::int64_t row, std::int64_t d) -> float& { return rows.matrix(4, 38)(row, d); };
  at(0, 3) = -127.0f;  // head 0 of row 0 has steps of 1
  at(0, 4) = 2.5f;
  at(0, 5) = -3.5f;
  for (std::int64_t d = 0; d < 19; ++d) at(1, d) = 0;  // a head of zeros
  for (std::int64_t d = 0; d < 19; ++d) at(1, 19 + d) = static_cast<float>(d) * 0x1p-149f;
  at(2, 1) = infinity;
  at(3, 20) = quiet_nan;
  kernel::append_kv(c.view, rows.matrix(4, 38), 0);
  for (std::int64_t i = 0; i < 4; ++i)
    for (std::int64_t h = 0; h < 2; ++h) {
      float largest = 0;
      for (std::int64_t d = 0; d < 19; ++d) largest = std::max(largest, std::abs(at(i, h * 19 + d)));
      const float scale = *c.view.scale_at(h, i);
      const bool finite = !(i == 2 && h == 0) && !(i == 3 && h == 1);
      CHECK(same(scale, finite ? largest / 127.0f : quiet_nan));
      for (std::int64_t d = 0; d < 19; ++d) {
        if (!finite)
          CHECK(std::isnan(c.view.value(h, i, d)));
        else if (scale >= 0x1p-126f)
          CHECK(std::abs(c.view.value(h, i, d) - at(i, h * 19 + d)) <= scale * 0.50001f);
        else
          CHECK(std::abs(c.view.value(h, i, d)) <= largest);
      }
    }
  CHECK(*c.view.at(0, 0) == static_cast<std::int8_t>(std::nearbyint(at(0, 0))));
  CHECK((c.view.at(0, 0)[3] == -127 && c.view.at(0, 0)[4] == 2 && c.view.at(0, 0)[5] == -4));
  CHECK((c.store.intact() && c.scales.intact()));
}
