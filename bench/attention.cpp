// SPDX-License-Identifier: Apache-2.0
// Attention at the shape of Qwen3-0.6B: a token as fast as its cache is read, a prompt as fast as the machine
// multiplies.
#include "limits.hpp"
#include "qwq/kernel/attention.hpp"
#include "qwq/kernel/norm_rope.hpp"

namespace qwq::bench {

namespace {

constexpr std::int64_t heads = 16, kv_heads = 8, head_dim = 128;
constexpr float scale = 0.0883883476f;  // 1 / sqrt(head_dim)

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

/// Keys or values of `positions` tokens.
template <class T>
struct cache {
  buffer<T> data;
  buffer<float> scales;
  kernel::kv_view<T> view;

  cache(std::int64_t positions, std::uint32_t seed)
      : data(make_buffer<T>(size(positions * kv_heads * head_dim))),
        scales(make_buffer<float>(size(positions * kv_heads))),
        view{data.data(), kv_heads, positions, head_dim, scales.data()} {
    const auto rows = floats(size(positions * kv_heads * head_dim), 1, seed);
    kernel::append_kv(view, {rows.data(), positions, kv_heads * head_dim}, 0);
  }
};

std::string shape(std::int64_t tokens) {
  return std::to_string(tokens) + "x" + std::to_string(heads) + "x" + std::to_string(kv_heads) + "x" +
         std::to_string(head_dim);
}

/// `rows` tokens, the last of which sees `positions`.
template <class T>
maker attend(std::int64_t rows, std::int64_t positions) {
  return [=](executor& ex) -> call {
    const cache<T> keys(positions, 1), values(positions, 2);
    const auto q = floats(size(rows * heads * head_dim), 1, 3), y = make_buffer<float>(q.size);
    return [=, &ex] {
      kernel::attention(ex, {y.data(), rows, heads * head_dim}, {q.data(), rows, heads * head_dim}, keys.view,
                        values.view, positions - rows, scale);
    };
  };
}

template <class T>
void add_type(const char* name) {
  for (const std::size_t threads : {1, 2}) {
    for (const std::int64_t positions : {256, 2048, 8192}) {
      const std::size_t row = head_dim * sizeof(T) + (kernel::is_kv_code<T> ? sizeof(float) : 0);
      const std::size_t bytes = size(2 * positions * kv_heads) * row;
      add({.kernel = std::string("attention_decode_") + name,
           .shape = shape(positions),
           .threads = threads,
           .amount = static_cast<double>(bytes),
           .ours = attend<T>(1, positions),
           .limits = read_bandwidth(bytes),
           .also_limits = widened_peak<T>()});  // each meets the two query heads of its group
    }
    for (const std::int64_t tokens : {64, 512, 2048}) {
      const double pairs = static_cast<double>(tokens * (tokens + 1) / 2 * heads);  // of a query and a key that it sees
      add({.kernel = "attention_prefill_" + std::to_string(tokens) + "_" + name,
           .shape = shape(tokens),
           .counts = unit::flops,
           .threads = threads,
           .amount = 4.0 * head_dim * pairs,
           .ours = attend<T>(tokens, tokens),
           .limits = fma_peak()});
    }
  }
}

/// Norm and rotation of the query heads of `rows` tokens.
void add_norm_rope(std::int64_t rows) {
  const std::int64_t width = heads * head_dim;
  const std::size_t bytes = size(2 * rows * width) * sizeof(float);
  add({.kernel = "norm_rope",
       .shape = std::to_string(rows) + "x" + std::to_string(heads) + "x" + std::to_string(head_dim),
       .amount = static_cast<double>(bytes),
       .ours = [=](executor&) -> call {
         const auto x = floats(size(rows * width)), y = make_buffer<float>(x.size), gain = floats(head_dim);
         const auto cos = floats(size(rows * head_dim / 2)), sin = floats(cos.size);
         return [=] {
           kernel::norm_rope({y.data(), rows, width}, {x.data(), rows, width}, gain, 1e-6f,
                             {cos.data(), rows, head_dim / 2}, {sin.data(), rows, head_dim / 2});
         };
       },
       .limits = copy_bandwidth(bytes)});
}

}  // namespace

void add_cases() {
  add_type<float>("f32");
  add_type<float16>("f16");
  add_type<bfloat16>("bf16");
  add_type<std::int8_t>("int8");
  add_norm_rope(64);
  add_norm_rope(2048);
}

}  // namespace qwq::bench
