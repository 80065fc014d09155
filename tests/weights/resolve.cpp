// SPDX-License-Identifier: Apache-2.0
// Where leaves are stored: under which prefix, expert by expert, fused or transposed; and what is refused.
#include <qwq/weights/resolve.hpp>

#include <doctest/doctest.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "stored.hpp"

using namespace qwq;

namespace {

constexpr std::string_view gate = "model.layers.1.mlp.experts.*.gate_proj.weight",
                           up = "model.layers.1.mlp.experts.*.up_proj.weight",
                           down = "model.layers.1.mlp.experts.*.down_proj.weight";
constexpr std::int64_t E = 3, I = 4, H = 5;
const std::vector<std::int64_t> wide{E, I, H}, tall{E, H, I};

/// A model whose files have fused experts transposed.
struct transposed_model {
  static constexpr stored_as stored[] = {{"mlp.experts.*.gate_proj.weight", "mlp.experts.gate_up_proj", 0, 2, true},
                                         {"mlp.experts.*.up_proj.weight", "mlp.experts.gate_up_proj", 1, 2, true},
                                         {"mlp.experts.*.down_proj.weight", "mlp.experts.down_proj", 0, 1, true}};
};

/// A model that reads gate and up rows in turn, and query, key and value from one tensor.
struct fused_model {
  static constexpr interleaved interleaving[] = {
      {"mlp.experts.*.fc1.weight", "mlp.experts.*.gate_proj.weight", "mlp.experts.*.up_proj.weight"},
      {"mlp.fc1.weight", "mlp.gate.weight", "mlp.up.weight"}};
  static constexpr stored_as stored[] = {{"q.weight", "qkv.weight", 0, 2}, {"k.weight", "qkv.weight", 2, 4},
                                         {"v.weight", "qkv.weight", 3, 4}, {"t.weight", "t", 0, 1, true},
                                         {"either.weight", "either"},      {"either.weight", "either", 0, 1, true}};
};

/// Element (n, k) of expert e; each of gate, up and down has values of its own, exact in bf16.
float element(std::string_view leaf, std::int64_t e, std::int64_t n, std::int64_t k) {
  const float sign = leaf == up ? -1.0f : 1.0f, scale = leaf == down ? 0.25f : 1.0f;
  return sign * scale * static_cast<float>(1 + e * 40 + n * 7 + k);
}
std::vector<float> elements(std::string_view leaf, const std::vector<std::int64_t>& shape) {
  std::vector<float> out;
  for (std::int64_t e = 0; e < shape[0]; ++e)
    for (std::int64_t n = 0; n < shape[1]; ++n)
      for (std::int64_t k = 0; k < shape[2]; ++k) out.push_back(element(leaf, e, n, k));
  return out;
}

std::string layer_name(const std::string& end) { return "model.layers.1.mlp.experts." + end; }

std::vector<stored_tensor> by_expert(dtype type, std::int64_t missing = -1) {
  std::vector<stored_tensor> out;
  for (const std::string_view leaf : {gate, up, down})
    for (std::int64_t e = 0; e < E; ++e) {
      if (e == missing) continue;
      const std::int64_t rows = leaf == down ? H : I, cols = leaf == down ? I : H;
      std::string name(leaf);
      name.replace(name.find('*'), 1, std::to_string(e));
      std::vector<float> values;
      for (std::int64_t n = 0; n < rows; ++n)
        for (std::int64_t k = 0; k < cols; ++k) values.push_back(element(leaf, e, n, k));
      out.push_back({name, {rows, cols}, values, type});
    }
  return out;
}

std::vector<stored_tensor> fused(dtype type, bool transposed) {
  std::vector<float> both, one;
  for (std::int64_t e = 0; e < E; ++e) {
    const auto gate_up = [&](std::int64_t n, std::int64_t k) {
      return n < I ? element(gate, e, n, k) : element(up, e, n - I, k);
    };
    for (std::int64_t i = 0; i < (transposed ? H : 2 * I); ++i)
      for (std::int64_t j = 0; j < (transposed ? 2 * I : H); ++j)
        both.push_back(transposed ? gate_up(j, i) : gate_up(i, j));
    for (std::int64_t i = 0; i < (transposed ? I : H); ++i)
      for (std::int64_t j = 0; j < (transposed ? H : I); ++j)
        one.push_back(transposed ? element(down, e, j, i) : element(down, e, i, j));
  }
  if (transposed)
    return {{layer_name("gate_up_proj"), {E, H, 2 * I}, both, type}, {layer_name("down_proj"), {E, I, H}, one, type}};
  return {{layer_name("gate_up_proj"), {E, 2 * I, H}, both, type}, {layer_name("down_proj"), {E, H, I}, one, type}};
}

std::string refusal(const stored_checkpoint& c, const weight_layout& layout, std::string_view name,
                    const std::vector<std::int64_t>& shape) {
  return complaint([&] { resolve_weight(*c, layout, name, shape); });
}

}  // namespace

