// SPDX-License-Identifier: Apache-2.0
// Defines `quantized_matrix_reader`, which quantizes a checkpoint matrix (round to nearest) in row blocks.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "qwq/core/parallel.hpp"
#include "qwq/io/checkpoint.hpp"
#include "qwq/kernel/packed_weight.hpp"
#include "qwq/quant/block_weight.hpp"
#include "qwq/quant/weights.hpp"
#include "qwq/weights/source.hpp"

namespace qwq {

namespace detail {

/// Runs f(i) for i in [0, count) on `threads`. Rethrows the exception of the first task, in order, that threw.
template <class F>
void run_tasks(executor& threads, std::size_t count, std::int64_t work, F&& f) {
  std::mutex lock;
  std::exception_ptr problem;
  std::size_t where = count;
  parallel_for(threads, count, work, [&](std::size_t i) {
    try {
      f(i);
    } catch (...) {
      const std::lock_guard guard(lock);
      if (i < where) {
        where = i;
        problem = std::current_exception();
      }
    }
  });
  if (problem) std::rethrow_exception(problem);
}

}  // namespace detail

/// Reads matrix `w` of tensors in `from` as f32, in row blocks of some millions of elements. For the block that begins
/// at row `row_block`: calls `begin(count)` with the number of its rows; calls `task(row_block, first_row, block)`, on
/// all threads, with pieces that fit a core's cache; and calls `done()`. Then the block's pages are released.
template <class Begin, class Task, class Done>
void for_each_row_block(const checkpoint& from, const weight_source& w, executor& threads, Begin&& begin, Task&& task,
                        Done&& done) {
  const std::int64_t rows = w.rows(), cols = w.cols();
  constexpr std::int64_t task_elements = 1 << 16, block_elements = 1 << 22;
  const std::int64_t task_rows = std::max<std::int64_t>(1, task_elements / cols);
  const std::int64_t block_rows = std::max<std::int64_t>(1, block_elements / cols / kernel::panel_n) * kernel::panel_n;
  w.for_each_range(0, rows, [&](std::span<const std::byte> bytes) { from.sequential(bytes); });
  for (std::int64_t row_block = 0; row_block < rows; row_block += block_rows) {
    const std::int64_t count = std::min(block_rows, rows - row_block);
    begin(count);
    const auto tasks = static_cast<std::size_t>((count + task_rows - 1) / task_rows);
    detail::run_tasks(threads, tasks, count * cols, [&](std::size_t i) {
      thread_local std::vector<float> buffer;
      const std::int64_t first = row_block + static_cast<std::int64_t>(i) * task_rows;
      const std::int64_t n = std::min(task_rows, row_block + count - first);
      buffer.resize(static_cast<std::size_t>(task_rows * cols));
      const auto x = std::span(buffer).first(static_cast<std::size_t>(n * cols));
      w.read(first, n, x);
      task(row_block, first, matrix_view<const float>{x.data(), n, cols});
    });
    done();
    w.for_each_range(row_block, count, [&](std::span<const std::byte> bytes) { from.release(bytes); });
  }
}

/// Quantizes one matrix. Scales, zero points and codes are computed on first use.
template <class Format>
class quantized_matrix_reader {
  static constexpr bool in_blocks = blockwise_format<Format>;

 public:
  /// Type of a code, or of the bytes that hold packed codes.
  using code =
      typename std::conditional_t<in_blocks, std::type_identity<std::uint8_t>, detail::code<Format::type>>::type;
  /// Receives bytes in order.
  using byte_sink = std::function<void(std::span<const std::byte>)>;

  /// `chosen`: what shares a scale if the format leaves that open, the tensor or a row. `from`, which has the tensors
  /// of `w`, and `threads` must outlive the object.
  quantized_matrix_reader(const checkpoint& from, weight_source w, granularity chosen, executor& threads)
      : from_(from), source_(std::move(w)), where_(source_.where()), threads_(threads) {
    if constexpr (!in_blocks) shared_ = shared_in<Format>(chosen);
    // Expert matrices are stacked; a single scale for the stack would couple them, so each row has its own.
    if (source_.of_experts() && shared_ == granularity::tensor) shared_ = granularity::row;
    if (shared_ == granularity::column)
      throw error(where_ + ": expected one scale for the tensor or for each row, found one for each column");
  }

  /// Number of scales: one, one per row, or one per block of a row.
  std::size_t scale_count() const {
    return shared_ == granularity::tensor ? 1 : static_cast<std::size_t>(rows()) * row_scales();
  }

  /// Scales; computed on first call.
  const std::vector<float>& scales() {
    measure();
    return params_.scales;
  }
  /// Zero points, one per scale; empty for blockwise formats.
  const std::vector<std::int32_t>& zero_points() {
    measure();
    return params_.zero_points;
  }
  /// Frees scales and zero points.
  void forget() { params_ = {}; }

