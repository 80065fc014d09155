// SPDX-License-Identifier: Apache-2.0
// Fuzzes tokenizer.json, and encoding and decoding with a real tokenizer. The corpus is corpus/tokenizer.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <qwq/io/stream_decoder.hpp>
#include <qwq/io/tokenizer.hpp>

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

void parse(std::string_view file) {
  try {
    const auto tokenizer = qwq::tokenizer::parse(file, "fuzz");
    tokenizer.decode(tokenizer.encode("It's 12 <|im_end|>  \u00E9\n"));
  } catch (const qwq::error& e) {
    require(std::string_view(e.what()).find('\n') == std::string_view::npos);
  }
}

void round_trip(const qwq::tokenizer& tokenizer, std::string_view text) {
  // Encoding repairs and normalises, once.
  const std::string normal = tokenizer.decode(tokenizer.encode(text));
  const auto ids = tokenizer.encode(normal);
  require(tokenizer.decode(ids) == normal);

  qwq::stream_decoder decoder(tokenizer);
  std::string streamed;
  for (const auto id : ids) streamed += decoder.push(id);
  require(streamed + decoder.finish() == normal);
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
  require(streamed + decoder.finish() == tokenizer.decode(ids, true));
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
