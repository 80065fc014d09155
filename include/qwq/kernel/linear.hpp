// SPDX-License-Identifier: Apache-2.0
// Defines `linear` and `matmul`: GEMM of f32 activations with a weight in any format.
#pragma once

#include "qwq/core/parallel.hpp"
#include "qwq/kernel/elementwise.hpp"
#include "qwq/kernel/gemv_int8.hpp"
#include "qwq/kernel/tile.hpp"

namespace qwq::kernel {

namespace detail {

/// Use GEMV below `few_rows` rows of activations, in tasks of `block_n` outputs; `fewest_rows` is the minimum number of
/// left rows for which packing a panel pays off.
inline constexpr std::int64_t few_rows = 4, block_n = 256, fewest_rows = 96;

/// Accumulators of some left rows and at most right_n outputs: sums[r, j - j0] = x[i + r] . w[j], with row pitch
/// right_n.
struct strip {
  std::int64_t i, rows, j0, j1;
  float* sums;
};

/// Calls f(strip, store) for all rows of x and outputs of w, with the strips of `multiply_panel`, in parallel. No
/// accumulator depends on the position of the tasks, so results do not depend on the number of threads.
template <class Arch, class X, class W, class F>
void for_each_strip(executor& ex, const X& x, const W& w, F&& f) {
  const auto threads = static_cast<std::int64_t>(ex.threads());
  const std::int64_t count = outputs(w), panels = (count + right_n - 1) / right_n;
  // Each piece of rows packs its own panels, so there are only as many pieces as keep all threads busy to the end.
  const auto parts = [](std::int64_t n, std::int64_t size) { return (n + size - 1) / size; };
  std::int64_t pieces = std::max(x.cols > right_k ? parts(x.rows, kept_m<Arch>) : 1,
                                 threads < 2 ? 1 : parts(2 * threads, std::max<std::int64_t>(panels, 1)));
  while (panels * pieces % threads != 0) ++pieces;
  const std::int64_t piece = parts(std::max(parts(x.rows, pieces), fewest_rows), row_tile) * row_tile;
  pieces = parts(x.rows, piece);
  parallel_for(ex, static_cast<std::size_t>(panels * pieces), x.rows * x.cols * count, [&](std::size_t task) {
    const std::int64_t i0 = static_cast<std::int64_t>(task) / panels * piece,
                       j0 = static_cast<std::int64_t>(task) % panels * right_n, j1 = std::min(j0 + right_n, count);
    panel_store<Arch> store;
    multiply_panel<Arch>(x, i0, std::min(i0 + piece, x.rows), w, j0, j1, store,
                         [&](std::int64_t i, std::int64_t rows, float* sums) {
                           f(strip{i, rows, j0, j1, sums}, store);
                         });
  });
}

/// Calls f(i, j, sums), where sums[n] = x[i] . w[j + n], for all rows of x and pieces of the outputs of w, in parallel.
template <class Arch, int Bits, class F>
void for_each_sums(executor& ex, matrix_view<const float> x, const packed_weight<Bits>& w, F&& f) {
  for_each_strip<Arch>(ex, x, w, [&](const strip& s, auto&) {
    for (std::int64_t r = 0; r < s.rows; ++r)
      f(s.i + r, s.j0, std::span<float>(s.sums + r * right_n, static_cast<std::size_t>(s.j1 - s.j0)));
  });
}
/// As above, for a weight that is not packed: it is the left operand, whose rows are read as they are stored.
template <class Arch, class T, class F>
void for_each_sums(executor& ex, matrix_view<const float> x, const matrix_view<T>& w, F&& f) {
  for_each_strip<Arch>(ex, w, rows_of{x}, [&](const strip& s, panel_store<Arch>& store) {
    constexpr std::int64_t stride = strip_m + 16, at_a_time = 16;
    for (std::int64_t i = s.j0; i < s.j1; i += at_a_time) {
      const std::int64_t rows = std::min(at_a_time, s.j1 - i);
      simd::transpose<Arch>(store.turned, stride, s.sums + i - s.j0, right_n, s.rows, rows);
      for (std::int64_t r = 0; r < rows; ++r)
        f(i + r, s.i, std::span<float>(store.turned + r * stride, static_cast<std::size_t>(s.rows)));
    }
  });
}

/// As above, for at most block_n outputs [j0, j1), one row at a time (GEMV).
template <class Arch, class W, class F>
void for_each_row(matrix_view<const float> x, const W& w, std::int64_t j0, std::int64_t j1, F&& f) {
  alignas(64) float sums[block_n];
  for (std::int64_t i = 0; i < x.rows; ++i) {
    multiply_row<Arch>(sums, x.row(i), w, j0, j1);
    f(i, j0, std::span<float>(sums, static_cast<std::size_t>(j1 - j0)));
  }
}

/// Calls f(j0, j1) for pieces of the outputs, in parallel: whole panels, at most block_n outputs. No output depends on
/// the position of the pieces, so results do not depend on the number of threads.
template <class F>
void for_output_blocks(executor& ex, std::int64_t outputs, std::int64_t work, F&& f) {
  const auto threads = static_cast<std::int64_t>(ex.threads());
  const std::int64_t piece = std::clamp(threads < 2 ? block_n : outputs / (4 * threads) / panel_n * panel_n,
                                        std::min(4 * panel_n, block_n), block_n);
  const auto tasks = static_cast<std::size_t>((outputs + piece - 1) / piece);
  parallel_for(ex, tasks, work, [&](std::size_t task) {
    const std::int64_t j0 = static_cast<std::int64_t>(task) * piece;
    f(j0, std::min(j0 + piece, outputs));
  });
}

/// GEMV of rows with a packed weight on int8 limbs, if the hardware has the instructions for it: four integer
/// multiply-adds per element take fewer instructions than dequantizing a code to f32. Returns false if it did nothing.
template <class Arch, class W, class F>
bool multiply_digits(executor&, matrix_view<const float>, const W&, F&&) {
  return false;
}
template <class Arch, int Bits, class F>
requires simd::has_add_dot<Arch>
bool multiply_digits(executor& ex, matrix_view<const float> x, const packed_weight<Bits>& w, F&& f) {
  alignas(64) std::byte memory[std::size_t{1} << 17];
  const std::int64_t block = w.blocks() == 1 || w.block % f32_block == 0 ? std::min(w.block, f32_block) : w.block;
  if (int8_rows::bytes(f32_digits, x.cols, block) > sizeof memory) return false;
  const int8_rows limbs(memory, f32_digits, x.cols, block);
  for (std::int64_t i = 0; i < x.rows; ++i) {
    if (!split_limbs<Arch>(limbs, x.row(i))) return false;
    for_output_blocks(ex, w.rows, w.rows * w.cols, [&](std::int64_t j0, std::int64_t j1) {
      alignas(64) float sums[block_n];
      multiply_int8_row<Arch, f32_digits>(sums, limbs, 0, w, j0, j1);
      f(i, j0, std::span<float>(sums, static_cast<std::size_t>(j1 - j0)));
    });
  }
  return true;
}

}  // namespace detail

/// Receives accumulators: called with a row, the first output, and the accumulators of some outputs from there on,
/// which it can modify. A reference: its function must outlive it.
class sums_sink {
 public:
  /// Refers to `f`, which is called as f(row, output, sums).
  template <class F>
  requires(!std::is_same_v<std::remove_cvref_t<F>, sums_sink>) sums_sink(F&& f)
      : context_(const_cast<void*>(static_cast<const void*>(&f))),
        call_([](void* context, std::int64_t i, std::int64_t j, std::span<float> sums) {
          (*static_cast<std::remove_reference_t<F>*>(context))(i, j, sums);
        }) {}
  /// Calls the function.
  void operator()(std::int64_t i, std::int64_t j, std::span<float> sums) const { call_(context_, i, j, sums); }

