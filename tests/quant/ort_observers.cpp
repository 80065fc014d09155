// SPDX-License-Identifier: Apache-2.0
// onnxruntime's calibrators against the ranges that it found, bit for bit.
#include "ort_observers.hpp"

#include <doctest/doctest.h>
#include <nlohmann/json.hpp>

#include <fstream>
#include <limits>
#include <string>
#include <vector>

#include "golden.hpp"
#include "qwq/quant/entropy.hpp"
#include "qwq/quant/minmax.hpp"
#include "qwq/quant/percentile.hpp"

namespace {

using tensors = std::vector<std::vector<float>>;

nlohmann::json read_json(const std::string& file) {
  std::ifstream in(golden::path(file));
  return nlohmann::json::parse(in);
}

/// All samples at once, or each in a call of its own.
template <class Calibrator>
qwq::range calibrate(Calibrator c, const tensors& samples, bool one_call) {
  const std::vector<std::span<const float>> spans(samples.begin(), samples.end());
  if (one_call) {
    c.collect(spans);
  } else {
    for (const auto& span : spans) c.collect({&span, 1});
  }
  return c.result();
}

qwq::range calibrate_as(const std::string& method, const tensors& samples, bool one_call) {
  if (method == "minmax") return calibrate(qwq::ort_minmax(), samples, one_call);
  if (method == "minmax_sym") return calibrate(qwq::ort_minmax(true), samples, one_call);
  if (method == "minmax_moving_avg_0.01") return calibrate(qwq::ort_minmax(false, true), samples, one_call);
  if (method == "entropy_default_128_128") return calibrate(qwq::ort_entropy(), samples, one_call);
  if (method == "entropy_512_128") return calibrate(qwq::ort_entropy(512, 128), samples, one_call);
  if (method == "percentile_default_99.999_sym_2048") return calibrate(qwq::ort_percentile(), samples, one_call);
  if (method == "percentile_99.9_sym_2048") return calibrate(qwq::ort_percentile(99.9), samples, one_call);
  if (method == "percentile_99_asym_2048") return calibrate(qwq::ort_percentile(99, false), samples, one_call);
  if (method == "percentile_99.99_asym_512")
    return calibrate(qwq::ort_percentile(99.99, false, 512), samples, one_call);
  FAIL("no calibrator for ", method);
  return {};
}

void check(qwq::range found, const nlohmann::json& expected) {
  CHECK(golden::bits(found.low) == golden::bits(golden::from_hex(expected[0])));
  CHECK(golden::bits(found.high) == golden::bits(golden::from_hex(expected[1])));
}

}  // namespace

TEST_CASE("every method on every tensor, in one collect call and in five") {
  const qwq::safetensors_file file(golden::path("observers.safetensors"));
  const auto expected = read_json("observers.json");
  int checked = 0;
  for (const auto& [key, ranges] : expected["ranges"].items()) {
    const auto slash = key.find('/');
    const auto method = key.substr(0, slash), chunks = key.substr(slash + 1);
    REQUIRE((chunks == "chunks1" || chunks == "chunks5"));
    for (const auto& [tensor, range] : ranges.items()) {
      CAPTURE(key);
      CAPTURE(tensor);
      tensors samples;
      for (int i = 0; i < 5; ++i) samples.push_back(golden::read<float>(file, "x." + tensor + "." + std::to_string(i)));
      check(calibrate_as(method, samples, chunks == "chunks1"), range);
      ++checked;
    }
  }
  CHECK(checked == 18 * 6);
}

