// SPDX-License-Identifier: Apache-2.0
// Leaves of experts where they are bound and quantized: the same constants however the file stores them.
#include <qwq/weights/constant_store.hpp>

#include <doctest/doctest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <qwq/quant/scheme.hpp>

#include "stored.hpp"

using namespace qwq;

namespace {

constexpr std::int64_t E = 3, N = 7, K = 40;
constexpr std::string_view leaf_name = "mlp.experts.*.up_proj.weight";

struct transposed_model {
  static constexpr stored_as stored[] = {{leaf_name, "mlp.experts.gate_up_proj", 1, 2, true}};
};

float element(std::int64_t e, std::int64_t n, std::int64_t k) {
  return static_cast<float>((e * 31 + n * 17 + k * 13) % 64 - 20) / 8;
}

/// Fused and transposed, [E, K, 2 * N]; the gate's columns are far larger.
std::vector<stored_tensor> across() {
  stored_tensor t{"mlp.experts.gate_up_proj", {E, K, 2 * N}, {}, dtype::bf16};
  for (std::int64_t e = 0; e < E; ++e)
    for (std::int64_t k = 0; k < K; ++k)
      for (std::int64_t n = 0; n < 2 * N; ++n) t.values.push_back(n < N ? 1000.0f : element(e, n - N, k));
  return {t};
}
std::vector<float> rows() {
  std::vector<float> out;
  for (std::int64_t e = 0; e < E; ++e)
    for (std::int64_t n = 0; n < N; ++n)
      for (std::int64_t k = 0; k < K; ++k) out.push_back(element(e, n, k));
  return out;
}

template <class Format>
std::pair<std::vector<std::byte>, std::vector<float>> codes_of(const checkpoint& from, const weight_source& w,
                                                               granularity shared) {
  inline_executor here;
  quantized_matrix_reader<Format> made(from, w, shared, here);
  std::vector<std::byte> bytes;
  made.codes([&](std::span<const std::byte> piece) { bytes.insert(bytes.end(), piece.begin(), piece.end()); });
  return {bytes, made.scales()};
}

node leaf_of(std::string_view name, const tensor_type& type, double multiplier = 1, double offset = 0) {
  node n{.kind = op::weight, .type = type};
  n.name = name;
  n.attr.value = multiplier;
  n.attr.offset = offset;
  return n;
}

std::vector<float> floats(const operand& x, std::size_t count) {
  REQUIRE(x.type == dtype::f32);
  std::vector<float> out(count);
  std::memcpy(out.data(), x.data, count * sizeof(float));
  return out;
}

}  // namespace

TEST_CASE("experts of a transposed tensor have the codes of the matrix [E * N, K]") {
  const stored_checkpoint fused(across()), plain({{"w", {E * N, K}, rows()}});
  const weight_source w = resolve_weight(*fused, layout_of<transposed_model>(), leaf_name, std::vector{E, N, K}),
                      expected = weight_source::from(plain->at("w"));
  using per_row = for_each_row<w8a16::weight_format>;
  CHECK(codes_of<per_row>(*fused, w, granularity::row) == codes_of<per_row>(*plain, expected, granularity::row));
  // One scale for all experts would tie them together: each row has its own.
  CHECK(codes_of<w8a16::weight_format>(*fused, w, granularity::tensor) ==
        codes_of<w8a16::weight_format>(*plain, expected, granularity::row));
  const auto blocks = codes_of<w4_g32::weight_format>(*fused, w, granularity::row);
  CHECK(blocks.second.size() == E * N * 2);
  CHECK(blocks == codes_of<w4_g32::weight_format>(*plain, expected, granularity::row));
}

TEST_CASE("a multiplier and an offset are part of the codes") {
  auto doubled = rows();
  for (float& v : doubled) v = 2 * (v + 1);
  const stored_checkpoint fused(across()), plain({{"w", {E * N, K}, doubled}});
  const weight_source w = resolve_weight(*fused, layout_of<transposed_model>(), leaf_name, std::vector{E, N, K}, 2, 1);
  CHECK(codes_of<w4_g32::weight_format>(*fused, w, granularity::row) ==
        codes_of<w4_g32::weight_format>(*plain, weight_source::from(plain->at("w")), granularity::row));
}

TEST_CASE("values that are not finite are refused with the row of the matrix") {
  auto tensors = across();
  tensors[0].values[(1 * K + 5) * 2 * N + N + 4] = std::numeric_limits<float>::infinity();
  const stored_checkpoint c(tensors);
  const weight_source w = resolve_weight(*c, layout_of<transposed_model>(), leaf_name, std::vector{E, N, K});
  CHECK(complaint([&] {
          codes_of<w4_g32::weight_format>(*c, w, granularity::row);
        }).starts_with(c.file() + ": tensor 'mlp.experts.gate_up_proj'"));
}

TEST_CASE("a matrix that is stored as it is read is mapped, any other is read") {
  const stored_checkpoint c({{"a.weight", {2, 3}, counting(6)},
                             {"mlp.experts.down_proj", {2, 3, 2}, counting(12)},
                             {"b.0.w", {2}, counting(2)},
                             {"b.1.w", {2}, counting(2, 5)},
                             {"norm.weight", {3}, {-1, 0, 0.5f}, dtype::bf16}});
  constant_store store(*c, default_layout, false, granularity::tensor);
  const auto bind = [&](const node& n) { return store.bind<f32>(n, nullptr, std::string(n.name.view()), 0); };
  CHECK(bind(leaf_of("a.weight", {dtype::f32, {2, 3}})).data == c->at("a.weight").data);
  CHECK(bind(leaf_of("mlp.experts.*.down_proj.weight", {dtype::f32, {2, 3, 2}})).data ==
        c->at("mlp.experts.down_proj").data);
  CHECK(floats(bind(leaf_of("b.*.w", {dtype::f32, {2, 2}})), 4) == std::vector<float>{0, 1, 5, 6});
  CHECK(complaint([&] { store.account(); }) ==
        c.folder() + ": expected only tensors that the model reads, found 1 other: \"norm.weight\"");
  const tensor_type gain{dtype::f32, {3}};
  CHECK(floats(bind(leaf_of("norm.weight", gain, 1, 1)), 3) == std::vector<float>{0, 1, 1.5f});
  CHECK(floats(bind(leaf_of("norm.weight", gain, 4, 1)), 3) == std::vector<float>{0, 4, 6});
  CHECK(floats(bind(leaf_of("norm.weight", gain)), 3) == std::vector<float>{-1, 0, 0.5f});
  CHECK(floats(bind(leaf_of("a.weight", {dtype::f32, {2, 3}}, 2)), 6) == std::vector<float>{0, 2, 4, 6, 8, 10});
  store.account();
}
