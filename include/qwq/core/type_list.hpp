// SPDX-License-Identifier: Apache-2.0
// Defines `type_list`, a list of types, and operations on it: concatenation, mapping, and selection by index.
#pragma once

#include <cstddef>
#include <type_traits>

namespace qwq {

/// A list of types.
template <class... T>
struct type_list {
  static constexpr std::size_t size = sizeof...(T);  ///< Number of types.
};

namespace detail {

template <class... Lists>
struct joined {
  using type = type_list<>;
};
template <class... A>
struct joined<type_list<A...>> {
  using type = type_list<A...>;
};
template <class... A, class... B, class... More>
struct joined<type_list<A...>, type_list<B...>, More...> : joined<type_list<A..., B...>, More...> {};

/// Concatenation of lists.
template <class... Lists>
using join = typename joined<Lists...>::type;

template <template <class> class F, class List>
struct mapped;
template <template <class> class F, class... T>
struct mapped<F, type_list<T...>> {
  using type = type_list<F<T>...>;
  using joined = join<F<T>...>;
};

/// `F` applied to every type of a list.
template <template <class> class F, class List>
using map = typename mapped<F, List>::type;
/// `F` applied to every type of a list, where the results are lists, concatenated.
template <template <class> class F, class List>
using flat_map = typename mapped<F, List>::joined;

template <std::size_t I, class List>
struct listed;
template <class First, class... Rest>
struct listed<0, type_list<First, Rest...>> {
  using type = First;
};
template <std::size_t I, class First, class... Rest>
struct listed<I, type_list<First, Rest...>> : listed<I - 1, type_list<Rest...>> {};

/// Type I of a list.
template <std::size_t I, class List>
using type_at = typename listed<I, List>::type;

/// Calls `f` with type `i` of a list, as a `std::type_identity`. `i` may be a run-time value; all calls must return the
/// same type.
template <class First, class... Rest, class F>
constexpr decltype(auto) with_type(type_list<First, Rest...>, std::size_t i, F&& f) {
  if constexpr (sizeof...(Rest) > 0)
    if (i > 0) return with_type(type_list<Rest...>{}, i - 1, f);
  return f(std::type_identity<First>{});
}

/// Calls `f` with every type of a list, as a `std::type_identity`.
template <class... T, class F>
constexpr void for_each_type(type_list<T...>, F&& f) {
  (f(std::type_identity<T>{}), ...);
}

}  // namespace detail

}  // namespace qwq
