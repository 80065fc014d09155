// SPDX-License-Identifier: Apache-2.0
// Products with every kind of weight, row- and column-major, and of activations.
#include "qwq/kernel/linear.hpp"

#include "qwq/kernel/reference.hpp"
#include "support.hpp"
#include "xtensor.hpp"

using namespace qwq;
using namespace test;

namespace {

struct shape {
  std::int64_t m, n, k;
};
// Around the tiles (6 rows), pieces and strips of them (96, 192, 528 and 1056 where K is long), the panels (64 outputs,
// 1024 deep; packed ones 32), and the rows that are multiplied one by one (3).
const std::vector<shape> shapes{{1, 1, 1},      {1, 5, 3},      {2, 6, 16},   {3, 7, 17},    {4, 12, 31},
                                {5, 97, 33},    {7, 96, 64},    {1, 193, 65}, {13, 11, 257}, {64, 25, 300},
                                {130, 13, 40},  {33, 6, 513},   {9, 300, 12}, {1, 257, 30},  {70, 103, 1030},
                                {4, 535, 1025}, {129, 5, 2050}, {0, 4, 8},    {4, 0, 8},     {3, 5, 0},
                                {8, 5, 0},      {4, 1060, 1030}};

buffer<float> transposed(const buffer<float>& x, std::int64_t rows, std::int64_t cols) {
  buffer<float> y(rows * cols);
  kernel::reference::transpose(y.matrix(cols, rows), x.matrix(rows, cols));
  return y;
}

/// A packed weight and its bytes.
template <int Bits>
struct packed {
  std::vector<std::byte> bytes;
  kernel::packed_weight<Bits> weight;
  template <class W>
  explicit packed(const W& w) : weight(kernel::packed_shape(w)) {
    bytes.resize(weight.bytes());
    kernel::pack(bytes.data(), w);
    weight.data = bytes.data();
  }
};
template <class W>
packed(const W& w) -> packed<decltype(kernel::packed_shape(w))::bits>;

/// Both orders of y = x w^T against f64 sums over `plain`, within the worst case of k roundings: `roundings` of them
/// for each element, where `magnitude` has the absolute values.
template <class W, class Plain>
void check_both(const shape& s, const W& w, const Plain& plain, const Plain& magnitude, int roundings = 1) {
  CAPTURE(s.m);
  CAPTURE(s.n);
  CAPTURE(s.k);
  inline_executor ex;
  const buffer<float> x(s.m * s.k, normal(s.m * s.k, 1));
  buffer<float> y(s.m * s.n), columns(s.m * s.n), again(s.m * s.n), expected(s.m * s.n), size(s.m * s.n), absolute = x;
  for (std::size_t i = 0; i < absolute.size(); ++i) absolute[i] = std::abs(absolute[i]);
  kernel::reference::linear(expected.matrix(s.m, s.n), x.matrix(s.m, s.k), plain);
  kernel::reference::linear(size.matrix(s.m, s.n), absolute.matrix(s.m, s.k), magnitude);

  const auto agrees = [&](const buffer<float>& got) {
    if (!got.intact()) return false;
    for (std::size_t i = 0; i < got.size(); ++i)
      if (!(std::abs(got[i] - expected[i]) <= size[i] * static_cast<float>(roundings * (s.k + 2)) * half_ulp))
        return false;
    return true;
  };
  kernel::linear(ex, y.matrix(s.m, s.n), x.matrix(s.m, s.k), w);
  CHECK(agrees(y));

  const buffer<float> xt = transposed(x, s.m, s.k);
  kernel::linear_columns(ex, columns.matrix(s.n, s.m), xt.matrix(s.k, s.m), w);
  CHECK(columns.intact());
  CHECK(agrees(transposed(columns, s.n, s.m)));

  backward_executor backward;
  kernel::linear(backward, again.matrix(s.m, s.n), x.matrix(s.m, s.k), w);
  CHECK(first_difference(again, y, same) == -1);
  kernel::linear_columns(backward, again.matrix(s.n, s.m), xt.matrix(s.k, s.m), w);
  CHECK(first_difference(again, columns, same) == -1);
}

}  // namespace

