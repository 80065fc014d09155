// SPDX-License-Identifier: Apache-2.0
// Every tensor of a checkpoint is read, ignored for a reason, passed through, or refused.
#include <qwq/weights/account.hpp>

#include <doctest/doctest.h>

#include <string>
#include <string_view>
#include <vector>

#include "stored.hpp"

using namespace qwq;

namespace {
std::string refusal(const stored_checkpoint& c, const tensor_names& bound,
                    const std::vector<std::string_view>& passed = {}, const weight_layout& layout = default_layout) {
  return complaint([&] { account_for_tensors(*c, layout, bound, passed); });
}

/// A model that ignores the tensors of multi-token prediction, and nothing else.
struct without_prediction {
  static constexpr ignored_tensor ignored[] = {{"mtp.*", "multi-token prediction is not run"}};
};
}  // namespace

TEST_CASE("names and patterns") {
  CHECK(detail::matches_name("a.b", "a.b"));
  CHECK_FALSE(detail::matches_name("a.b", "a.bc"));
  CHECK_FALSE(detail::matches_name("a.b", "xa.b"));
  CHECK(detail::matches_name("*.inv_freq", "model.layers.0.inv_freq"));
  CHECK_FALSE(detail::matches_name("*.inv_freq", "inv_freq"));
  CHECK(detail::matches_name("mtp.*", "mtp."));
  CHECK(detail::matches_name("a*b*c", "a1b2bc"));
  CHECK_FALSE(detail::matches_name("a*b*c", "a1c2b"));
  CHECK(detail::matches_name("*", ""));
  CHECK(detail::names_leaf("q.weight", "attn.q.weight"));
  CHECK(detail::names_leaf("q.weight", "q.weight"));
  CHECK_FALSE(detail::names_leaf("q.weight", "attn.eq.weight"));
  static_assert(layout_of<without_prediction>().ignored.size() == 1);
  static_assert(layout_of<without_prediction>().prefixes.size() == default_layout.prefixes.size());
}

TEST_CASE("bound, ignored and passed through") {
  const stored_checkpoint c(
      {{"a", {1}, {1}}, {"layers.0.rotary_emb.inv_freq", {2}, {1, 2}}, {"mtp.0.x", {1}, {1}}, {"mtp.1.x", {1}, {1}}});
  CHECK(refusal(c, {"a"}, {"mtp.*"}) == "");
  CHECK(refusal(c, {"a"}) ==
        c.folder() + ": expected only tensors that the model reads, found 2 others: \"mtp.0.x\", \"mtp.1.x\"");
  CHECK(refusal(c, {"a"}, {}, layout_of<without_prediction>()) ==
        c.folder() + ": expected only tensors that the model reads, found 1 other: \"layers.0.rotary_emb.inv_freq\"");
}

TEST_CASE("of many tensors the first are named") {
  std::vector<stored_tensor> tensors{{"model.norm.weight", {1}, {1}}};
  for (const char* end : {"k_proj.bias", "q_proj.bias", "q_proj.lora_A.weight", "q_proj.lora_B.weight", "v_proj.bias"})
    tensors.push_back({std::string("l.") + end, {1}, {1}});
  const stored_checkpoint c(tensors);
  CHECK(refusal(c, {"model.norm.weight"}) ==
        c.folder() +
            ": expected only tensors that the model reads, found 5 others: \"l.k_proj.bias\", \"l.q_proj.bias\", "
            "\"l.q_proj.lora_A.weight\", \"l.q_proj.lora_B.weight\", ...");
}

TEST_CASE("a tied checkpoint with an lm_head of its own") {
  const std::string head = "lm_head.weight";
  for (const std::string table : {"model.embed_tokens.weight", "model.language_model.embed_tokens.weight"}) {
    const stored_tensor embedding{table, {5, 3}, counting(15), dtype::bf16};
    const stored_checkpoint equal({embedding, {head, {5, 3}, counting(15), dtype::bf16}}),
        wider({embedding, {head, {5, 3}, counting(15), dtype::f32}});
    CHECK(refusal(equal, {table}) == "");
    CHECK(refusal(wider, {table}) == "");
    auto values = counting(15);
    values.back() = -1;
    const stored_checkpoint different({embedding, {head, {5, 3}, values, dtype::bf16}}),
        longer({embedding, {head, {6, 3}, counting(18), dtype::bf16}});
    const std::string expected =
        ": tensor \"lm_head.weight\": expected the values of \"" + table + "\" (tie_word_embeddings is true), found ";
    CHECK(refusal(different, {table}) == different.file() + expected + "others");
    CHECK(refusal(longer, {table}) == longer.file() + expected + "shape [6, 3]");
    CHECK(refusal(different, {table, head}) == "");  // not tied
  }
  const stored_checkpoint alone({{head, {1}, {1}}});
  CHECK(refusal(alone, {}) ==
        alone.folder() + ": expected only tensors that the model reads, found 1 other: \"lm_head.weight\"");
}
