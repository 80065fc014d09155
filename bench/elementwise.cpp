// SPDX-License-Identifier: Apache-2.0
// Activations and norms: as fast as the memory that they go over.
#include "limits.hpp"
#include "qwq/kernel/elementwise.hpp"
#include "qwq/kernel/norm.hpp"
#include "qwq/kernel/softmax.hpp"

namespace qwq::bench {

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
            kernel::with_fake_quant(grid, [&](auto finish) {
              kernel::rms_norm({y.data(), n, columns}, {x.data(), n, columns}, gain, 1e-6f, finish);
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
