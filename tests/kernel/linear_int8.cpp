// SPDX-License-Identifier: Apache-2.0
// Products of int8 activations: codes and sums against plain integer arithmetic, and what quantizing them costs.
#include "qwq/kernel/linear_int8.hpp"

#include "qwq/core/thread_pool.hpp"
#include "qwq/kernel/reference.hpp"
#include "support.hpp"

using namespace qwq;
using namespace test;

namespace {

struct shape {
  std::int64_t m, n, k;
};
const std::vector<shape> shapes{{1, 1, 1},   {1, 5, 3},    {2, 6, 16},    {3, 300, 17},   {4, 12, 31},  {5, 97, 33},
                                {7, 96, 64}, {1, 193, 65}, {13, 11, 257}, {130, 40, 128}, {33, 6, 513}, {9, 35, 2100}};

/// Activations in blocks, and their memory.
struct quantized {
  std::vector<std::byte> memory;
  kernel::int8_rows rows;
  quantized(executor& ex, matrix_view<const float> x, std::int64_t block)
      : memory(kernel::int8_rows::bytes(x.rows, x.cols, block)), rows(memory.data(), x.rows, x.cols, block) {
    kernel::quantize_rows(ex, rows, x);
  }
};

/// The sum that `linear` computes, block by block, from integers.
template <int Bits>
float expected(const kernel::int8_rows& x, std::int64_t i, const kernel::packed_weight<Bits>& w, const float* scales,
               std::int64_t j, float& size) {
  double sum = 0, magnitude = 0;
  for (std::int64_t b = 0; b < x.blocks(); ++b) {
    const float scale = scales[j * x.blocks() + b];
    std::int64_t dot = 0;
    for (std::int64_t k = b * x.block; k < std::min((b + 1) * x.block, x.cols); ++k)
      dot += x.codes[i * x.row_bytes + k] * std::lround(w.at(j, k) / scale);
    const double part =
        static_cast<double>(static_cast<float>(dot)) * static_cast<double>(scale * x.scales[i * x.blocks() + b]);
    sum += part;
    magnitude += std::abs(part);
  }
  size = static_cast<float>(magnitude);
  return static_cast<float>(sum);
}

template <int Bits>
void check(const shape& s, std::int64_t block) {
  CAPTURE(s.m);
  CAPTURE(s.n);
  CAPTURE(s.k);
  CAPTURE(block);
  inline_executor ex;
  const std::int64_t blocks = (s.k + block - 1) / block;
  std::vector<std::uint8_t> codes(static_cast<std::size_t>(s.n * blocks * block * Bits / 8));
  for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::uint8_t>(i * 37 + i / 256);
  buffer<float> scales(s.n * blocks, normal(s.n * blocks, 3));
  for (float& v : scales.span()) v = 0.01f + std::abs(v);
  const kernel::block_weight<Bits> plain{codes.data(), s.n, s.k, block, scales.span()};
  kernel::packed_weight<Bits> w = kernel::packed_shape(plain);
  std::vector<std::byte> bytes(w.bytes());
  kernel::pack(bytes.data(), plain);
  w.data = bytes.data();

  const buffer<float> x(s.m * s.k, normal(s.m * s.k, 1));
  const quantized q(ex, x.matrix(s.m, s.k), block);
  buffer<float> y(s.m * s.n);
  kernel::linear(ex, y.matrix(s.m, s.n), q.rows, w);
  CHECK(y.intact());
  bool agrees = true;
  for (std::int64_t i = 0; i < s.m; ++i)
    for (std::int64_t j = 0; j < s.n; ++j) {
      float size;
      const float exact = expected(q.rows, i, w, scales.data(), j, size);
      const float got = y.matrix(s.m, s.n)(i, j);
      // One product is rounded for each block, and one sum.
      agrees = agrees && std::abs(got - exact) <= size * static_cast<float>(2 * blocks + 1) * half_ulp;
    }
  CHECK(agrees);

  for (const std::size_t threads : {std::size_t{2}, std::size_t{5}}) {
    thread_pool pool(threads);
    buffer<float> again(s.m * s.n);
    kernel::linear(pool, again.matrix(s.m, s.n), q.rows, w);
    CHECK(first_difference(again, y, same) == -1);
  }
  backward_executor backward;
  buffer<float> again(s.m * s.n);
  kernel::linear(backward, again.matrix(s.m, s.n), q.rows, w);
  CHECK(first_difference(again, y, same) == -1);
}

}  // namespace

TEST_CASE("sums are those of integers, scaled") {
  for (const shape& s : shapes) {
    for (const std::int64_t block : {16, 32, 128, 512}) {
      check<4>(s, block);
      check<8>(s, block);
    }
    check<8>(s, kernel::packed_weight<8>::whole_row(s.k));
  }
}

