// SPDX-License-Identifier: Apache-2.0
// Steps of attention: rotations, the cache, and attention itself.
#pragma once

#include "qwq/kernel/attention.hpp"
#include "qwq/kernel/norm_rope.hpp"
#include "qwq/kernel/rope.hpp"
#include "qwq/lower/step.hpp"

namespace qwq {

namespace detail {

/// Key and value of the layer's cache, for a graph whose cache is of type T.
template <class T>
struct cache_views {
  kernel::kv_view<T> key, value;
  cache_views(const layer_cache& c, std::int64_t kv_heads, std::int64_t head_dim)
      : key{static_cast<T*>(c.key), kv_heads, c.capacity, head_dim, c.key_scales},
        value{static_cast<T*>(c.value), kv_heads, c.capacity, head_dim, c.value_scales} {}
};

/// What a rotation reads and writes: one row per token, all heads side by side; the tables are arguments `Table` and
/// the next.
template <class S, std::size_t Table>
struct rotation {
  static constexpr std::int64_t heads = S::self().dims()[2].extent, head_dim = S::self().dims()[3].extent;
  matrix_view<float> y;
  matrix_view<const float> x, cos, sin;

  explicit rotation(const frame& f)
      : y{S::out(f).data(), f.rows, heads * head_dim},
        x{S::template in<0>(f).data(), f.rows, heads * head_dim},
        cos{rows(f, S::template constant<Table>(f))},
        sin{rows(f, S::template constant<Table + 1>(f))} {}

 private:
  static matrix_view<const float> rows(const frame& f, const operand& table) {
    const matrix_view<const float> all{static_cast<const float*>(table.data), f.last_position + 1, head_dim / 2};
    return all.rows_from(f.last_position + 1 - f.rows, f.rows);
  }
};

}  // namespace detail

template <>
struct kernel_of<op::rope> {
  template <class S>
  static void run(frame& f) {
    const detail::rotation<S, 1> of(f);
    detail::for_each_row(f, of.x, [&](std::int64_t i) {
      kernel::rope(of.y.rows_from(i, 1), of.x.rows_from(i, 1), of.cos.rows_from(i, 1), of.sin.rows_from(i, 1),
                   of.head_dim);
    });
  }
};
template <>
struct kernel_of<op::norm_rope> {
  template <class S>
  static void run(frame& f) {
    const detail::rotation<S, 2> of(f);
    detail::for_each_row(f, of.x, [&](std::int64_t i) {
      kernel::norm_rope(of.y.rows_from(i, 1), of.x.rows_from(i, 1), S::template in<1>(f),
                        static_cast<float>(S::self().attr.value), of.cos.rows_from(i, 1), of.sin.rows_from(i, 1));
    });
  }
};
template <>
struct kernel_of<op::kv_append> {
  template <class S>
  static void run(frame& f) {
    constexpr shape cache = S::self().dims();
    using element = storage_t<S::self().type.type>;
    const detail::cache_views<element> c(f.cache, cache[1].extent, cache[3].extent);
    constexpr bool is_key = S::g[S::template arg_id<0>].name == "past_key";
    const matrix_view<const float> rows{S::template in<1>(f).data(), f.rows, cache[1].extent * cache[3].extent};
    detail::for_each_row(f, rows, [&](std::int64_t i) {
      kernel::append_kv(is_key ? c.key : c.value, rows.rows_from(i, 1), f.last_position + 1 - f.rows + i);
    });
  }
};
template <>
struct kernel_of<op::attention> {
  template <class S>
  static void run(frame& f) {
    constexpr shape cache = S::g[S::template arg_id<1>].dims();
    static_assert(cache[3].extent <= kernel::detail::most_head_dim, "qwq: attention takes heads of at most 512 channels");
    constexpr std::int64_t width = S::self().dims()[2].extent * S::self().dims()[3].extent;
    using element = storage_t<S::g[S::template arg_id<1>].type.type>;
    const detail::cache_views<element> c(f.cache, cache[1].extent, cache[3].extent);
    kernel::attention(*f.threads, matrix_view<float>{S::out(f).data(), f.rows, width},
                      matrix_view<const float>{S::template in<0>(f).data(), f.rows, width}, c.key, c.value,
                      f.last_position + 1 - f.rows, static_cast<float>(S::self().attr.value));
  }
};

}  // namespace qwq