TEST_CASE("experts one by one, fused and transposed have the same values") {
  for (const dtype type : {dtype::f32, dtype::f16, dtype::bf16}) {
    const stored_checkpoint single(by_expert(type)), straight(fused(type, false)), across(fused(type, true));
    for (const std::string_view leaf : {gate, up, down}) {
      const auto& shape = leaf == down ? tall : wide;
      const weight_source a = resolve_weight(*single, default_layout, leaf, shape),
                          b = resolve_weight(*straight, default_layout, leaf, shape),
                          t = resolve_weight(*across, layout_of<transposed_model>(), leaf, shape);
      for (const weight_source* w : {&a, &b, &t}) {
        CHECK(w->rows() == shape[0] * shape[1]);
        CHECK(w->cols() == shape[2]);
        CHECK(w->type() == type);
        CHECK(w->name() == leaf);
        for (const std::int64_t step : {1, 3, 7, 100}) CHECK(read_all(*w, step) == elements(leaf, shape));
      }
      CHECK_FALSE(a.is_stored());
      CHECK(b.is_stored() == (leaf == down));
      CHECK_FALSE(t.is_stored());
      CHECK(a.where() == single.file() + ": tensor '" + std::string(leaf) + "'");
    }
  }
}

TEST_CASE("an unstarred leaf [E, N, K] is the matrix [E * N, K]") {
  const stored_checkpoint c({{"model.w", {2, 3, 5}, counting(30)}});
  const weight_source w = resolve_weight(*c, default_layout, "model.w", std::vector<std::int64_t>{2, 3, 5});
  CHECK(w.rows() == 6);
  CHECK(w.cols() == 5);
  CHECK(w.is_stored());
  CHECK(read_all(w, 4) == counting(30));
}

TEST_CASE("vectors of experts are rows") {
  const stored_checkpoint c({{"e.0.b", {3}, counting(3)}, {"e.1.b", {3}, counting(3, 10)}});
  const weight_source w = resolve_weight(*c, default_layout, "e.*.b", std::vector<std::int64_t>{2, 3});
  CHECK(w.rows() == 2);
  CHECK(read_all(w) == std::vector<float>{0, 1, 2, 10, 11, 12});
}

TEST_CASE("offset and multiplier reach every form") {
  const stored_checkpoint c(fused(dtype::bf16, true));
  auto expected = elements(up, wide);
  for (float& v : expected) v = (v + 1) * 2;
  CHECK(read_all(resolve_weight(*c, layout_of<transposed_model>(), up, wide, 2, 1)) == expected);
}

TEST_CASE("gate and up rows in turn") {
  std::vector<float> expected;
  for (std::int64_t e = 0; e < E; ++e)
    for (std::int64_t n = 0; n < I; ++n)
      for (const std::string_view leaf : {gate, up})
        for (std::int64_t k = 0; k < H; ++k) expected.push_back(element(leaf, e, n, k));
  const std::string name = "model.layers.1.mlp.experts.*.fc1.weight";
  weight_layout both = layout_of<fused_model>();
  both.stored = transposed_model::stored;
  const stored_checkpoint single(by_expert(dtype::bf16)), across(fused(dtype::bf16, true));
  for (const stored_checkpoint* c : {&single, &across}) {
    const weight_source w = resolve_weight(**c, both, name, std::vector<std::int64_t>{E, 2 * I, H});
    CHECK(w.name() == name);
    for (const std::int64_t step : {1, 5, 24}) CHECK(read_all(w, step) == expected);
  }
  CHECK(refusal(single, both, name, {E, 7, H}) ==
        "weight \"" + name + "\": expected an even number of rows, found shape [3, 7, 5]");

  const stored_checkpoint plain({{"mlp.gate.weight", {1, 2}, {1, 2}}, {"mlp.up.weight", {1, 2}, {3, 4}}});
  CHECK(read_all(resolve_weight(*plain, both, "mlp.fc1.weight", std::vector<std::int64_t>{2, 2})) ==
        std::vector<float>{1, 2, 3, 4});
}