TEST_CASE("the largest sums of bytes do not saturate") {
  inline_executor ex;
  constexpr std::int64_t k = 20000;
  const std::vector<std::int8_t> lowest(static_cast<std::size_t>(2 * k), -128);
  const float one = 1;
  const kernel::int8_weight plain{lowest.data(), 2, k, {&one, 1}};
  kernel::packed_weight<8> w = kernel::packed_shape(plain);
  std::vector<std::byte> bytes(w.bytes());
  kernel::pack(bytes.data(), plain);
  w.data = bytes.data();
  for (const std::int64_t m : {1, 5}) {
    const buffer<float> x(m * k, {127.0f});
    const quantized q(ex, x.matrix(m, k), w.block);
    buffer<float> y(m * 2);
    kernel::linear(ex, y.matrix(m, 2), q.rows, w);
    for (const float v : y.span()) CHECK(v == -128.0f * 127 * k);
  }
}

TEST_CASE("rows of a norm are quantized as its result would be") {
  thread_pool pool(2);
  inline_executor ex;
  for (const std::int64_t cols : {1, 5, 40, 130, 1000})
    for (const std::int64_t block : {16, 32, 128}) {
      constexpr std::int64_t rows = 9;
      const buffer<float> x(rows * cols, normal(rows * cols, 5)), gain(cols, normal(cols, 6));
      buffer<float> normed(rows * cols);
      kernel::rms_norm(normed.matrix(rows, cols), x.matrix(rows, cols), gain.span(), 1e-6f);
      const quantized two(ex, normed.matrix(rows, cols), block);
      std::vector<std::byte> memory(two.memory.size());
      const kernel::int8_rows one(memory.data(), rows, cols, block);
      kernel::quantize_normed_rows(pool, one, x.matrix(rows, cols), gain.span(), 1e-6f);
      CHECK(memory == two.memory);
    }
}

TEST_CASE("codes are rounded to the nearest of 127 steps of a block's largest magnitude") {
  inline_executor ex;
  for (const std::int64_t cols : {1, 5, 16, 40, 130, 600})
    for (const std::int64_t block : {16, 32, 128}) {
      constexpr std::int64_t rows = 3;
      const buffer<float> x(rows * cols, normal(rows * cols, 5));
      const quantized q(ex, x.matrix(rows, cols), block);
      bool near = true, sums = true, padded = true;
      for (std::int64_t i = 0; i < rows; ++i) {
        const std::int8_t* codes = q.rows.codes + i * q.rows.row_bytes;
        for (std::int64_t b = 0; b < q.rows.blocks(); ++b) {
          const std::int64_t end = std::min((b + 1) * block, cols);
          float largest = 0;
          std::int32_t sum = 0;
          for (std::int64_t k = b * block; k < end; ++k)
            largest = std::max(largest, std::abs(x.matrix(rows, cols)(i, k)));
          const float scale = q.rows.scales[i * q.rows.blocks() + b];
          near = near && scale == largest / 127.0f;
          for (std::int64_t k = b * block; k < end; ++k) {
            near = near && std::abs(x.matrix(rows, cols)(i, k) - codes[k] * scale) <= scale * 0.50001f;
            sum += codes[k];
          }
          sums = sums && q.rows.sums[i * q.rows.blocks() + b] == sum;
        }
        for (std::int64_t k = cols; k < q.rows.row_bytes; ++k) padded = padded && codes[k] == 0;
      }
      CHECK(near);
      CHECK(sums);
      CHECK(padded);
    }
}

TEST_CASE("rows of zeros are zeros, and what is not finite stays in its row") {
  inline_executor ex;
  constexpr std::int64_t m = 5, n = 40, k = 544;
  buffer<float> x(m * k, {0.0f}), scales(n * k / 32, {1.0f}), y(m * n);
  x.matrix(m, k)(2, 3) = infinity;
  x.matrix(m, k)(3, 3) = 1;
  x.matrix(m, k)(4, 3) = quiet_nan;
  const std::vector<std::uint8_t> codes(static_cast<std::size_t>(n * k / 2), 0x99);  // 1 everywhere
  const kernel::block_weight<4> plain{codes.data(), n, k, 32, scales.span()};
  kernel::packed_weight<4> w = kernel::packed_shape(plain);
  std::vector<std::byte> bytes(w.bytes());
  kernel::pack(bytes.data(), plain);
  w.data = bytes.data();
  const quantized q(ex, x.matrix(m, k), 32);
  kernel::linear(ex, y.matrix(m, n), q.rows, w);
  for (std::int64_t i = 0; i < m; ++i)
    for (std::int64_t j = 0; j < n; ++j) {
      const float got = y.matrix(m, n)(i, j);
      CHECK((i == 2 || i == 4 ? std::isnan(got) : close(got, i == 3 ? 1.0f : 0.0f, 1e-6f)));
    }
}
