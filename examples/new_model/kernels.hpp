// SPDX-License-Identifier: Apache-2.0
// Kernels of the operators that sessions of the hybrid model run and the library has none for.
#pragma once

#include <algorithm>
#include <numeric>

#include <qwq/exec/kernel_table.hpp>

#include "hybrid.hpp"

template <>
struct qwq::custom_kernel<mine::gated_scan> {
  template <class Step>
  static void run(execution_context& f) {
    const auto u = Step::template in_matrix<0>(f), decay = Step::template in_matrix<1>(f);
    const auto y = Step::out_matrix(f);
    auto* h = static_cast<float*>(Step::template state<2>(f).data);
    for (std::int64_t i = 0; i < y.rows; ++i)
      for (std::int64_t c = 0; c < y.cols; ++c) y(i, c) = h[c] = decay(i, c) * h[c] + u(i, c);
  }
};

// The k largest of each row, the first of equal ones first.
template <>
struct qwq::kernel_of<qwq::op::top_k> {
  template <class Step>
  static void run(execution_context& f) {
    const auto x = Step::template in_matrix<0>(f);
    const auto y = Step::out_matrix(f);
    const auto who = Step::template matrix<Step::template result_id<0>, std::int32_t>(f);
    std::array<std::int32_t, 256> order;
    for (std::int64_t i = 0; i < x.rows; ++i) {
      std::iota(order.begin(), order.begin() + x.cols, 0);
      std::stable_sort(order.begin(), order.begin() + x.cols,
                       [&](std::int32_t a, std::int32_t b) { return x(i, a) > x(i, b); });
      for (std::int64_t k = 0; k < y.cols; ++k) y(i, k) = x(i, who(i, k) = order[static_cast<std::size_t>(k)]);
    }
  }
};

// Each row times the matrix of its expert, in whatever form the weights are bound.
template <>
struct qwq::kernel_of<qwq::op::expert_linear> {
  template <class Step>
  static void run(execution_context& f) {
    const auto who = Step::template in<1, std::int32_t>(f);
    const auto y = Step::template matrix<Step::id, float>(f, 3);
    const auto x = Step::template in_matrix<0>(f);
    const std::int64_t per_row = y.rows / x.rows;  // a row of a token is read by all of its experts
    detail::with_weight<Step, 2>(f, [&](const auto& w) {
      const auto at = [&](std::int64_t j, std::int64_t k) {
        if constexpr (requires { w.per_word; })
          return w.at(j, k);
        else
          return static_cast<float>(w(j, k));
      };
      for (std::int64_t i = 0; i < y.rows; ++i)
        for (std::int64_t j = 0; j < y.cols; ++j) {
          float sum = 0;
          for (std::int64_t k = 0; k < x.cols; ++k)
            sum += x(i / per_row, k) * at(who[static_cast<std::size_t>(i)] * y.cols + j, k);
          y(i, j) = sum;
        }
    });
  }
};

template <>
struct qwq::kernel_of<qwq::op::weighted_sum> {
  template <class Step>
  static void run(execution_context& f) {
    const auto x = Step::template in_matrix<0>(f), p = Step::template in_matrix<1>(f);
    const auto y = Step::out_matrix(f);
    for (std::int64_t i = 0; i < y.rows; ++i)
      for (std::int64_t c = 0; c < y.cols; ++c) {
        y(i, c) = 0;
        for (std::int64_t k = 0; k < p.cols; ++k) y(i, c) += p(i, k) * x(i * p.cols + k, c);
      }
  }
};
