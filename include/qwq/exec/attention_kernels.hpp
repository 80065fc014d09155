// SPDX-License-Identifier: Apache-2.0
// Defines the kernel calls of attention: RoPE, the cache update, and attention itself.
#pragma once

#include "qwq/exec/kernel_call.hpp"
#include "qwq/kernel/attention.hpp"
#include "qwq/kernel/norm_rope.hpp"
#include "qwq/kernel/rope.hpp"

namespace qwq {

namespace detail {

/// View of the cache [1, kv_heads, capacity, head_dim] that is argument `K` of a kernel call.
template <class S, std::size_t K>
auto cache_view(const execution_context& f) {
  constexpr std::size_t id = S::template arg_id<K>;
  constexpr shape dims = S::g[id].dims();
  using element = storage_t<S::g[id].type.type>;
  const state_view& cache = S::template state<K>(f);
  return kernel::kv_view<element>{static_cast<element*>(cache.data), dims[1].extent, S::template extent<id, 2>(f),
                                  dims[3].extent, cache.scales};
}

/// Operands of RoPE: one row per token with all heads contiguous; cos and sin are arguments `Table` and `Table + 1`.
template <class S, std::size_t Table>
struct rotation {
  static constexpr std::int64_t heads = S::self().dims()[2].extent, head_dim = S::self().dims()[3].extent;
  matrix_view<float> y;
  matrix_view<const float> x, cos, sin;

  explicit rotation(const execution_context& f)
      : y{S::out(f).data(), S::tokens(f), heads * head_dim},
        x{S::template in<0>(f).data(), S::tokens(f), heads * head_dim},
        cos{S::template in_matrix<Table>(f)},
        sin{S::template in_matrix<Table + 1>(f)} {}
};

}  // namespace detail

/// RoPE of all heads, in parallel over tokens.
template <>
struct kernel_of<op::rope> {
  template <class S>
  static void run(execution_context& f) {
    const detail::rotation<S, 1> of(f);
    detail::for_each_row(f, of.x, [&](std::int64_t i) {
      kernel::rope(of.y.rows_from(i, 1), of.x.rows_from(i, 1), of.cos.rows_from(i, 1), of.sin.rows_from(i, 1),
                   of.head_dim);
    });
  }
};
/// RMSNorm and RoPE of all heads, in parallel over tokens.
template <>
struct kernel_of<op::norm_rope> {
  template <class S>
  static void run(execution_context& f) {
    const detail::rotation<S, 2> of(f);
    detail::for_each_row(f, of.x, [&](std::int64_t i) {
      kernel::norm_rope(of.y.rows_from(i, 1), of.x.rows_from(i, 1), S::template in<1>(f),
                        static_cast<float>(S::self().attr.value), of.cos.rows_from(i, 1), of.sin.rows_from(i, 1));
    });
  }
};
/// Writes the run's rows at their positions in the cache, in parallel over tokens.
template <>
struct kernel_of<op::kv_cache_update> {
  template <class S>
  static void run(execution_context& f) {
    const auto cache = detail::cache_view<S, 0>(f);
    const std::int64_t tokens = S::template extent<S::template arg_id<1>, 1>(f);
    const std::int64_t first = S::template number<2>(f) + 1 - tokens;
    const matrix_view<const float> rows{S::template in<1>(f).data(), tokens, cache.kv_heads * cache.head_dim};
    detail::for_each_row(f, rows, [&](std::int64_t i) { kernel::append_kv(cache, rows.rows_from(i, 1), first + i); });
  }
};
/// Causal attention of the run's tokens over the cache. Heads have at most 512 channels.
template <>
struct kernel_of<op::attention> {
  template <class S>
  static void run(execution_context& f) {
    static_assert(S::self().dims()[3].extent <= kernel::detail::most_head_dim,
                  "qwq: attention takes heads of at most 512 channels");
    constexpr std::int64_t width = S::self().dims()[2].extent * S::self().dims()[3].extent;
    const std::int64_t tokens = S::tokens(f);
    kernel::attention(*f.threads, matrix_view<float>{S::out(f).data(), tokens, width},
                      matrix_view<const float>{S::template in<0>(f).data(), tokens, width}, detail::cache_view<S, 1>(f),
                      detail::cache_view<S, 2>(f), S::template number<3>(f) + 1 - tokens,
                      static_cast<float>(S::self().attr.value));
  }
};

}  // namespace qwq