TEST_CASE("linear is the product that xtensor computes") {
  inline_executor ex;
  constexpr std::size_t m = 5, n = 9, k = 37;
  const buffer<float> x(m * k, normal(m * k, 1)), w(n * k, normal(n * k, 2));
  buffer<float> y(m * n);
  kernel::linear(ex, y.matrix(m, n), x.matrix(m, k), matrix_view<const float>(w.matrix(n, k)));
  const xt::xtensor<double, 3> a = xt::adapt(x.data(), x.size(), xt::no_ownership(), std::vector<std::size_t>{m, 1, k});
  const xt::xtensor<double, 3> b = xt::adapt(w.data(), w.size(), xt::no_ownership(), std::vector<std::size_t>{1, n, k});
  const xt::xtensor<double, 3> products = a * b;
  const xt::xtensor<double, 2> expected = xt::sum(products, {2});
  const xt::xtensor<double, 2> size = xt::sum(xt::abs(products), {2});
  for (std::size_t i = 0; i < m * n; ++i)
    CHECK(std::abs(y[i] - expected.storage()[i]) <= size.storage()[i] * static_cast<double>((k + 2) * half_ulp));
}

TEST_CASE("float weights") {
  const auto check = [&]<class T>(T) {
    for (const shape& s : shapes) {
      buffer<T> w(s.n * s.k, normal(s.n * s.k, 2)), magnitude = w;
      for (std::size_t i = 0; i < w.size(); ++i) magnitude[i] = T(std::abs(static_cast<float>(w[i])));
      const matrix_view<const T> view = w.matrix(s.n, s.k);
      check_both(s, view, view, matrix_view<const T>(magnitude.matrix(s.n, s.k)));
    }
  };
  check(float{});
  check(float16{});
  check(bfloat16{});
}

TEST_CASE("int8 weights with a scale per tensor and per channel") {
  for (const shape& s : shapes)
    for (const std::int64_t scales : {std::int64_t{1}, s.n}) {
      if (scales == 0) continue;
      buffer<std::int8_t> codes(s.n * s.k), magnitude(s.n * s.k);
      for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::int8_t>(i * 37 % 255 - 127);
      for (std::size_t i = 0; i < codes.size(); ++i) magnitude[i] = static_cast<std::int8_t>(std::abs(codes[i]));
      buffer<float> scale(scales, normal(scales, 3));
      for (std::size_t i = 0; i < scale.size(); ++i) scale[i] = 0.001f + std::abs(scale[i]);
      const kernel::int8_weight w{codes.data(), s.n, s.k, scale.span()};
      check_both(s, packed(w).weight, w, kernel::int8_weight{magnitude.data(), s.n, s.k, scale.span()});
    }
}

TEST_CASE("weights in blocks of 4 and 8 bits") {
  const auto check = [&]<int Bits>(std::integral_constant<int, Bits>) {
    for (const shape& s : shapes)
      for (const std::int64_t block : {16, 32, 128}) {
        const std::int64_t blocks = (s.k + block - 1) / block, bytes = s.n * blocks * block * Bits / 8;
        std::vector<std::uint8_t> codes(static_cast<std::size_t>(bytes)), magnitude(codes);
        for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::uint8_t>(i * 37 % 256);
        const int middle = 1 << (Bits - 1), low = Bits == 4 ? 15 : 255;
        const auto absolute = [&](int code) { return std::min(std::abs(code - middle) + middle, low); };
        for (std::size_t i = 0; i < codes.size(); ++i)
          magnitude[i] = static_cast<std::uint8_t>(Bits == 4 ? absolute(codes[i] & 15) | absolute(codes[i] >> 4) << 4
                                                             : absolute(codes[i]));
        buffer<float> scale(s.n * blocks, normal(s.n * blocks, 3)), size = scale;
        for (std::size_t i = 0; i < scale.size(); ++i) size[i] = 1.2f * std::abs(scale[i]);  // -8 has no magnitude
        const kernel::block_weight<Bits> w{codes.data(), s.n, s.k, block, scale.span()};
        check_both(s, packed(w).weight, w, kernel::block_weight<Bits>{magnitude.data(), s.n, s.k, block, size.span()});
      }
  };
  check(std::integral_constant<int, 4>{});
  check(std::integral_constant<int, 8>{});
}

