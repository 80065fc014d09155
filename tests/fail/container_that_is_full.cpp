// SPDX-License-Identifier: Apache-2.0
// Growing past the capacity of a container is no constant.
// expect-gcc: non-constant condition for static assertion
// expect-clang: is not an integral constant expression
#include <qwq/core/fixed_vector.hpp>

using namespace qwq;

constexpr fixed_vector<int, 4> numbers(int count) {
  fixed_vector<int, 4> all;
  for (int i = 0; i < count; ++i) all.push_back(i);
  return all;
}

static_assert(numbers(4).size() == 4);
#ifdef FAIL
static_assert(numbers(5).size() == 5);
#endif