TEST_CASE("the activations of a model, and their uint16 parameters") {
  const qwq::safetensors_file file(golden::path("matmul_ctx/activations_layer0.safetensors"));
  const auto expected = read_json("matmul_ctx/activations.json");
  int checked = 0, with_params = 0;
  for (const auto& [method, calibrator] :
       {std::pair{"minmax", "minmax"}, std::pair{"percentile", "percentile_default_99.999_sym_2048"},
        std::pair{"entropy", "entropy_default_128_128"}})
    for (const auto& tensor : file.tensors()) {
      const std::string first = "sample.0.";
      if (!tensor.name.starts_with(first)) continue;
      const auto name = tensor.name.substr(first.size());
      CAPTURE(method);
      CAPTURE(name);
      tensors samples;
      for (int i = 0; i < 6; ++i)
        samples.push_back(golden::read<float>(file, "sample." + std::to_string(i) + "." + name));
      const auto found = calibrate_as(calibrator, samples, true);
      check(found, expected["calibration_ranges"][method].at(name));
      ++checked;

      const auto& params = expected["activation_qparams_uint16_asym"][method];
      const auto p = params.find(name + "_scale");
      if (p == params.end()) continue;
      REQUIRE((*p)[2] == "uint16");
      const auto q = qwq::compute_qparams<qwq::int_format<qwq::dtype::u16, false>>(found);
      CHECK(golden::bits(q.scale) == golden::bits(golden::from_hex((*p)[0])));
      CHECK(q.zero_point == (*p)[1].get<int>());
      ++with_params;
    }
  CHECK(checked == 3 * 28);
  CHECK(with_params > 60);
}

TEST_CASE("the streaming observers that have the same rule give the same bits") {
  const qwq::safetensors_file file(golden::path("observers.safetensors"));
  const auto expected = read_json("observers.json");
  for (const std::string tensor : {"gauss", "outliers", "silu_like", "positive", "constant", "growing"}) {
    CAPTURE(tensor);
    qwq::minmax all;
    qwq::moving_average<> average;
    for (int i = 0; i < 5; ++i) {
      const auto x = golden::read<float>(file, "x." + tensor + "." + std::to_string(i));
      for (const std::span<const float> part : {std::span(x).first(7), std::span(x).subspan(7)}) {
        all.observe(part);
        average.observe(part);
      }
      all.end_batch();
      average.end_batch();
    }
    check(all.result(), expected["ranges"]["minmax/chunks1"][tensor]);
    check(average.result(), expected["ranges"]["minmax_moving_avg_0.01/chunks5"][tensor]);
  }
}

TEST_CASE("samples of different lengths are collected too") {
  const tensors samples{{1, 2, 3}, {-4, 5}, {0.5f}};
  CHECK(calibrate(qwq::ort_percentile(100, false), samples, true) == qwq::range{-4, 5});
  CHECK(calibrate(qwq::ort_entropy(), samples, true) == qwq::range{-4, 5});
}

TEST_CASE("zeros, and data that outgrows zeros") {
  const tensors zeros{{0, 0}, {0}};
  CHECK(calibrate(qwq::ort_percentile(), zeros, false) == qwq::range{0, 0});
  CHECK(calibrate(qwq::ort_entropy(), zeros, false) == qwq::range{0, 0});
  const tensors grown{{0, 0, 0, 0}, {-1, 2}};
  CHECK(calibrate(qwq::ort_percentile(100, false), grown, false) == qwq::range{-1, 2});
}

TEST_CASE("what cannot be calibrated is said in one line") {
  CHECK_THROWS_WITH_AS(qwq::ort_minmax().result(), "onnxruntime calibration: expected data, found none", qwq::error);
  CHECK_THROWS_AS(qwq::ort_percentile().result(), qwq::error);
  CHECK_THROWS_AS(qwq::ort_percentile(99, false).result(), qwq::error);
  CHECK_THROWS_AS(qwq::ort_entropy().result(), qwq::error);
  CHECK_THROWS_AS(calibrate(qwq::ort_entropy(), {{}}, true), qwq::error);
  CHECK_THROWS_WITH_AS(calibrate(qwq::ort_percentile(), {{1, std::numeric_limits<float>::quiet_NaN()}}, true),
                       "onnxruntime calibration: expected finite values, found NaN or infinity", qwq::error);
  CHECK_THROWS_AS(qwq::ort_percentile(101), qwq::error);
  CHECK_THROWS_AS(qwq::ort_entropy(64, 128), qwq::error);
}