TEST_CASE("single rows with outliers, zeros and tiny values") {
  inline_executor ex;
  constexpr std::int64_t n = 40, k = 300;
  buffer<std::int8_t> codes(n * k);
  for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::int8_t>(i * 37 % 255 - 127);
  const float scale = 0.01f;
  const kernel::int8_weight w{codes.data(), n, k, {&scale, 1}};
  const packed p(w);
  const buffer<float> plain(k, normal(k, 1));
  for (const float factor : {1.0f, 0x1p-85f, 0x1p-100f, 0x1p100f, 0.0f})
    for (const float outlier : {1.0f, 100.0f, -40000.0f}) {
      CAPTURE(factor);
      CAPTURE(outlier);
      buffer<float> x = plain, y(n);
      for (std::size_t i = 0; i < x.size(); ++i) x[i] *= factor * (i % 50 == 7 ? outlier : 1.0f);
      float largest = 0;
      for (const float v : x.span()) largest = std::max(largest, std::abs(v));
      kernel::linear(ex, y.matrix(1, n), x.matrix(1, k), p.weight);
      for (std::int64_t j = 0; j < n; ++j) {
        double exact = 0, size = 0, weights = 0;
        for (std::int64_t i = 0; i < k; ++i) {
          const double element = kernel::reference::detail::element(w, j, i), product = element * x.data()[i];
          exact += product;
          size += std::abs(product);
          weights += std::abs(element);
        }
        // What a sum of floats may lose, and a part of the largest activation for each of the smaller ones.
        const double bound = size * static_cast<double>((k + 2) * half_ulp) + weights * largest * 0x1p-30;
        CHECK(std::abs(y.data()[j] - exact) <= bound);
      }
    }
}

TEST_CASE("an int8 weight element is exactly the f32 product of code and scale") {
  inline_executor ex;
  buffer<std::int8_t> codes(256);
  for (std::size_t i = 0; i < 256; ++i) codes[i] = static_cast<std::int8_t>(static_cast<int>(i) - 128);
  const float scale = 0.0123456f, one = 1.0f;
  buffer<float> y(256);
  const packed w(kernel::int8_weight{codes.data(), 256, 1, {&scale, 1}});
  kernel::linear(ex, y.matrix(1, 256), {&one, 1, 1}, w.weight);
  for (std::size_t i = 0; i < 256; ++i) CHECK(y[i] == static_cast<float>(codes[i]) * scale);
}

TEST_CASE("packed weights have the elements of what they were packed from") {
  for (const std::int64_t rows : {1, 31, 32, 33, 70})
    for (const std::int64_t cols : {1, 4, 7, 32, 41, 130}) {
      CAPTURE(rows);
      CAPTURE(cols);
      const auto check = [&](const auto& plain) {
        const packed p(plain);
        bool same_elements = true;
        for (std::int64_t i = 0; i < rows; ++i)
          for (std::int64_t j = 0; j < cols; ++j)
            same_elements = same_elements && p.weight.at(i, j) == kernel::reference::detail::element(plain, i, j);
        CHECK(same_elements);
      };
      const buffer<float> scales(rows * 9, normal(rows * 9, 1));
      std::vector<std::uint8_t> codes(static_cast<std::size_t>(rows * (cols + 32)));
      for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::uint8_t>(i * 41 + i / 256);
      check(kernel::int8_weight{reinterpret_cast<const std::int8_t*>(codes.data()), rows, cols,
                                scales.span().first(static_cast<std::size_t>(rows))});
      check(kernel::block_weight<4>{codes.data(), rows, cols, 16, scales.span()});
      check(kernel::block_weight<4>{codes.data(), rows, cols, 32, scales.span()});
      check(kernel::block_weight<8>{codes.data(), rows, cols, 32, scales.span()});
    }
}

TEST_CASE("sums are handed on once each, and finished as they would be afterwards") {
  for (const std::int64_t m : {1, 3, 4, 130}) {
    CAPTURE(m);
    backward_executor ex;
    constexpr std::int64_t n = 300, k = 40;
    const buffer<float> x(m * k, normal(m * k, 1)), w(n * k, normal(n * k, 2)), r(m * n, normal(m * n, 3));
    const matrix_view<const float> wv = w.matrix(n, k);
    buffer<float> plain(m * n), y(m * n), times(m * n), expected = r;
    kernel::linear(ex, plain.matrix(m, n), x.matrix(m, k), wv);
    kernel::product(ex, x.matrix(m, k), wv, [&](std::int64_t i, std::int64_t j, std::span<float> sums) {
      for (std::size_t c = 0; c < sums.size(); ++c) times.matrix(m, n)(i, j + static_cast<std::int64_t>(c)) += 1;
    });
    CHECK(std::all_of(times.span().begin(), times.span().end(), [](float t) { return t == 1; }));

    kernel::product(ex, x.matrix(m, k), wv, kernel::add_sums<>{y.matrix(m, n), r.matrix(m, n)});
    for (std::size_t i = 0; i < y.size(); ++i) expected[i] = r[i] + plain[i];
    CHECK(y.intact());
    CHECK(first_difference(y, expected, same) == -1);

    y = r;
    kernel::product(ex, x.matrix(m, k), wv, kernel::gate_sums<>{y.matrix(m, n)});
    kernel::swiglu(expected.span(), r.span(), plain.span());
    CHECK(y.intact());
    CHECK(first_difference(y, expected, [](float a, float b) { return close(a, b, 1e-6f); }) == -1);
  }
}

