// SPDX-License-Identifier: Apache-2.0
// The report: its table, character by character, its JSON, and the peak memory of this process.
#include <qwq/report/json_report.hpp>
#include <qwq/report/report.hpp>

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

namespace {

constexpr double inf = std::numeric_limits<double>::infinity();

qwq::fidelity_report example() {
  qwq::fidelity_report r;
  r.model = "Qwen3-0.6B";
  r.scheme = "w8a16";
  r.weights = "per channel";
  r.observer = "percentile<9999>";
  r.target = "onnx_winml";
  r.fidelity = {.kl = 0.00026,
                .kl_max = 0.0123,
                .top1 = 0.99217,
                .top5 = 0.981,
                .cosine = 0.9999987,
                .sqnr_db = 52.3141,
                .peir = 0.00417,
                .mean_abs_diff = 0.0123456,
                .perplexity_float = 12.61,
                .perplexity_quantized = 12.6134,
                .tokens = 4096};
  r.decode = r.fidelity;
  r.decode.sqnr_db = inf;
  r.decode.perplexity_float = r.decode.perplexity_quantized = qwq::detail::not_measured;
  r.layers = {{"model.layers.0", 0.001, 1.5e-5, 0.9999999, 61.2}, {"model.layers.1", 0.02, 0.25, 0.98, 21.04}};
  r.coverage = {409, 412};
  r.rules = {{"fuse_rms_norm", 57}, {"fuse_rope", 28}, {"fold_transpose", 0}};
  r.files = {{"model.onnx", 1258291}, {"model.onnx.data", 650117120}};
  const std::vector<int> a{1, 2, 3}, b{1, 2, 4};
  r.divergence.add(a, a);
  r.divergence.add(a, b);
  r.seconds = 75.4;
  r.peak_rss_bytes = 851443712;
  return r;
}

std::string printed(const qwq::fidelity_report& report) {
  std::ostringstream out;
  out << report;
  return out.str();
}

}  // namespace

TEST_CASE("the table") {
  CHECK(printed(example()) == R"(model       Qwen3-0.6B
scheme      w8a16
weights     per channel
observer    percentile<9999>
target      onnx_winml

fidelity to the float model        prefill        decode
  KL, mean (nats)                  0.00026       0.00026
  KL, worst token                   0.0123        0.0123
  top-1 agreement                  99.22 %       99.22 %
  top-5 overlap                    98.10 %       98.10 %
  perplexity, float                12.6100             -
  perplexity, quantized            12.6134             -
  logits: cosine                  0.999999      0.999999
  logits: SQNR                    52.31 dB         exact
  logits: PEIR                      0.42 %        0.42 %
  logits: mean |diff|              0.01235       0.01235
  tokens                             4,096         4,096

layers, worst PEIR first (2 of 2)                        PEIR  mean |diff|       cosine         SQNR
  model.layers.1                                       2.00 %         0.25     0.980000     21.04 dB
  model.layers.0                                       0.10 %      1.5e-05     1.000000     61.20 dB

greedy      1 of 2 continuations equal, 2.5 tokens before the first difference
coverage    409 of 412 quantized, 3 missing
rules       fold_transpose 0, fuse_rms_norm 57, fuse_rope 28
files       model.onnx 1.2 MiB, model.onnx.data 620.0 MiB
time        1:15
peak memory 812.0 MiB
)");
}

TEST_CASE("an empty report prints what it knows") { CHECK(printed({}) == "\ntime        0.0 s\n"); }

TEST_CASE("the table is at most 100 columns wide and shows the eight worst layers") {
  auto r = example();
  r.model = std::string(300, 'm');
  r.layers.clear();
  for (int i = 0; i < 94; ++i)
    r.layers.push_back({"model." + std::string(80, 'x') + std::to_string(i), i * 1e7, 1e-300, -1, -300});
  r.layers[3].peir = qwq::detail::not_measured;
  for (int i = 0; i < 40; ++i) r.rules["rule_number_" + std::to_string(i)] = 1000000;
  r.rules[std::string(200, 'r')] = 1;
  r.files.assign(30, {std::string(95, 'f'), 5});
  r.fidelity.kl = r.fidelity.peir = inf;
  std::istringstream lines(printed(r));
  std::size_t layers = 0;
  for (std::string line; std::getline(lines, line);) {
    CAPTURE(line);
    CHECK(line.size() <= 100);
    if (line.starts_with("  model.")) {
      CHECK(line.find(layers == 0 ? "x3 " : "x" + std::to_string(94 - layers) + " ") != std::string::npos);
      ++layers;
    }
  }
  CHECK(layers == 8);
}