TEST_CASE("rows of a fused matrix, and a transposed one") {
  const stored_checkpoint c({{"attn.qkv.weight", {8, 3}, counting(24)}, {"attn.t", {3, 2}, counting(6)}});
  const auto read = [&](std::string_view name, const std::vector<std::int64_t>& shape) {
    return read_all(resolve_weight(*c, layout_of<fused_model>(), name, shape));
  };
  CHECK(read("attn.q.weight", {4, 3}) == counting(12));
  CHECK(read("attn.k.weight", {2, 3}) == counting(6, 12));
  CHECK(read("attn.v.weight", {2, 3}) == counting(6, 18));
  CHECK(read("attn.t.weight", {2, 3}) == std::vector<float>{0, 2, 4, 1, 3, 5});
  CHECK(refusal(c, layout_of<fused_model>(), "attn.k.weight", {3, 3}) ==
        c.file() + ": tensor \"attn.qkv.weight\": expected shape [12, 3], found [8, 3]");
}

TEST_CASE("a patch embedding of rank 5 and a convolution's kernel are matrices") {
  const stored_checkpoint c({{"model.visual.patch_embed.proj.weight", {3, 2, 2, 1, 3}, counting(36)},
                             {"conv1d.weight", {5, 1, 4}, counting(20)},
                             {"kernel.weight", {2, 3}, counting(6)}});
  const auto find = [&](std::string_view name, const std::vector<std::int64_t>& shape) {
    return resolve_weight(*c, default_layout, name, shape);
  };
  const weight_source patch = find("model.visual.patch_embed.proj.weight", {3, 12});
  CHECK(patch.is_stored());
  CHECK(read_all(patch) == counting(36));
  CHECK(read_all(find("conv1d.weight", {5, 4})) == counting(20));
  CHECK(read_all(find("kernel.weight", {2, 3, 1, 1})) == counting(6));
  CHECK(refusal(c, default_layout, "model.visual.patch_embed.proj.weight", {4, 9}) ==
        c.file() + ": tensor \"model.visual.patch_embed.proj.weight\": expected shape [4, 9], found [3, 2, 2, 1, 3]");
}

TEST_CASE("the file says which prefix names have") {
  for (const std::string prefix : {"model.", "model.language_model.", ""}) {
    const stored_checkpoint c({{prefix + "norm.weight", {3}, counting(3)}, {"lm_head.weight", {2, 2}, counting(4)}});
    CHECK(read_all(resolve_weight(*c, default_layout, "model.norm.weight", std::vector<std::int64_t>{3})) ==
          counting(3));
    CHECK(read_all(resolve_weight(*c, default_layout, "lm_head.weight", std::vector<std::int64_t>{2, 2})) ==
          counting(4));
  }
  std::vector<stored_tensor> renamed = fused(dtype::f32, false);
  for (stored_tensor& t : renamed) t.name.insert(std::string_view("model.").size(), "language_model.");
  const stored_checkpoint c(renamed);
  CHECK(read_all(resolve_weight(*c, default_layout, up, wide)) == elements(up, wide));
}

