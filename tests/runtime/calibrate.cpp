// SPDX-License-Identifier: Apache-2.0
// Calibration, and what becomes of a decode graph that was not calibrated on decoding.
#include "qwq/runtime/calibrate.hpp"

#include <doctest/doctest.h>

#include "qwq/report/metrics.hpp"
#include "qwq/targets/onnx_winml.hpp"
#include "support.hpp"

using namespace qwq;
using namespace qwq::test;

namespace {

using scheme = w8a16;
using bank = detail::observer_bank<tinyqwen, onnx_winml, scheme>;

const checkpoint& weights() {
  static const checkpoint c = checkpoint::open(data / "tinyqwen-outlier");
  return c;
}

calibration_result tune(std::span<const token_sequence> rows) {
  calibration_options o;
  o.eos = eos;
  return calibrate<tinyqwen, onnx_winml, scheme>(weights(), rows, o, [](std::size_t) {});
}

against_float follow(const calibration_result& tuned) {
  const bound_model<tinyqwen> float_weights(weights(), {.positions = 192});
  const bound_model<tinyqwen, onnx_winml, scheme> bound(weights(), {.positions = 192, .weights = granularity::row});
  session<tinyqwen> reference(float_weights);
  session<tinyqwen, onnx_winml, scheme> s(bound, &tuned);
  return follow(reference, s, prompts("tinyqwen-outlier"));
}

}  // namespace

TEST_CASE("every activation slot of both graphs gets parameters, and they depend on the texts alone") {
  const auto rows = texts("calib.jsonl", 6);
  const calibration_result a = tune(rows), b = tune(rows);
  const auto check = [&](const activation_params& x, const activation_params& y, const auto& slots) {
    REQUIRE(x.size() == 9);
    for (std::size_t l = 1; l <= 6; ++l) {  // after the embedding
      REQUIRE(x[l].size() == slots.size());
      for (std::size_t s = 0; s < slots.size(); ++s) {
        if (slots[s].kind != slot_kind::activation) continue;
        CHECK(x[l][s].scale > 0);
        CHECK(x[l][s].scale == y[l][s].scale);
        CHECK(x[l][s].zero_point == y[l][s].zero_point);
        CHECK(x[l][s].range.max == 65535);
      }
    }
  };
  check(a.prefill, b.prefill, program<tinyqwen, onnx_winml, scheme, prefill_rows>::first<stage::layers>::slots);
  check(a.decode, b.decode, program<tinyqwen, onnx_winml, scheme, 1>::first<stage::layers>::slots);
}

TEST_CASE("banks that saw different texts merge into the one that saw all") {
  const auto rows = texts("calib.jsonl", 4);
  typename bound_model<tinyqwen, onnx_winml, scheme>::options o;
  o.positions = 256;
  o.quantized = false;
  const bound_model<tinyqwen, onnx_winml, scheme> bound(weights(), o);
  session<tinyqwen, onnx_winml, scheme> s(bound);
  const any_observer prototype = any_observer::parse("percentile:99.9");
  bank all(prototype), first(prototype), second(prototype);
  const auto read = [&](bank& b, std::size_t row) {
    s.set_hook(&b);
    s.truncate(0);
    s.prefill(rows[row].ids);
    s.truncate(static_cast<std::int64_t>(rows[row].prompt));
    s.decode(rows[row].ids[rows[row].prompt]);
  };
  for (std::size_t i = 0; i < 4; ++i) {
    read(all, i);
    read(i < 2 ? first : second, i);
  }
  first.merge(second);
  const calibration_result x = all.result(), y = first.result();
  for (std::size_t p = 0; p < x.decode.size(); ++p)
    for (std::size_t k = 0; k < x.decode[p].size(); ++k) {
      CHECK(x.prefill[p][k].scale == y.prefill[p][k].scale);
      CHECK(x.decode[p][k].scale == y.decode[p][k].scale);
    }
}

TEST_CASE("no texts, no calibration") {
  CHECK_THROWS_WITH_AS(tune({}), "calibration: expected at least one text, found none", error);
}

TEST_CASE(
    "calibrated on its own trajectory, decoding follows the float model; on one token and an empty cache, it is lost") {
  const auto rows = texts("calib.jsonl", 32);
  const calibration_result tuned = tune(rows);
  const against_float own = follow(tuned);
  CHECK(own.continued == 12);
  CHECK(own.kl < 2e-4);

  // The known mistake: the decode graph is shown one token, again and again, and a cache of zeros.
  typename bound_model<tinyqwen, onnx_winml, scheme>::options o;
  o.positions = 64;
  o.quantized = false;
  const bound_model<tinyqwen, onnx_winml, scheme> float_weights(weights(), o);
  session<tinyqwen, onnx_winml, scheme> s(float_weights);
  bank misled{any_observer{}};
  s.set_hook(&misled);
  s.prefill(rows[0].ids);  // the prefill graph needs something; its parameters are not used
  for (int i = 0; i < 16; ++i) {
    s.truncate(0);
    s.decode(220);  // " "
  }
  const against_float lost = follow({tuned.prefill, misled.result().decode});
  MESSAGE("KL from the float model: " << own.kl << " on the trajectory, " << lost.kl
                                      << " on one token; prompts continued: " << own.continued << " and "
                                      << lost.continued << " of 12");
  CHECK(lost.continued < 10);
  CHECK(lost.kl > 1000 * own.kl);
}
