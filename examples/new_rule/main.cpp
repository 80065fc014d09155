// SPDX-License-Identifier: Apache-2.0
// A rewrite rule from outside of the library: it is applied while this compiles, and changes no result.
#include <array>
#include <cmath>
#include <iostream>

#include <qwq/model/qwen3.hpp>
#include <qwq/runtime/session.hpp>
#include <qwq/text/tokenizer.hpp>

using namespace qwq;

// attention(rope(rms_norm(x, w)), ..., scale) = attention(rope(rms_norm(x, scale * w)), ..., 1), for engines whose
// attention has no scale: rotation is linear, so the scale can be part of the norm's gain. A rule has a name for the
// trace, what to look for, what to read instead, and the condition under which it may.
constexpr pattern x = var('x'), w = var('w'), cosines = var('c'), sines = var('s'), position = var('p');
constexpr pattern keys = var('k'), values = var('v'), norm = rms_norm(x, w).as('n');
constexpr rule scale_into_q_norm{"scale_into_q_norm", attention(rope(norm, cosines, sines), keys, values, position),
                                 [](match& m) {
                                   const expr gain = leaf_like(
                                       m.graph(), m(w), m(w).type);  // the same weight, read with another multiplier
                                   m.graph()[gain.id].attr.value *= m.root().attr.value;
                                   const expr q = rope(rms_norm(m[x], gain, m(norm).attr.value), m[cosines], m[sines]);
                                   return attention(q, m[keys], m[values], m[position], 1.0);
                                 },
                                 [](const match& m) {
                                   return require(m.root().attr.value != 1.0, "the scale is 1 already",
                                                  m(w).kind == op::weight, "the gain is no weight");
                                 }};

// A target is where rules are listed; this one is the library's own sessions and one rule more.
struct without_scale : native<> {
  static constexpr std::string_view name = "without_scale";
  static constexpr std::array rules{scale_into_q_norm};
};

using model = qwen3<qwen3_config{1280, 128, 384, 6, 4, 2, 64, 1024, 1e-6, 1e6, true}>;
using rewritten_layer = program<model, without_scale, f32, 1>::first<stage::layers>;
static_assert(rewritten_layer::log.count("scale_into_q_norm") == 1);

int main(int argc, char** argv) try {
  if (argc != 2) return std::cerr << "usage: new_rule CHECKPOINT\n", 2;
  for (const applied_rewrite& f : rewritten_layer::log.applied) std::cout << f.rule << " at " << f.where.view() << '\n';
  for (const node& n : rewritten_layer::emitted::value.nodes)
    if (!n.made_by.empty()) std::cout << "  makes " << name(n) << ", value " << n.attr.value << '\n';

  const auto weights = checkpoint::open(argv[1]);
  const auto prompt = tokenizer::open(argv[1]).encode("The capital of France is");
  const bound_model<model> before(weights, {.positions = 16});
  const bound_model<model, without_scale> after(weights, {.positions = 16});
  session<model> a(before);
  session<model, without_scale> b(after);
  const auto logits_a = a.prefill(prompt), logits_b = b.prefill(prompt);
  float largest = 0, difference = 0;
  for (std::size_t i = 0; i < logits_a.size(); ++i) {
    largest = std::max(largest, std::abs(logits_a[i]));
    difference = std::max(difference, std::abs(logits_a[i] - logits_b[i]));
  }
  const bool same = difference <= 1e-5f * largest;  // sums in another order round differently
  std::cout << "the logits are " << (same ? "the same" : "different") << '\n';
  return same ? 0 : 1;
} catch (const error& problem) {
  return std::cerr << problem.what() << '\n', 1;
}
