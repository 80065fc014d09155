// SPDX-License-Identifier: Apache-2.0
// Round-to-nearest weight codes against onnxruntime's, byte for byte.
#include "qwq/quant/weights.hpp"

#include <doctest/doctest.h>

#include <limits>
#include <string>
#include <vector>

#include "golden.hpp"

namespace {

using qwq::dtype;
using qwq::granularity;

template <class Format>
struct quantized {
  qwq::weight_params<Format> params;
  std::vector<qwq::code_t<Format::type>> codes;
};

/// Both passes over blocks of `step` rows.
template <class Format>
quantized<Format> quantize(granularity shared, qwq::matrix_view<const float> w, std::int64_t step) {
  qwq::weight_ranges ranges("w", shared, w.rows, w.cols);
  for (std::int64_t i = 0; i < w.rows; i += step) ranges.observe(i, w.rows_from(i, std::min(step, w.rows - i)));
  quantized<Format> q{qwq::weight_params<Format>(ranges), {}};
  q.codes.resize(static_cast<std::size_t>(w.rows * w.cols));
  const qwq::matrix_view codes(q.codes.data(), w.rows, w.cols);
  for (std::int64_t i = 0; i < w.rows; i += step) {
    const auto rows = std::min(step, w.rows - i);
    qwq::quantize_rows(codes.rows_from(i, rows), w.rows_from(i, rows), q.params, i);
  }
  return q;
}

template <class Format>
int check(const qwq::safetensors_file& file, const std::string& weight, const std::string& type) {
  const auto [rows, cols] = golden::shape(file, "w." + weight);
  const auto w = golden::read<float>(file, "w." + weight);
  int checked = 0;
  for (const auto& [suffix, shared] : {std::pair{"tensor", granularity::tensor}, std::pair{"axis0", granularity::row},
                                       std::pair{"axis1", granularity::column}}) {
    const std::string key = weight + "." + type + (Format::symmetric ? ".sym." : ".asym.") + suffix;
    if (!file.find("q." + key)) continue;
    CAPTURE(key);
    const auto codes = golden::read<qwq::code_t<Format::type>>(file, "q." + key);
    const auto scales = golden::read<float>(file, "s." + key);
    const auto zero_points = golden::read<std::int32_t>(file, "z." + key);
    for (const std::int64_t step : {rows, std::int64_t{1}, std::int64_t{5}}) {
      const auto q = quantize<Format>(shared, {w.data(), rows, cols}, step);
      CHECK(q.params.scales == scales);
      CHECK(q.params.zero_points == zero_points);
      CHECK(q.codes == codes);
    }
    ++checked;
  }
  return checked;
}

}  // namespace

TEST_CASE("every weight of onnxruntime's, in six types, per tensor and per axis") {
  const qwq::safetensors_file file(golden::path("rtn_weights.safetensors"));
  int goldens = 0;
  int checked = 0;
  for (const auto& tensor : file.tensors()) {
    goldens += tensor.name.starts_with("q.");
    if (!tensor.name.starts_with("w.")) continue;
    const auto weight = tensor.name.substr(2);
    const auto both = [&]<dtype T>(const std::string& type) {
      checked += check<qwq::int_format<T, true>>(file, weight, type);
      checked += check<qwq::int_format<T, false>>(file, weight, type);
    };
    both.template operator()<dtype::i4>("int4");
    both.template operator()<dtype::u4>("uint4");
    both.template operator()<dtype::i8>("int8");
    both.template operator()<dtype::u8>("uint8");
    both.template operator()<dtype::i16>("int16");
    both.template operator()<dtype::u16>("uint16");
  }
  CHECK(goldens > 100);
  CHECK(checked == goldens);
}

TEST_CASE("the projections of a model, per output channel") {
  const qwq::safetensors_file model(golden::path("tiny_qwen3.safetensors"));
  const qwq::safetensors_file expected(golden::path("matmul_ctx/perchannel_weights.safetensors"));
  int checked = 0;
  for (const auto& tensor : expected.tensors()) {
    const std::string suffix = "_quantized";
    if (!tensor.name.ends_with(suffix)) continue;
    const auto name = tensor.name.substr(0, tensor.name.size() - suffix.size());
    CAPTURE(name);
    const auto [rows, cols] = golden::shape(model, name);
    const auto w = golden::read<float>(model, name);
    const auto q = quantize<qwq::int_format<dtype::i8, true>>(granularity::row, {w.data(), rows, cols}, 3);
    CHECK(q.params.scales == golden::read<float>(expected, name + "_scale"));
    const auto codes = golden::read<std::int8_t>(expected, tensor.name);  // [K, N]: the transpose
    std::size_t different = codes.size() == q.codes.size() ? 0 : 1;
    for (std::int64_t i = 0; i < rows; ++i)
      for (std::int64_t j = 0; j < cols; ++j)
        different += codes[static_cast<std::size_t>(j * rows + i)] != q.codes[static_cast<std::size_t>(i * cols + j)];
    CHECK(different == 0);
    ++checked;
  }
  CHECK(checked == 14);
}

TEST_CASE("a weight of zeros has scale 1 and codes of its zero point") {
  const std::vector<float> zeros(6, 0.0f);
  const auto q = quantize<qwq::int_format<dtype::i8, true>>(granularity::row, {zeros.data(), 2, 3}, 1);
  CHECK(q.params.scales == std::vector<float>{1, 1});
  CHECK(q.codes == std::vector<std::int8_t>(6, 0));
}

TEST_CASE("codes reach the end of the type when the range does not hold the value") {
  qwq::weight_params<qwq::int_format<dtype::i8, true>> p;
  p.scales = {1};
  p.zero_points = {0};
  const std::vector<float> w{-1000, -128, 127, 1000};
  std::vector<std::int8_t> codes(4);
  qwq::quantize_rows(qwq::matrix_view(codes.data(), 1, 4), {w.data(), 1, 4}, p);
  CHECK(codes == std::vector<std::int8_t>{-128, -128, 127, 127});
}

TEST_CASE("what is wrong with a weight is said in one line") {
  std::vector<float> w(8, 1.0f);
  const qwq::matrix_view<const float> view(w.data(), 2, 4);
  CHECK_THROWS_WITH_AS(qwq::weight_ranges("lm_head", granularity::row, 0, 4),
                       "lm_head: expected a matrix with elements, found [0, 4]", qwq::error);
  qwq::weight_ranges ranges("lm_head", granularity::row, 4, 4);
  CHECK_THROWS_WITH_AS(ranges.observe(3, view), "lm_head: expected rows of [4, 4], found [2, 4] from row 3",
                       qwq::error);
  CHECK_THROWS_AS(ranges.observe(-1, view), qwq::error);
  CHECK_THROWS_AS(ranges.observe(0, view.cols_from(0, 3)), qwq::error);
  ranges.observe(0, view);
  CHECK_THROWS_WITH_AS(ranges.result(), "lm_head: expected 4 observed rows, found 2", qwq::error);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    w[5] = bad;
    CHECK_THROWS_WITH_AS(ranges.observe(2, view), "lm_head: expected finite values, found NaN or infinity in row 3",
                         qwq::error);
  }
}
