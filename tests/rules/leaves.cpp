// SPDX-License-Identifier: Apache-2.0
// Rules keep what a weight leaf says: whole rule sets on a decoder layer whose weights are all 2 * (stored + 1).
#include "qwq/model/qwen3.hpp"
#include "qwq/rules/canonicalize_rules.hpp"
#include "qwq/rules/fusion_rules.hpp"
#include "qwq/targets/all_targets.hpp"
#include "support.hpp"

using namespace qwq;
using namespace qwq::test;

namespace {

constexpr std::int64_t width = 8, length = rows_bound + 1;
using model = qwen3<qwen3_config{32, channels, 40, 1, 4, 2, width, rows_bound, 1e-6, 100, false}>;

/// The layer with a multiplier and an offset on every weight, for `Rows` tokens.
template <std::int64_t Rows>
struct shifted {
  static constexpr auto value = [] {
    auto g = model::decoder_layer<Rows, dtype::f32>::value;
    for (node& n : g.nodes) {
      if (n.kind != op::weight) continue;
      n.attr.value = 2;
      n.attr.offset = 1;
    }
    return g;
  }();
};

/// All weights of the graph still say so, some with a further factor.
template <std::size_t N>
constexpr bool keeps_offsets(const graph<N>& g) {
  std::size_t weights = 0;
  for (const node& n : g.nodes)
    if (n.kind == op::weight) {
      ++weights;
      if (n.attr.offset != 1 || n.attr.value == 1) return false;
    }
  return weights == 11;
}

// To a target's operators, back to those that sessions run, and fused.
template <class Target>
using written = after<shifted<5>, Target::rules>;
template <class Target>
using executed = after<after<written<Target>, rules::run>, rules::fuse>;
static_assert(keeps_offsets(written<onnx_winml>::value) && keeps_offsets(executed<onnx_winml>::value));
static_assert(keeps_offsets(executed<onnx_genai>::value) && keeps_offsets(executed<onnx_standard>::value));
static_assert(written<onnx_winml>::result.log.count("linear_to_conv1x1") == 7 &&
              written<onnx_winml>::result.log.count("norm_to_lp_norm") == 4);

using static_cache = circle<circle_options{.prompt = 5, .length = length}>;
template <std::int64_t Rows>
using apart = after<after<shifted<Rows>, static_cache::first_rules>, static_cache::rules>;
static_assert(keeps_offsets(apart<5>::value));
static_assert(after<shifted<5>, static_cache::first_rules>::result.log.count("fold_scale_into_k_norm") == 1);

/// Tables of angles, the rows of five tokens, and the mask of a prompt.
named_values outside() {
  named_values x;
  for (std::int64_t i = 0; i < rows_bound; ++i)
    for (std::int64_t j = 0; j < width; ++j) {
      const float angle = static_cast<float>(i) * std::pow(100.0f, -static_cast<float>(j % (width / 2)) / (width / 2));
      if (j < width / 2) x["rope.cos"].push_back(std::cos(angle));
      if (j < width / 2) x["rope.sin"].push_back(std::sin(angle));
      if (i < 5) x["cos"].push_back(std::cos(angle));
      if (i < 5) x["sin"].push_back(std::sin(angle));
    }
  for (std::int64_t i = 0; i < 5; ++i)
    for (std::int64_t j = 0; j < 5; ++j) x["attention_mask"].push_back(j <= i ? 0.0f : -1e4f);
  return x;
}

}  // namespace

TEST_CASE("every rule set keeps multipliers and offsets of weights") {
  const named_values given = outside();
  const auto whole = evaluate<shifted<5>>(5, 0, given);
  check_same(whole, evaluate<executed<native<>>>(5, 0, given));
  check_same(whole, evaluate<executed<onnx_winml>>(5, 0, given));
  check_same(whole, evaluate<executed<onnx_genai>>(5, 0, given));
  check_same(whole, evaluate<executed<onnx_standard>>(5, 0, given));
  check_same(whole, evaluate<apart<5>>(5, 0, given));
}
