// SPDX-License-Identifier: Apache-2.0
// Fuzz entry: any bytes as tokenizer.json, as text for a real tokenizer and as ids.
#include <qwq/text/tokenizer.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <qwq/text/stream_decoder.hpp>

#include "check.hpp"

namespace {

void parse(std::string_view file) {
  fuzz::parse([&] {
    const auto tokenizer = qwq::tokenizer::parse(file, "fuzz");
    for (const auto id : tokenizer.encode("It's 12 <|im_end|>  \u00E9\n"))
      fuzz::expect(!tokenizer.token_bytes(id).empty());
  });
}

void round_trip(const qwq::tokenizer& tokenizer, std::string_view text) {
  // Encoding repairs and normalizes, once.
  const std::string normal = tokenizer.decode(tokenizer.encode(text));
  const auto ids = tokenizer.encode(normal);
  fuzz::expect(tokenizer.decode(ids) == normal);

  qwq::stream_decoder decoder(tokenizer);
  std::string streamed;
  for (const auto id : ids) streamed += decoder.push(id);
  fuzz::expect(streamed.append(decoder.finish()) == normal);
}

void decode(const qwq::tokenizer& tokenizer, std::string_view bytes) {
  std::vector<std::int32_t> ids;
  qwq::stream_decoder decoder(tokenizer, true);
  std::string streamed;
  for (std::size_t i = 0; i + 1 < bytes.size(); i += 2) {
    const int id = (static_cast<unsigned char>(bytes[i]) << 8 | static_cast<unsigned char>(bytes[i + 1])) % 1300 - 20;
    ids.push_back(id);
    streamed += decoder.push(id);
  }
  fuzz::expect(streamed.append(decoder.finish()) == tokenizer.decode(ids, true));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const auto tokenizer = qwq::tokenizer::open(QWQ_TEST_DATA "/tinyqwen");
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  parse(bytes);
  round_trip(tokenizer, bytes);
  decode(tokenizer, bytes);
  return 0;
}
