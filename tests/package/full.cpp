// SPDX-License-Identifier: Apache-2.0
// What an exporter links against is there: ICU, JSON, the ONNX checker, a command line.
#include <qwq/core/version.hpp>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <onnx/checker.h>
#include <unicode/normalizer2.h>

#include <cstdio>

int main(int argc, char** argv) {
  CLI::App app;
  CLI11_PARSE(app, argc, argv);
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* nfc = icu::Normalizer2::getNFCInstance(status);
  bool refused = false;
  try {
    onnx::checker::check_model(onnx::ModelProto{});
  } catch (const std::exception&) {
    refused = true;
  }
  if (nfc == nullptr || !refused || nlohmann::json::parse("[1]").size() != 1) return 1;
  std::printf("%d.%d.%d", qwq::version.major, qwq::version.minor, qwq::version.patch);
}