TEST_CASE("rows that are not dense") {
  inline_executor ex;
  constexpr std::int64_t m = 6, n = 10, k = 20;
  const buffer<float> x(m * 29, normal(m * 29, 1)), w(n * 31, normal(n * 31, 2));
  buffer<float> y(m * 13, {5.0f}), expected(m * n);
  const matrix_view<const float> xv{x.data(), m, k, 29}, wv{w.data(), n, k, 31};
  kernel::linear(ex, {y.data(), m, n, 13}, xv, wv);
  kernel::reference::linear(expected.matrix(m, n), xv, wv);
  for (std::int64_t i = 0; i < m; ++i)
    for (std::int64_t j = 0; j < 13; ++j) {
      const float got = y.matrix(m, 13)(i, j);
      CHECK((j < n ? close(got, expected.matrix(m, n)(i, j), 0, 1e-5f) : got == 5.0f));
    }
}

TEST_CASE("NaN and infinity reach the outputs that read them, and no others") {
  inline_executor ex;
  constexpr std::int64_t m = 5, n = 14, k = 19;
  buffer<float> x(m * k, {1.0f}), w(n * k, {1.0f}), y(m * n);
  x.matrix(m, k)(2, 18) = quiet_nan;
  w.matrix(n, k)(13, 0) = -infinity;
  const auto check = [&](auto&& at) {
    for (std::int64_t i = 0; i < m; ++i)
      for (std::int64_t j = 0; j < n; ++j) CHECK(same(at(i, j), i == 2 ? quiet_nan : j == 13 ? -infinity : 19.0f));
  };
  kernel::linear(ex, y.matrix(m, n), x.matrix(m, k), w.matrix(n, k));
  check([&](std::int64_t i, std::int64_t j) { return y.matrix(m, n)(i, j); });
  const buffer<float> xt = transposed(x, m, k);
  kernel::linear_columns(ex, y.matrix(n, m), xt.matrix(k, m), w.matrix(n, k));
  check([&](std::int64_t i, std::int64_t j) { return y.matrix(n, m)(j, i); });
}

TEST_CASE("matmul multiplies pairs of matrices") {
  for (const shape& s : shapes)
    for (const std::int64_t batch : {1, 3}) {
      CAPTURE(s.m);
      CAPTURE(s.n);
      CAPTURE(s.k);
      inline_executor ex;
      const std::int64_t xs = batch * s.m, ws = batch * s.k;
      const buffer<float> x(xs * s.k, normal(xs * s.k, 1)), w(ws * s.n, normal(ws * s.n, 2));
      buffer<float> y(xs * s.n), expected(xs * s.n), size(xs * s.n), ax = x, aw = w;
      for (std::size_t i = 0; i < ax.size(); ++i) ax[i] = std::abs(ax[i]);
      for (std::size_t i = 0; i < aw.size(); ++i) aw[i] = std::abs(aw[i]);
      kernel::matmul(ex, y.matrix(xs, s.n), x.matrix(xs, s.k), w.matrix(ws, s.n), batch);
      kernel::reference::matmul(expected.matrix(xs, s.n), x.matrix(xs, s.k), w.matrix(ws, s.n), batch);
      kernel::reference::matmul(size.matrix(xs, s.n), ax.matrix(xs, s.k), aw.matrix(ws, s.n), batch);
      CHECK(y.intact());
      bool agrees = true;  // within the worst case of k roundings
      for (std::size_t i = 0; i < y.size(); ++i)
        agrees = agrees && std::abs(y[i] - expected[i]) <= size[i] * static_cast<float>(s.k + 2) * half_ulp;
      CHECK(agrees);
    }
}