TEST_CASE("a leaf that is stored nowhere") {
  const stored_checkpoint c({{"other", {1}, {0}}});
  const std::string where = c.folder() + ": tensor ";
  CHECK(refusal(c, default_layout, "lm_head.weight", {1}) == where + "\"lm_head.weight\": missing");
  CHECK(refusal(c, default_layout, "model.norm.weight", {1}) ==
        where +
            "\"model.norm.weight\": missing, looked for \"model.norm.weight\", "
            "\"model.language_model.norm.weight\", \"norm.weight\"");
  CHECK(refusal(c, default_layout, "x.mlp.experts.*.up_proj.weight", {4, 2, 2}) ==
        where +
            "\"x.mlp.experts.*.up_proj.weight\": missing, looked for \"x.mlp.experts.0.up_proj.weight\", "
            "\"x.mlp.experts.gate_up_proj\"");
  CHECK(refusal(c, default_layout, "x.experts.*.bias", {4}) ==
        "weight \"x.experts.*.bias\": expected at least two extents, found shape [4]");
}

TEST_CASE("an expert that is missing") {
  const stored_checkpoint c(by_expert(dtype::f32, 1));
  CHECK(refusal(c, default_layout, gate, wide) ==
        c.folder() +
            ": tensor \"model.layers.1.mlp.experts.1.gate_proj.weight\": missing, expected one for each of 3 "
            "experts");
  const stored_checkpoint without_first(by_expert(dtype::f32, 0));
  CHECK(refusal(without_first, default_layout, gate, wide) ==
        without_first.folder() +
            ": tensor \"model.layers.1.mlp.experts.0.gate_proj.weight\": missing, expected one for "
            "each of 3 experts");
  const stored_checkpoint three(by_expert(dtype::f32));
  CHECK(refusal(three, default_layout, gate, {4, I, H}) ==
        three.folder() +
            ": tensor \"model.layers.1.mlp.experts.3.gate_proj.weight\": missing, expected one for each of "
            "4 experts");
}

TEST_CASE("another shape") {
  const stored_checkpoint single(by_expert(dtype::f32)), straight(fused(dtype::f32, false));
  CHECK(refusal(single, default_layout, gate, tall) ==
        single.file() +
            ": tensor \"model.layers.1.mlp.experts.0.gate_proj.weight\": expected shape [5, 4], found [4, 5]");
  CHECK(refusal(straight, layout_of<transposed_model>(), gate, wide) ==
        straight.file() +
            ": tensor \"model.layers.1.mlp.experts.gate_up_proj\": expected shape [3, 5, 8], found [3, 8, 5]");
  const stored_checkpoint vector({{"model.norm.weight", {2, 2}, counting(4)}});
  CHECK(refusal(vector, default_layout, "model.norm.weight", {4}) ==
        vector.file() + ": tensor \"model.norm.weight\": expected shape [4], found [2, 2]");
}

TEST_CASE("a shape that fits two declarations") {
  const stored_checkpoint square({{"either", {3, 3}, counting(9)}}), tall_one({{"either", {3, 2}, counting(6)}});
  CHECK(refusal(square, layout_of<fused_model>(), "either.weight", {3, 3}) ==
        square.file() + ": tensor \"either\": shape [3, 3] fits two declarations of leaf \"either.weight\"");
  CHECK(read_all(resolve_weight(*tall_one, layout_of<fused_model>(), "either.weight",
                                std::vector<std::int64_t>{3, 2})) == counting(6));
  CHECK(read_all(resolve_weight(*tall_one, layout_of<fused_model>(), "either.weight",
                                std::vector<std::int64_t>{2, 3})) == std::vector<float>{0, 2, 4, 1, 3, 5});
  CHECK(refusal(tall_one, layout_of<fused_model>(), "either.weight", {4, 2}) ==
        tall_one.file() + ": tensor \"either\": expected shape [4, 2] or [2, 4], found [3, 2]");
}

TEST_CASE("weights that are stored as codes") {
  const stored_checkpoint c(
      {{"model.a.weight", {2, 2}, counting(4), dtype::i8}, {"model.b.qweight", {2, 2}, counting(4), dtype::i8}});
  CHECK(refusal(c, default_layout, "model.a.weight", {2, 2}) ==
        c.file() + ": tensor 'model.a.weight': expected f32, f16 or bf16, found i8");
  CHECK(refusal(c, default_layout, "model.b.weight", {2, 2}) ==
        c.folder() + ": tensor \"model.b.weight\": expected f32, f16 or bf16, found codes in \"model.b.qweight\"");
}
