// SPDX-License-Identifier: Apache-2.0
// Copies, permutations, columns, and rows of an embedding table.
#include "qwq/kernel/layout.hpp"

#include <algorithm>
#include <array>
#include <numeric>

#include "qwq/kernel/embedding.hpp"
#include "qwq/kernel/reference.hpp"
#include "support.hpp"
#include "xtensor.hpp"

using namespace qwq;
using namespace test;

TEST_CASE("permute, of matrices") {
  for (const std::int64_t rows : {0, 1, 2, 15, 16, 17, 40})
    for (const std::int64_t cols : {0, 1, 3, 16, 33}) {
      CAPTURE(rows);
      CAPTURE(cols);
      const buffer<float> x(rows * cols, normal(rows * cols, 1));
      buffer<float> y(rows * cols);
      const std::int64_t extents[] = {rows, cols};
      const std::int32_t swap[] = {1, 0};
      kernel::permute(y.data(), x.data(), extents, swap);
      const std::array shape{static_cast<std::size_t>(rows), static_cast<std::size_t>(cols)};
      const xt::xtensor<float, 2> twin = xt::adapt(x.data(), x.size(), xt::no_ownership(), shape);
      const xt::xtensor<float, 2> expected = xt::transpose(twin);
      CHECK(first_difference(y, expected.storage(), same) == -1);
      CHECK(y.intact());
    }
}

TEST_CASE("permute, in every order of the axes") {
  const std::vector<std::vector<std::int64_t>> shapes{{7},          {5, 1},         {3, 4, 5},       {1, 17, 33},
                                                      {1, 6, 2, 4}, {2, 18, 1, 20}, {2, 3, 4, 1, 5}, {2, 3, 2, 5, 3}};
  for (const auto& extents : shapes) {
    std::int64_t elements = 1;
    for (const std::int64_t e : extents) elements *= e;
    const buffer<float> x(elements, normal(elements, 2));
    buffer<float> y(elements), expected(elements);
    std::vector<std::int32_t> perm(extents.size());
    std::iota(perm.begin(), perm.end(), 0);
    do {
      CAPTURE(perm);
      kernel::permute(y.data(), x.data(), extents, perm);
      kernel::reference::permute(expected.span(), x.span(), extents, perm);
      CHECK(first_difference(y, expected, same) == -1);
      CHECK(y.intact());
    } while (std::next_permutation(perm.begin(), perm.end()));
  }
}

TEST_CASE("columns put together are the columns taken apart") {
  const buffer<float> a(3 * 2, normal(6, 1)), b(3 * 5, normal(15, 2)), none(0);
  buffer<float> y(3 * 7), a_again(3 * 2), b_again(3 * 5), copied(3 * 7);
  const matrix_view<const float> parts[] = {a.matrix(3, 2), none.matrix(3, 0), b.matrix(3, 5)};
  kernel::concat_columns<float>(y.matrix(3, 7), parts);
  CHECK(y.matrix(3, 7)(2, 1) == a[5]);
  CHECK(y.matrix(3, 7)(2, 2) == b[10]);
  kernel::slice_columns<float>(a_again.matrix(3, 2), y.matrix(3, 7), 0);
  kernel::slice_columns<float>(b_again.matrix(3, 5), y.matrix(3, 7), 2);
  CHECK(first_difference(a_again, a, same) == -1);
  CHECK(first_difference(b_again, b, same) == -1);
  kernel::copy<float>(copied.matrix(3, 7), y.matrix(3, 7));
  CHECK(first_difference(copied, y, same) == -1);
  CHECK((y.intact() && a_again.intact() && b_again.intact() && copied.intact()));
}

TEST_CASE("embedding gathers rows of codes") {
  constexpr std::int64_t n = 40, block = 16, blocks = 3;
  const std::vector<std::int64_t> ids{2, 0, 2};
  buffer<std::uint8_t> codes(3 * blocks * block / 2);
  for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::uint8_t>(i * 41);
  const buffer<float> scales(3 * blocks, normal(3 * blocks, 1));
  const kernel::block_weight<4> table{codes.data(), 3, n, block, scales.span()};
  buffer<float> y(3 * n), expected(3 * n);
  kernel::packed_weight<4> packed = kernel::packed_shape(table);
  std::vector<std::byte> bytes(packed.bytes());
  kernel::pack(bytes.data(), table);
  packed.data = bytes.data();
  kernel::embedding(y.matrix(3, n), packed, ids);
  kernel::reference::embedding(expected.matrix(3, n), table, ids);
  CHECK(y.intact());
  CHECK(first_difference(y, expected, same) == -1);
}

TEST_CASE("embedding gathers rows of every float type") {
  const auto check = [&]<class T>(T) {
    for (const std::int64_t n : lengths) {
      CAPTURE(n);
      buffer<T> table(5 * n, normal(5 * n, 9));
      const std::vector<std::int64_t> ids{4, 0, 4, 2};
      buffer<float> y(4 * n), expected(4 * n);
      kernel::embedding(y.matrix(4, n), table.matrix(5, n), ids);
      kernel::reference::embedding(expected.matrix(4, n), table.matrix(5, n), ids);
      CHECK(first_difference(y, expected, same) == -1);
      CHECK(y.intact());
    }
  };
  check(float{});
  check(float16{});
  check(bfloat16{});
}
