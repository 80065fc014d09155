// SPDX-License-Identifier: Apache-2.0
// int32 biases, and the weight scales that make room for them, against onnxruntime's.
#include "qwq/quant/bias.hpp"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "golden.hpp"
#include "qwq/quant/weights.hpp"

TEST_CASE("every initializer that onnxruntime writes for a convolution with bias") {
  using i8 = qwq::int_format<qwq::dtype::i8, true>;
  const qwq::safetensors_file file(golden::path("bias_int32.safetensors"));
  const auto [rows, cols] = golden::shape(file, "weight");
  const auto weight = golden::read<float>(file, "weight");
  const qwq::matrix_view<const float> w(weight.data(), rows, cols);
  for (const std::string size : {"normal", "big"})
    for (const std::string per : {"tensor", "channel"}) {
      const std::string prefix = size + ".per" + per + ".";
      CAPTURE(prefix);
      const auto bias = golden::read<float>(file, "bias." + size);
      const float input_scale = golden::read<float>(file, prefix + "X_scale").at(0);

      const auto shared = per == "tensor" ? qwq::granularity::tensor : qwq::granularity::row;
      qwq::weight_ranges ranges("weight", shared, rows, cols);
      ranges.observe(0, w);
      qwq::weight_params<i8> params(ranges);
      const auto planned = params.scales;
      for (std::size_t i = 0; i < params.scales.size(); ++i) {
        float magnitude = std::abs(bias[i]);
        if (per == "tensor")
          for (const float b : bias) magnitude = std::max(magnitude, std::abs(b));
        params.scales[i] = qwq::weight_scale_for_bias(input_scale, params.scales[i], magnitude, per == "channel");
      }
      CHECK((planned == params.scales) == (size == "normal"));
      CHECK(params.scales == golden::read<float>(file, prefix + "W_scale"));
      std::vector<std::int8_t> codes(weight.size());
      qwq::quantize_rows(qwq::matrix_view(codes.data(), rows, cols), w, params);
      CHECK(codes == golden::read<std::int8_t>(file, prefix + "W_quantized"));

      std::vector<float> scales;
      for (const float scale : params.scales) scales.push_back(qwq::bias_scale(input_scale, scale));
      CHECK(scales == golden::read<float>(file, prefix + "B_quantized_scale"));
      std::vector<std::int32_t> bias_codes(bias.size());
      qwq::quantize_bias(bias_codes, bias, scales, "bias");
      CHECK(bias_codes == golden::read<std::int32_t>(file, prefix + "B_quantized"));
    }
}

TEST_CASE("biases round half to even and clip to int32") {
  const std::vector<float> bias{0.5f, 1.5f, -2.5f, 1e10f, -1e10f};
  std::vector<std::int32_t> codes(bias.size());
  qwq::quantize_bias(codes, bias, std::vector<float>{1}, "b");
  CHECK(codes == std::vector<std::int32_t>{0, 2, -2, std::numeric_limits<std::int32_t>::max(),
                                           std::numeric_limits<std::int32_t>::min()});
  CHECK(qwq::bias_scale(0.5f, 0.25f) == 0.125f);
  CHECK(qwq::bias_scale(0.5f, 0.25f, 2) == 0.25f);
}

TEST_CASE("a bias that is not finite is refused") {
  std::vector<std::int32_t> codes(1);
  const std::vector<float> bias{std::numeric_limits<float>::infinity()};
  CHECK_THROWS_WITH_AS(qwq::quantize_bias(codes, bias, std::vector<float>{1}, "q_proj.bias"),
                       "q_proj.bias: expected finite values, found NaN or infinity", qwq::error);
}

TEST_CASE("a weight scale that has room stays, one of a dead channel too") {
  CHECK(qwq::weight_scale_for_bias(0.01f, 0.02f, 1, true) == 0.02f);
  CHECK(qwq::weight_scale_for_bias(0, 0.02f, 1, true) == 0.02f);
  CHECK(qwq::weight_scale_for_bias(1e-6f, 1e-6f, 1, false) > 1e-6f);
}