 private:
  void* context_;
  void (*call_)(void*, std::int64_t, std::int64_t, std::span<float>);
};

/// GEMM x[m, k] . w[n, k]^T; passes the accumulators piece by piece to `epilogue`, on the thread that computed them.
/// `W` is a matrix_view of float, float16 or bfloat16, or a packed_weight. The results do not depend on the number of
/// threads. Each thread uses half a megabyte of its stack, 0.6 MB with AVX-512. With VNNI, few rows are multiplied with
/// a packed weight as integers: exact for activations of at least 1/64 of the largest of 64 activations, within 2^-30
/// of the largest for smaller ones.
template <class Arch = xsimd::default_arch, class W>
void product(executor& ex, matrix_view<const float> x, const W& w, const sums_sink& epilogue) {
  if (x.rows < detail::few_rows) {
    if (detail::multiply_digits<Arch>(ex, x, w, epilogue)) return;
    detail::for_output_blocks(ex, w.rows, w.rows * w.cols * x.rows, [&](std::int64_t j0, std::int64_t j1) {
      detail::for_each_row<Arch>(x, w, j0, j1, epilogue);
    });
  } else {
    detail::for_each_sums<Arch>(ex, x, w, epilogue);
  }
}

/// Stores accumulators: y = sums, through an epilogue (epilogue.hpp).
template <class Arch = xsimd::default_arch, class Epilogue = identity_epilogue>
struct store_sums {
  /// Result, [rows, outputs].
  matrix_view<float> y;
  /// Applied to each element before it is stored.
  Epilogue epilogue = {};
  /// Stores the accumulators of row `i` from output `j` on.
  void operator()(std::int64_t i, std::int64_t j, std::span<float> sums) const {
    detail::map<Arch>({y.row(i) + j, sums.size()},
                      [&](std::int64_t k, auto count) { return epilogue(simd::load<Arch>(sums.data() + k, count)); });
  }
};
/// Adds accumulators to a residual stream: y = r + sums. y can be r.
template <class Arch = xsimd::default_arch>
struct add_sums {
  /// Result, [rows, outputs].
  matrix_view<float> y;
  /// Residual, [rows, outputs].
  matrix_view<const float> r;
  /// Stores the accumulators of row `i` from output `j` on, plus the residual.
  void operator()(std::int64_t i, std::int64_t j, std::span<float> sums) const {
    const float* const to = r.row(i) + j;
    detail::map<Arch>({y.row(i) + j, sums.size()}, [&](std::int64_t k, auto count) {
      return simd::load<Arch>(to + k, count) + simd::load<Arch>(sums.data() + k, count);
    });
  }
};
/// Gates accumulators: y = silu(y) * sums, through an epilogue.
template <class Arch = xsimd::default_arch, class Epilogue = identity_epilogue>
struct gate_sums {
  /// Result of the gate, which becomes that of SwiGLU: [rows, outputs].
  matrix_view<float> y;
  /// Applied to each element before it is stored.
  Epilogue epilogue = {};
  /// Multiplies silu(gate) with the accumulators of row `i` from output `j` on.
  void operator()(std::int64_t i, std::int64_t j, std::span<float> sums) const {
    const std::span<float> piece(y.row(i) + j, sums.size());
    swiglu<Arch>(piece, piece, sums, epilogue);
  }
};

/// y[m, n] = x[m, k] . w[n, k]^T, with a weight `w` of `product`. y must not overlap x.
template <class Arch = xsimd::default_arch, class W>
void linear(executor& ex, matrix_view<float> y, matrix_view<const float> x, const W& w) {
  product<Arch>(ex, x, w, store_sums<Arch>{y});
}

/// GEMM on column-major activations, as a 1x1 convolution over [1, k, 1, m] computes it: y[n, m] = w[n, k] . x[k, m]. y
/// must not overlap x or w.
template <class Arch = xsimd::default_arch, class W>
void linear_columns(executor& ex, matrix_view<float> y, matrix_view<const float> x, const W& w) {
  detail::for_each_strip<Arch>(ex, w, detail::columns_of{x}, [&](const detail::strip& s, auto&) {
    for (std::int64_t r = 0; r < s.rows; ++r)
      std::copy_n(s.sums + r * detail::right_n, s.j1 - s.j0, y.row(s.i + r) + s.j0);
  });
}

/// Batched matmul: y[b] = x[b] . w[b] for `batch` pairs of matrices, stacked along rows: x is [batch * m, k], w [batch
/// * k, n] and y [batch * m, n]. y must not overlap x or w.
template <class Arch = xsimd::default_arch>
void matmul(executor& ex, matrix_view<float> y, matrix_view<const float> x, matrix_view<const float> w,
            std::int64_t batch) {
  const std::int64_t m = x.rows / batch, k = w.rows / batch;
  for (std::int64_t b = 0; b < batch; ++b)
    linear_columns<Arch>(ex, y.rows_from(b * m, m), w.rows_from(b * k, k), x.rows_from(b * m, m));
}

}  // namespace qwq::kernel