  /// Calls sink(bytes) with the codes of each row block, in order: one per byte, or in blocks as `block_quantizer`
  /// packs them. If each row has its own scales, they are computed in the same pass.
  void codes(const byte_sink& sink) {
    row_blocks([&](std::span<const code> codes, std::span<const float>) { sink(std::as_bytes(codes)); });
  }
  /// Calls f(codes, scales) for each row block, in order. Row blocks are whole panels of rows, except the last one.
  template <class F>
  void row_blocks(F&& f) {
    if (shared_ == granularity::tensor) measure();
    const block_sink sink = std::ref(f);
    read(&sink);
  }

  /// Calls f(floats) with the dequantized values of each row block, in order.
  template <class F>
  requires(!in_blocks) void values(F&& f) {
    measure();
    std::vector<float> x;
    std::int64_t first = 0;
    row_blocks([&](std::span<const code> codes, std::span<const float>) {
      const std::int64_t count = static_cast<std::int64_t>(codes.size()) / cols();
      x.resize(codes.size());
      dequantize_rows<Format>({x.data(), count, cols()}, {codes.data(), count, cols()}, params_, first);
      first += count;
      f(std::span<const float>(x));
    });
  }

 private:
  using block_sink = std::function<void(std::span<const code>, std::span<const float>)>;

  std::int64_t rows() const { return source_.rows(); }
  std::int64_t cols() const { return source_.cols(); }
  /// Number of scales of one row.
  std::size_t row_scales() const {
    if constexpr (in_blocks) return block_quantizer<Format>(where_, static_cast<std::size_t>(cols())).blocks();
    return 1;
  }
  std::size_t row_codes() const {
    if constexpr (in_blocks) return block_quantizer<Format>(where_, static_cast<std::size_t>(cols())).packed_bytes();
    return static_cast<std::size_t>(cols());
  }

  void measure() {
    if (params_.scales.empty()) read(nullptr);
  }

  /// One pass over the matrix: computes the scales if they are unknown, and passes codes to a sink.
  void read(const block_sink* sink) {
    const bool unknown = params_.scales.empty();
    weight_params<Format> found;
    found.shared = shared_;
    if (unknown) {
      found.scales.resize(scale_count());
      if (!in_blocks) found.zero_points.resize(scale_count());
    }
    weight_params<Format>& p = unknown ? found : params_;
    kernel::extrema whole;
    std::mutex lock;
    std::vector<code> codes;
    const auto task = [&](std::int64_t row_block, std::int64_t first, matrix_view<const float> block) {
      if constexpr (in_blocks) {
        quantize_blocks(std::span(codes).subspan(static_cast<std::size_t>(first - row_block) * row_codes()), first,
                        block, p.scales);
      } else {
        if (unknown) {
          const kernel::extrema seen = measure_rows(first, block, found);
          const std::lock_guard guard(lock);
          whole = {std::min(whole.min, seen.min), std::max(whole.max, seen.max)};
        }
        if (sink != nullptr)
          quantize_rows<Format>({codes.data() + (first - row_block) * cols(), block.rows, cols()}, block, p, first);
      }
    };
    const auto begin = [&](std::int64_t count) { codes.resize(static_cast<std::size_t>(count) * row_codes()); };
    std::size_t done = 0;
    for_each_row_block(from_, source_, threads_, begin, task, [&] {
      const std::size_t count = shared_ == granularity::tensor ? 1 : codes.size() / row_codes() * row_scales();
      if (sink != nullptr) (*sink)(codes, std::span<const float>(p.scales).subspan(done, count));
      if (shared_ != granularity::tensor) done += count;
    });
    if (!unknown) return;
    if constexpr (!in_blocks)
      if (shared_ == granularity::tensor) put(found, 0, whole);
    params_ = std::move(found);
  }

  /// Computes the parameters of rows with their own scales; returns the range of all rows.
  kernel::extrema measure_rows(std::int64_t first, matrix_view<const float> block, weight_params<Format>& found) const {
    kernel::extrema all;
    for (std::int64_t i = 0; i < block.rows; ++i) {
      const kernel::extrema seen = detail::finite_range(block.span(i), where_, first + i);
      if (shared_ == granularity::row) put(found, static_cast<std::size_t>(first + i), seen);
      all = {std::min(all.min, seen.min), std::max(all.max, seen.max)};
    }
    return all;
  }
  void put(weight_params<Format>& found, std::size_t at, kernel::extrema seen) const {
    const qparams q = compute_qparams<Format>({seen.min, seen.max}, 0, false, shared_ != granularity::tensor);
    found.scales[at] = q.scale;
    found.zero_points[at] = q.zero_point;
  }

  void quantize_blocks(std::span<code> codes, std::int64_t first, matrix_view<const float> block,
                       std::span<float> scales) const {
    const block_quantizer<Format> quantizer(where_, static_cast<std::size_t>(cols()));
    const std::size_t bytes = quantizer.packed_bytes(), blocks = quantizer.blocks();
    for (std::int64_t i = 0; i < block.rows; ++i)
      quantizer.quantize_row(block.span(i), codes.subspan(static_cast<std::size_t>(i) * bytes, bytes),
                             scales.subspan(static_cast<std::size_t>(first + i) * blocks, blocks));
  }

  const checkpoint& from_;
  weight_source source_;
  std::string where_;
  executor& threads_;
  granularity shared_ = granularity::row;
  weight_params<Format> params_;
};

}  // namespace qwq
