// SPDX-License-Identifier: Apache-2.0
// Products with weights of Qwen3's shapes: many tokens beside the peaks of arithmetic, one token beside memory.
#include <algorithm>
#include <cstring>

#include "limits.hpp"
#include "openblas.hpp"
#include "qwq/kernel/linear_int8.hpp"

namespace qwq::bench {

namespace {

struct weight_shape {
  std::int64_t k, n;
};
constexpr weight_shape shapes[] = {{1024, 3072}, {3072, 1024}, {2048, 6144}, {2560, 9728}};  // 0.6B, 1.7B, 4B

std::string text(weight_shape s) { return std::to_string(s.k) + "x" + std::to_string(s.n); }

/// A weight in the form in which products read it.
template <class W>
struct stored {
  buffer<std::byte> bytes;
  W weight;
};

template <class T>
stored<matrix_view<const T>> make_weight(weight_shape s, std::type_identity<matrix_view<const T>>, std::int64_t) {
  const auto size = static_cast<std::size_t>(s.n * s.k);
  const auto from = floats(size, 0.05f, 2);
  auto bytes = make_buffer<std::byte>(size * sizeof(T));
  auto* const to = reinterpret_cast<T*>(bytes.data());
  for (std::size_t i = 0; i < size; ++i) to[i] = T(from[i]);
  return {bytes, {to, s.n, s.k}};
}
/// `block` = 0: a scale for each row.
template <int Bits>
stored<kernel::packed_weight<Bits>> make_weight(weight_shape s, std::type_identity<kernel::packed_weight<Bits>>,
                                                std::int64_t block) {
  kernel::packed_weight<Bits> w{nullptr, s.n, s.k, block > 0 ? block : kernel::packed_weight<Bits>::whole_row(s.k)};
  auto bytes = make_buffer<std::byte>(w.bytes());
  std::uint32_t state = 1;
  for (std::size_t i = 0; i < bytes.size; ++i)
    bytes[i] = static_cast<std::byte>((state = state * 1664525u + 1013904223u) >> 24);
  const auto block_bytes = static_cast<std::size_t>(w.block_bytes());
  const std::vector<float> scales(kernel::panel_n, 0.01f);
  for (std::size_t at = 0; at < bytes.size; at += block_bytes)
    std::memcpy(bytes.data() + at, scales.data(), static_cast<std::size_t>(w.scale_bytes));
  w.data = bytes.data();
  return {bytes, w};
}

/// The product of `m` tokens with one weight after the other, on f32 activations or on int8 ones, which are quantized
/// first.
template <class W>
call multiply(executor& ex, std::int64_t m, std::vector<stored<W>> weights, bool int8) {
  const std::int64_t n = weights[0].weight.rows, k = weights[0].weight.cols;
  const auto x = floats(static_cast<std::size_t>(m * k)), y = make_buffer<float>(static_cast<std::size_t>(m * n));
  if constexpr (requires { weights[0].weight.block; })
    if (int8) {
      const auto memory = make_buffer<std::byte>(kernel::int8_rows::bytes(m, k, weights[0].weight.block));
      return [=, &ex, at = std::size_t{0}]() mutable {
        const auto& w = weights[at++ % weights.size()].weight;
        const kernel::int8_rows codes(memory.data(), m, k, w.block);
        kernel::quantize_rows(ex, codes, {x.data(), m, k});
        kernel::linear(ex, {y.data(), m, n}, codes, w);
      };
    }
  return [=, &ex, at = std::size_t{0}]() mutable {
    kernel::linear(ex, {y.data(), m, n}, {x.data(), m, k}, weights[at++ % weights.size()].weight);
  };
}

template <class W>
void add_gemm(const std::string& name, std::int64_t m, weight_shape s, std::size_t threads, std::int64_t block = 0,
              bool int8 = false) {
  const double operations = 2.0 * static_cast<double>(m * s.n * s.k);
  add({.kernel = "gemm_" + name + "_m" + std::to_string(m),
       .shape = text(s),
       .counts = int8 ? unit::int_ops : unit::flops,
       .threads = threads,
       .amount = operations,
       .ours =
           [=](executor& ex) {
             return multiply(ex, m, std::vector{make_weight(s, std::type_identity<W>{}, block)}, int8);
           },
       .limits = int8 ? vnni_peak() : fma_peak(),
       .peers = name == "f32" ? openblas_linear(m, s.k, s.n) : std::vector<contender>{},
       .rounds = 7});
}

/// Weights as of the layers of a model: more than the caches hold.
template <class W>
void add_gemv(const std::string& name, weight_shape s, std::size_t threads, std::int64_t block = 0, bool int8 = false) {
  const std::size_t each = make_weight({s.k, kernel::panel_n}, std::type_identity<W>{}, block).bytes.size *
                           static_cast<std::size_t>(s.n / kernel::panel_n);
  const std::size_t count = std::max<std::size_t>(working_sets().back().bytes / each, 1);
  add({.kernel = "gemv_" + name,
       .shape = text(s),
       .threads = threads,
       .amount = static_cast<double>(each),
       .ours =
           [=](executor& ex) {
             std::vector<stored<W>> weights{make_weight(s, std::type_identity<W>{}, block)};
             while (weights.size() < count) {
               stored<W> copy = weights[0];
               copy.bytes = make_buffer<std::byte>(copy.bytes.size);
               std::memcpy(copy.bytes.data(), weights[0].bytes.data(), copy.bytes.size);
               copy.weight.data = reinterpret_cast<decltype(copy.weight.data)>(copy.bytes.data());
               weights.push_back(copy);
             }
             return multiply(ex, 1, weights, int8);
           },
       .limits = read_bandwidth(count * each),
       .turns = static_cast<std::int64_t>(count),
       .rounds = 7});
}

using f32_rows = matrix_view<const float>;
using bf16_rows = matrix_view<const bfloat16>;

}  // namespace

void add_cases() {
  for (const std::size_t threads : {std::size_t{1}, std::size_t{2}}) {
    for (const weight_shape s : shapes)
      for (const std::int64_t m : {64, 512}) {
        add_gemm<f32_rows>("f32", m, s, threads);
        add_gemm<kernel::packed_weight<8>>("int8", m, s, threads, 0, true);
        add_gemm<kernel::packed_weight<4>>("int4_g32", m, s, threads, 32, true);
      }
    // What models do less often, in one shape.
    for (const std::int64_t m : {64, 512}) {
      add_gemm<bf16_rows>("bf16", m, shapes[0], threads);
      add_gemm<kernel::packed_weight<8>>("f32_int8", m, shapes[0], threads);
      add_gemm<kernel::packed_weight<4>>("f32_int4_g32", m, shapes[0], threads, 32);
    }
    add_gemv<bf16_rows>("bf16", shapes[0], threads);
    for (const bool int8 : {false, true})
      add_gemv<kernel::packed_weight<4>>(int8 ? "int4_g128_int8_activations" : "int4_g128", shapes[0], threads, 128,
                                         int8);
    for (const weight_shape s : shapes) {
      add_gemv<f32_rows>("f32", s, threads);
      for (const bool int8 : {false, true}) {
        const std::string on = int8 ? "_int8_activations" : "";
        add_gemv<kernel::packed_weight<8>>("int8" + on, s, threads, 0, int8);
        add_gemv<kernel::packed_weight<4>>("int4_g32" + on, s, threads, 32, int8);
      }
    }
  }
}

}  // namespace qwq::bench