TEST_CASE("the JSON") {
  const std::string text = qwq::to_json(example()).dump(2);
  const auto j = nlohmann::json::parse(text);
  CHECK(j.at("model") == "Qwen3-0.6B");
  CHECK(j.at("scheme") == "w8a16");
  CHECK(j.at("weights") == "per channel");
  CHECK(j.at("observer") == "percentile<9999>");
  CHECK(j.at("target") == "onnx_winml");
  const auto& f = j.at("fidelity");
  CHECK(f.at("kl") == 0.00026);
  CHECK(f.at("kl_max") == 0.0123);
  CHECK(f.at("top1") == 0.99217);
  CHECK(f.at("top5") == 0.981);
  CHECK(f.at("cosine") == 0.9999987);
  CHECK(f.at("sqnr_db") == 52.3141);
  CHECK(f.at("peir") == 0.00417);
  CHECK(f.at("mean_abs_diff") == 0.0123456);
  CHECK(f.at("perplexity_float") == 12.61);
  CHECK(f.at("perplexity_quantized") == 12.6134);
  CHECK(f.at("tokens") == 4096);
  CHECK(j.at("decode").at("kl") == 0.00026);
  CHECK(j.at("layers").size() == 2);
  CHECK(j.at("layers")[1] ==
        nlohmann::json{
            {"name", "model.layers.1"}, {"peir", 0.02}, {"mean_abs_diff", 0.25}, {"cosine", 0.98}, {"sqnr_db", 21.04}});
  CHECK(j.at("coverage") == nlohmann::json{{"covered", 409}, {"total", 412}});
  CHECK(j.at("rules") == nlohmann::json{{"fuse_rms_norm", 57}, {"fuse_rope", 28}, {"fold_transpose", 0}});
  CHECK(j.at("files")[1] == nlohmann::json{{"name", "model.onnx.data"}, {"bytes", 650117120}});
  CHECK(j.at("divergence") == nlohmann::json{{"prompts", 2}, {"equal", 1}, {"mean_tokens", 2.5}});
  CHECK(j.at("seconds") == 75.4);
  CHECK(j.at("peak_rss_bytes") == 851443712);
  CHECK(text.starts_with("{\n  \"model\""));
}

TEST_CASE("the JSON is valid for what JSON cannot say: NaN is null, an infinity the largest double") {
  auto r = example();
  r.fidelity.kl = inf;
  r.fidelity.sqnr_db = -inf;
  r.files = {{"caf\xe9.onnx", 1}};
  const auto j = nlohmann::json::parse(qwq::to_json(r).dump());
  CHECK(j.at("decode").at("perplexity_float").is_null());
  CHECK(j.at("decode").at("sqnr_db") == std::numeric_limits<double>::max());
  CHECK(j.at("fidelity").at("kl") == std::numeric_limits<double>::max());
  CHECK(j.at("fidelity").at("sqnr_db") == -std::numeric_limits<double>::max());
  CHECK(j.at("files")[0].at("name") == "caf\xef\xbf\xbd.onnx");

  const auto empty = nlohmann::json::parse(qwq::to_json({}).dump());
  CHECK(empty.at("fidelity").at("kl").is_null());
  CHECK(empty.at("rules").is_object());
  CHECK(empty.at("files").is_array());
  CHECK(empty.at("layers").is_array());
  CHECK(empty.at("divergence").at("mean_tokens").is_null());
}

TEST_CASE("summaries carry over what was measured") {
  qwq::distribution_error tokens;
  qwq::tensor_error logits;
  const std::vector<float> a{0, 1, 4}, b{0, 1.5, 3};
  tokens.add(a, b, 2);
  logits.add(a, b);
  const auto f = qwq::summarize(tokens, logits);
  CHECK(f.kl == tokens.kl());
  CHECK(f.kl_max == tokens.kl_max());
  CHECK(f.top1 == 1);
  CHECK(f.top5 == 1);
  CHECK(f.cosine == logits.cosine());
  CHECK(f.sqnr_db == logits.sqnr_db());
  CHECK(f.peir == 0.25);
  CHECK(f.mean_abs_diff == 0.5);
  CHECK(f.perplexity_float == tokens.perplexity_float());
  CHECK(f.perplexity_quantized == tokens.perplexity_quantized());
  CHECK(f.tokens == 1);
  const auto l = qwq::summarize("layer", logits);
  CHECK(l.name == "layer");
  CHECK(l.peir == 0.25);
  CHECK(l.mean_abs_diff == 0.5);
  CHECK(l.cosine == logits.cosine());
  CHECK(l.sqnr_db == logits.sqnr_db());
}

TEST_CASE("peak memory grows with what is touched, and stays") {
  constexpr std::size_t size = std::size_t{64} << 20;
  const auto before = qwq::peak_rss_bytes();
  CHECK(before > (1u << 20));
  {
    std::vector<char> touched(size, 1);
    CHECK(touched[size / 2] == 1);
  }
  CHECK(qwq::peak_rss_bytes() >= size);
  CHECK(qwq::peak_rss_bytes() >= before);
  CHECK(qwq::peak_rss_bytes() < before + 2 * size);
}

TEST_CASE("numbers for people") {
  using namespace qwq::detail;
  CHECK(grouped(0) == "0");
  CHECK(grouped(999) == "999");
  CHECK(grouped(1000) == "1,000");
  CHECK(grouped(1234567) == "1,234,567");
  CHECK(byte_text(1023) == "1023 B");
  CHECK(byte_text(1024) == "1.0 KiB");
  CHECK(byte_text((1u << 20) - 1) == "1.0 MiB");
  CHECK(byte_text(std::uint64_t{3} << 50) == "3072.0 TiB");
  CHECK(time_text(0) == "0.0 s");
  CHECK(time_text(9.94) == "9.9 s");
  CHECK(time_text(9.95) == "0:10");
  CHECK(time_text(59.6) == "1:00");
  CHECK(time_text(3599.7) == "1:00:00");
  CHECK(time_text(36000 + 61) == "10:01:01");
  CHECK(percent(0.12345) == "12.35 %");
  CHECK(percent(inf) == "inf");
  CHECK(percent(not_measured) == "-");
  CHECK(fixed(1234567.891, 2) == "1234567.89");
  CHECK(fixed(-12345678, 2) == "-1.235e+07");
  CHECK(fixed(std::numeric_limits<double>::max(), 6) == "1.798e+308");
  CHECK(fixed(-inf, 1) == "-inf");
  CHECK(significant(0.000123456) == "0.0001235");
  CHECK(shortened("abcdefghij", 10) == "abcdefghij");
  CHECK(shortened("abcdefghijk", 10) == "abcd...ijk");
}
