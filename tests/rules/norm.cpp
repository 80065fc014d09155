// SPDX-License-Identifier: Apache-2.0
// Rules about normalization: they fire, they do not fire on near misses, and they mean the same.
#include "qwq/rules/norm_rules.hpp"

#include "support.hpp"

using namespace qwq;
using namespace qwq::test;

namespace {

// fuse_rms_norm

struct spelled_out {
  static constexpr auto value = around([](builder& b) {
    const expr x = input(b, "x");
    return x * rsqrt(mean(x * x) + constant(b, 0.3)) * vector(b, "w");
  });
};
struct fused {
  static constexpr auto value = around([](builder& b) { return rms_norm(input(b, "x"), vector(b, "w"), 0.3); });
};
constexpr std::array fuse{rules::fuse_rms_norm};
static_assert(fires(rules::fuse_rms_norm, spelled_out::value) == 1);
static_assert(count(op::rms_norm, after<spelled_out, fuse>::value) == 1);
static_assert(after<spelled_out, fuse>::value.size() == 3);
static_assert(after<spelled_out, fuse>::value[2].attr.value == 0.3);

// The factors may stand in any order.
static_assert(fires(rules::fuse_rms_norm, around([](builder& b) {
                      const expr x = input(b, "x");
                      return vector(b, "w") * (rsqrt(constant(b, 1e-6) + mean(x * x)) * x);
                    })) == 1);
// Another value is squared than normalized.
static_assert(fires(rules::fuse_rms_norm, around([](builder& b) {
                      const expr x = input(b, "x"), y = input(b, "y");
                      return x * rsqrt(mean(y * y) + constant(b, 1e-6)) * vector(b, "w");
                    })) == 0);
static_assert(fires(rules::fuse_rms_norm, around([](builder& b) {
                      const expr x = input(b, "x"), y = input(b, "y");
                      return x * rsqrt(mean(x * y) + constant(b, 1e-6)) * vector(b, "w");
                    })) == 0);
// The epsilon is not a constant.
static_assert(fires(rules::fuse_rms_norm, around([](builder& b) {
                      const expr x = input(b, "x");
                      return x * rsqrt(mean(x * x) + mean(x)) * vector(b, "w");
                    })) == 0);
// The gain is a tensor, not a vector.
static_assert(fires(rules::fuse_rms_norm, around([](builder& b) {
                      const expr x = input(b, "x");
                      return x * rsqrt(mean(x * x) + constant(b, 1e-6)) * input(b, "y");
                    })) == 0);
// The mean is read by somebody else: fusing would compute it twice.
static_assert(fires(rules::fuse_rms_norm, around([](builder& b) {
                      const expr x = input(b, "x"), m = mean(x * x);
                      b.output("mean", m.id);
                      return x * rsqrt(m + constant(b, 1e-6)) * vector(b, "w");
                    })) == 0);

// norm_to_lp_norm

constexpr std::array lower{rules::norm_to_lp_norm};
static_assert(fires(rules::norm_to_lp_norm, fused::value) == 1);
static_assert(count(op::lp_norm, after<fused, lower>::value) == 1 &&
              count(op::rms_norm, after<fused, lower>::value) == 0);
// The gain is computed, so sqrt(n) cannot go into it.
static_assert(fires(rules::norm_to_lp_norm, around([](builder& b) {
                      return rms_norm(input(b, "x"),
                                      reshape(leaf(b, op::weight, "w", {dtype::f32, {1, channels}}), {channels}), 1e-6);
                    })) == 0);

}  // namespace

TEST_CASE("norm_to_lp_norm keeps the epsilon, however large it is") {
  check_same(evaluate<fused>(), evaluate<after<fused, lower>>());
}

TEST_CASE("the spelled-out norm, fused, is the norm") {
  // The spelled-out form has no kernels for mean and rsqrt: it is fused first and then means what rms_norm means.
  check_same(evaluate<fused>(), evaluate<after<spelled_out, fuse>>());
}
