// SPDX-License-Identifier: Apache-2.0
// Sums and products of operands that are repeated along axes.
#include "qwq/kernel/broadcast.hpp"

#include <array>
#include <vector>

#include "qwq/kernel/reference.hpp"
#include "support.hpp"

using namespace qwq;
using namespace test;

namespace {

using extents = std::vector<std::int64_t>;

std::int64_t elements(const extents& e) {
  std::int64_t n = 1;
  for (const std::int64_t x : e) n *= x;
  return n;
}

std::vector<float> mixed(std::int64_t n, unsigned seed) {
  auto values = normal(n, seed, 20);
  for (std::size_t i = 0; i < values.size(); i += 3) values[i] = special[(i / 3 + seed) % special.size()];
  return values;
}

/// a + b and a * b for operands of these extents.
void check(const extents& y, const extents& a, const extents& b) {
  CAPTURE(y);
  CAPTURE(a);
  CAPTURE(b);
  const buffer<float> u(elements(a), mixed(elements(a), 1)), v(elements(b), mixed(elements(b), 2));
  buffer<float> got(elements(y)), expected(elements(y));
  const auto axes = kernel::broadcast(y, a, b);
  kernel::add(got.data(), u.data(), v.data(), axes);
  kernel::reference::broadcast(expected.span(), y, u.span(), a, v.span(), b, [](float l, float r) { return l + r; });
  CHECK(first_difference(got, expected, same) == -1);
  kernel::multiply(got.data(), u.data(), v.data(), axes);
  kernel::reference::broadcast(expected.span(), y, u.span(), a, v.span(), b, [](float l, float r) { return l * r; });
  CHECK(first_difference(got, expected, same) == -1);
  CHECK(got.intact());
}

// What is contiguous in both operands is one axis.
constexpr std::array<std::int64_t, 4> cube{2, 3, 4, 5};
constexpr std::array<std::int64_t, 1> row{5};
static_assert(kernel::broadcast(cube, cube, cube).size() == 1);
static_assert(kernel::broadcast(cube, cube, row).size() == 2);
static_assert(kernel::broadcast(cube, cube, {}).size() == 1);

}  // namespace

TEST_CASE("operands of one shape") {
  for (const std::int64_t n : lengths) check({n}, {n}, {n});
  check({1, 3, 4, 5, 6}, {1, 3, 4, 5, 6}, {1, 3, 4, 5, 6});
  check({}, {}, {});
}

TEST_CASE("operands that are repeated") {
  for (const std::int64_t n : lengths) {
    check({3, n}, {3, n}, {n});        // a vector for each row
    check({3, n}, {3, 1}, {3, n});     // a factor for each row
    check({2, 3, n}, {2, 3, n}, {1});  // one value
    check({2, 3, n}, {2, 1, n}, {2, 3, n});
  }
  check({1, 4, 6, 7}, {1, 4, 6, 7}, {1, 1, 6, 7});  // a mask for all heads
  check({1, 6, 4, 8}, {1, 6, 4, 8}, {1, 6, 1, 8});  // a RoPE row for all heads
  check({2, 3, 4, 5, 6}, {2, 1, 4, 1, 6}, {3, 1, 5, 1});
  check({5, 4}, {5, 1}, {4});  // both
}
