// SPDX-License-Identifier: Apache-2.0
// Activations and norms: as fast as the memory that they go over.
#include "limits.hpp"
#include "qwq/kernel/broadcast.hpp"
#include "qwq/kernel/elementwise.hpp"
#include "qwq/kernel/int8_rows.hpp"
#include "qwq/kernel/norm.hpp"
#include "qwq/kernel/softmax.hpp"

namespace qwq::bench {

namespace {

/// Norms in one step with the sum that they are of, and with the quantization that follows them.
void add_joined_norms(const working_set& set) {
  constexpr std::int64_t columns = 1024, block = 32;
  const auto fit = [&](int matrices) {  // rows of so many matrices
    return static_cast<std::int64_t>(set.bytes / sizeof(float)) / matrices / columns;
  };
  const auto matrix = [](const buffer<float>& x) {
    return matrix_view<float>{x.data(), static_cast<std::int64_t>(x.size) / columns, columns};
  };
  const auto sum = [=](bool in_one) -> maker {
    return [=, n = static_cast<std::size_t>(fit(4) * columns)](executor&) -> call {
      const auto a = floats(n), b = floats(n, 1, 2), gain = floats(columns);
      const auto s = make_buffer<float>(n), y = make_buffer<float>(n);
      if (in_one) return [=] { kernel::add_norm(matrix(s), matrix(y), matrix(a), matrix(b), gain, 1e-6f); };
      return [=] {
        const std::int64_t all[] = {static_cast<std::int64_t>(n)};
        kernel::add(s.data(), a.data(), b.data(), kernel::broadcast(all, all, all));
        kernel::rms_norm(matrix(y), matrix(s), gain, 1e-6f);
      };
    };
  };
  const auto quantized = [=](bool in_one) -> maker {
    return [=, rows = fit(2)](executor& ex) -> call {
      const auto n = static_cast<std::size_t>(rows * columns);
      const auto x = floats(n), y = make_buffer<float>(n), gain = floats(columns);
      const auto memory = make_buffer<std::byte>(kernel::int8_rows::bytes(rows, columns, block));
      const auto codes = [=] { return kernel::int8_rows(memory.data(), rows, columns, block); };
      if (in_one) return [=, &ex] { kernel::quantize_normed_rows(ex, codes(), matrix(x), gain, 1e-6f); };
      return [=, &ex] {
        kernel::rms_norm(matrix(y), matrix(x), gain, 1e-6f);
        kernel::quantize_rows(ex, codes(), matrix(y));
      };
    };
  };
  const auto shape = std::string("rows of 1024, ") + set.name;
  add({.kernel = "add_norm",
       .shape = shape,
       .amount = static_cast<double>(4 * sizeof(float)) * static_cast<double>(fit(4) * columns),
       .ours = sum(true),
       .limits = memory_bandwidth({.reads = 2, .writes = 2}, set.bytes),
       .peers = {{"in two steps", sum(false)}}});
  add({.kernel = "rms_norm_int8",
       .shape = shape,
       .amount = static_cast<double>(sizeof(float)) * static_cast<double>(fit(2) * columns),
       .ours = quantized(true),
       .limits = read_bandwidth(set.bytes),
       .peers = {{"in two steps", quantized(false)}}});
}

}  // namespace

void add_cases() {
  constexpr std::size_t columns = 1024;
  for (const working_set& set : working_sets()) {
    const std::size_t thirds = set.bytes / sizeof(float) / 3, rows = set.bytes / sizeof(float) / 2 / columns;
    add({.kernel = "swiglu",
         .shape = set.name,
         .amount = static_cast<double>(3 * sizeof(float) * thirds),
         .ours =
             [=](executor&) {
               const auto gate = floats(thirds), up = floats(thirds, 1, 2), y = make_buffer<float>(thirds);
               return [=] { kernel::swiglu(y, gate, up); };
             },
         .limits = memory_bandwidth({.reads = 2, .writes = 1}, set.bytes)});
    add({.kernel = "rms_norm",
         .shape = std::string("rows of 1024, ") + set.name,
         .amount = static_cast<double>(2 * sizeof(float) * rows * columns),
         .ours =
             [=](executor&) {
               const auto x = floats(rows * columns), y = make_buffer<float>(rows * columns), gain = floats(columns);
               const auto n = static_cast<std::int64_t>(rows);
               return [=] { kernel::rms_norm({y.data(), n, columns}, {x.data(), n, columns}, gain, 1e-6f); };
             },
         .limits = copy_bandwidth(set.bytes)});
    // A norm that puts its result on a grid, beside the two steps.
    const auto norm = [=](bool in_one) -> maker {
      return [=](executor&) -> call {
        const auto x = floats(rows * columns), y = make_buffer<float>(rows * columns), gain = floats(columns);
        const auto n = static_cast<std::int64_t>(rows);
        const kernel::affine grid{0.02f, 128, kernel::full_range(dtype::u8)};
        if (in_one)
          return [=] {
            kernel::with_fake_quant(grid, [&](auto epilogue) {
              kernel::rms_norm({y.data(), n, columns}, {x.data(), n, columns}, gain, 1e-6f, epilogue);
            });
          };
        return [=] {
          kernel::rms_norm({y.data(), n, columns}, {x.data(), n, columns}, gain, 1e-6f);
          kernel::fake_quantize(std::span<float>(y), std::span<const float>(y), grid);
        };
      };
    };
    add({.kernel = "rms_norm_fake_quant",
         .shape = std::string("rows of 1024, ") + set.name,
         .amount = static_cast<double>(2 * sizeof(float) * rows * columns),
         .ours = norm(true),
         .limits = copy_bandwidth(set.bytes),
         .peers = {{"in two steps", norm(false)}}});
    add_joined_norms(set);
    add({.kernel = "softmax",
         .shape = std::string("rows of 1024, ") + set.name,
         .amount = static_cast<double>(2 * sizeof(float) * rows * columns),
         .ours =
             [=](executor&) {
               const auto x = floats(rows * columns), y = make_buffer<float>(rows * columns);
               const auto n = static_cast<std::int64_t>(rows);
               return [=] { kernel::softmax({y.data(), n, columns}, {x.data(), n, columns}); };
             },
         .limits = copy_bandwidth(set.bytes)});
  }
}

}  // namespace qwq::bench
