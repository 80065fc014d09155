// SPDX-License-Identifier: Apache-2.0
// The rotary table and the rotation.
#include "qwq/kernel/norm_rope.hpp"

#include "qwq/kernel/reference.hpp"
#include "support.hpp"

using namespace qwq;
using namespace test;

TEST_CASE("the table is cos and sin of position / theta^(2j / dim), rounded as f32 rounds") {
  const std::vector<std::int64_t> positions{0, 1, 2, 100, 40959};
  for (const std::int64_t half : {1, 16, 32, 64}) {
    buffer<float> cos(5 * half), sin(5 * half);
    kernel::rope_table(cos.matrix(5, half), sin.matrix(5, half), positions, 1e6f);
    for (std::int64_t i = 0; i < 5; ++i)
      for (std::int64_t j = 0; j < half; ++j) {
        const double position = static_cast<double>(positions[static_cast<std::size_t>(i)]);
        const double angle = position * std::pow(1e6, -static_cast<double>(j) / static_cast<double>(half));
        // Three f32 roundings of the frequency and one of the angle, then the table's own.
        const double bound = angle * 4 * static_cast<double>(half_ulp) + 2 * static_cast<double>(half_ulp);
        CHECK(std::abs(cos.matrix(5, half)(i, j) - std::cos(angle)) <= bound);
        CHECK(std::abs(sin.matrix(5, half)(i, j) - std::sin(angle)) <= bound);
      }
    CHECK((cos.intact() && sin.intact()));
  }
}

TEST_CASE("halves of each head rotate, what is past the table is copied") {
  constexpr std::int64_t m = 3, heads = 2;
  for (const std::int64_t half : {1, 2, 3, 8, 16, 17, 32, 40, 64})
    for (const std::int64_t rest : {0, 5}) {
      CAPTURE(half);
      CAPTURE(rest);
      const std::int64_t head_dim = 2 * half + rest, width = heads * head_dim;
      const std::vector<std::int64_t> positions{7, 8, 9};
      buffer<float> cos(m * half), sin(m * half), y(m * width), expected(m * width);
      kernel::rope_table(cos.matrix(m, half), sin.matrix(m, half), positions, 1e4f);
      buffer<float> x(m * width, normal(m * width, 1));
      kernel::rope(y.matrix(m, width), x.matrix(m, width), cos.matrix(m, half), sin.matrix(m, half), head_dim);
      kernel::reference::rope(expected.matrix(m, width), x.matrix(m, width), cos.matrix(m, half), sin.matrix(m, half),
                              head_dim);
      CHECK(first_difference(y, expected, [](float a, float b) { return close(a, b, 0, 8 * half_ulp * 4); }) == -1);
      CHECK(y.intact());
      kernel::rope(x.matrix(m, width), x.matrix(m, width), cos.matrix(m, half), sin.matrix(m, half), head_dim);
      CHECK(first_difference(x, y, same) == -1);
      CHECK(x.intact());
    }
}

TEST_CASE("NaN reaches its own pair only") {
  const std::vector<std::int64_t> positions{3};
  buffer<float> cos(20), sin(20), x(40, {1.0f}), y(40);
  kernel::rope_table(cos.matrix(1, 20), sin.matrix(1, 20), positions, 1e4f);
  x[37] = quiet_nan;
  kernel::rope(y.matrix(1, 40), x.matrix(1, 40), cos.matrix(1, 20), sin.matrix(1, 20), 40);
  for (std::size_t i = 0; i < 40; ++i) CHECK(std::isnan(y[i]) == (i % 20 == 17));
}

TEST_CASE("norm_rope is rms_norm of each head, then rope") {
  constexpr std::int64_t m = 3, heads = 5;
  for (const std::int64_t half : {1, 3, 8, 16, 17, 32, 40, 64, 128})
    for (const std::int64_t rest : {0, 7}) {
      CAPTURE(half);
      CAPTURE(rest);
      const std::int64_t head_dim = 2 * half + rest, width = heads * head_dim;
      buffer<float> cos(m * half), sin(m * half), normed(m * width), y(m * width), expected(m * width);
      kernel::rope_table(cos.matrix(m, half), sin.matrix(m, half), std::vector<std::int64_t>{7, 8, 900}, 1e4f);
      const buffer<float> gain(head_dim, normal(head_dim, 2));
      buffer<float> x(m * width, normal(m * width, 1));
      x[4] = quiet_nan;  // spoils its own head
      kernel::reference::rms_norm(normed.matrix(m * heads, head_dim), x.matrix(m * heads, head_dim), gain.span(),
                                  1e-6f);
      kernel::reference::rope(expected.matrix(m, width), normed.matrix(m, width), cos.matrix(m, half),
                              sin.matrix(m, half), head_dim);
      kernel::norm_rope(y.matrix(m, width), x.matrix(m, width), gain.span(), 1e-6f, cos.matrix(m, half),
                        sin.matrix(m, half));
      // Normed elements are below 40; a few roundings each.
      CHECK(first_difference(y, expected, [](float a, float b) { return close(a, b, 0, 40 * 8 * half_ulp); }) == -1);
      CHECK(y.intact());
      kernel::norm_rope(x.matrix(m, width), x.matrix(m, width), gain.span(), 1e-6f, cos.matrix(m, half),
                        sin.matrix(m, half));
      CHECK(first_difference(x, y, same) == -1);
      CHECK(x.intact());
    }
}
