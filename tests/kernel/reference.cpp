// SPDX-License-Identifier: Apache-2.0
// The reference kernels at compile time, on examples whose results are known.
#include "qwq/kernel/reference.hpp"

#include <array>

#include "support.hpp"

using namespace qwq;
namespace reference = qwq::kernel::reference;

namespace {

constexpr bool near(float a, double b) { return a - b < 1e-6 && b - a < 1e-6; }

constexpr std::array<float, 4> x{3, -4, 0, 0}, ones{1, 1, 1, 1};

constexpr auto rms = [] {
  std::array<float, 4> y{};
  reference::rms_norm({y.data(), 1, 4}, {x.data(), 1, 4}, ones, 0);
  return y;
}();
static_assert(near(rms[0], 1.2) && near(rms[1], -1.6) && rms[2] == 0);

constexpr auto lp = [] {
  std::array<float, 4> y{};
  reference::lp_norm({y.data(), 2, 2}, {x.data(), 2, 2});
  return y;
}();
static_assert(near(lp[0], 0.6) && near(lp[1], -0.8) && lp[2] == 0 && lp[3] == 0);

constexpr auto silu = [] {
  std::array<float, 4> y{};
  reference::silu(y, x);
  return y;
}();
static_assert(near(silu[0], 2.8577223804673) && near(silu[1], -0.0719448398495) && silu[2] == 0);

constexpr auto soft = [] {
  std::array<float, 4> y{};
  reference::softmax({y.data(), 2, 2}, {x.data(), 2, 2});
  return y;
}();
static_assert(near(soft[0], 0.9990889488056) && near(soft[1], 0.0009110511944) && soft[2] == 0.5f);

constexpr auto product = [] {
  std::array<float, 4> y{};
  const std::array<std::int8_t, 4> codes{1, 2, -3, 4};
  const std::array<float, 2> scales{1, 0.5f};
  reference::linear({y.data(), 2, 2}, {x.data(), 2, 2}, kernel::int8_weight{codes.data(), 2, 2, scales});
  return y;
}();
static_assert(product[0] == -5 && product[1] == -12.5f && product[2] == 0);

constexpr auto attended = [] {
  std::array<float, 4> y{};
  const std::array<float, 4> keys{0, 0, 0, 0}, values{2, 4, 6, 8};
  const kernel::kv_view<const float> k{keys.data(), 1, 2, 2}, v{values.data(), 1, 2, 2};
  reference::attention({y.data(), 2, 2}, {x.data(), 2, 2}, k, v, 0, 1);
  return y;
}();
static_assert(attended[0] == 2 && attended[1] == 4 && attended[2] == 4 && attended[3] == 6);

constexpr kernel::affine p{0.5f, 3, kernel::full_range(dtype::i8)};
static_assert(reference::quantize(0.25f, p) == 3 && reference::quantize(0.75f, p) == 5);
static_assert(reference::quantize(1e9f, p) == 127 && reference::quantize(-1e9f, p) == -128);
static_assert(reference::fake_quantize(0.8f, p) == 1.0f);

}  // namespace

TEST_CASE("compile time and run time agree") {
  std::array<float, 4> y{};
  reference::silu(y, x);
  for (std::size_t i = 0; i < 4; ++i) CHECK(test::close(y[i], silu[i], 2 * test::half_ulp));
  reference::rms_norm({y.data(), 1, 4}, {x.data(), 1, 4}, ones, 0);
  for (std::size_t i = 0; i < 4; ++i) CHECK(test::close(y[i], rms[i], test::half_ulp));
}

TEST_CASE("rounding half to even equals nearbyint") {
  auto values = test::any_bits(100'000, 1);
  for (int i = -1000; i < 1000; ++i) values.push_back(0.5f * static_cast<float>(i));
  const auto rounds = [](float v) { return test::same(reference::detail::round_half_even(v), std::nearbyint(v)); };
  CHECK(std::all_of(values.begin(), values.end(), rounds));
}
