// SPDX-License-Identifier: Apache-2.0
// Fuzz entry: any bytes as a JSONL file of calibration rows.
#include <qwq/text/sample.hpp>

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "check.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::parse([&] {
    const auto rows = qwq::parse_jsonl({reinterpret_cast<const char*>(data), size}, "fuzz");
    fuzz::expect(!rows.empty());
    for (const auto& row : rows) {
      using kind = qwq::sample::kind;
      fuzz::expect((row.type == kind::qa) == (!row.question.empty() && !row.answer.empty()));
      fuzz::expect((row.type == kind::text) == !row.text.empty());
      fuzz::expect((row.type == kind::messages) == !row.messages.empty());
      fuzz::expect((row.type == kind::ids) == !row.ids.empty());
      for (const auto id : row.ids) fuzz::expect(id >= 0);
      fuzz::expect(!row.answer_start || *row.answer_start < row.ids.size());
    }
  });
  return 0;
}
