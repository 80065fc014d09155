// SPDX-License-Identifier: Apache-2.0
// A scheme of a weight type that nothing can run or pack.
// expect: qwq: integer_scheme<Weight, Activation> has kernels and packings for i8 weights
#include <qwq/quant/scheme.hpp>

using namespace qwq;

static_assert(quantization_scheme<w8a16>);
#ifdef FAIL
struct w5 : integer_scheme<dtype::i4, dtype::u16> {
  static constexpr std::string_view name = "w5";
};
#endif
