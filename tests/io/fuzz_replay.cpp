// SPDX-License-Identifier: Apache-2.0
// The fuzz corpora again, each file as it is and with reproducible damage.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "scratch.hpp"

#define LLVMFuzzerTestOneInput fuzz_safetensors
#include "../fuzz/safetensors.cpp"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_config
#include "../fuzz/config.cpp"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_jsonl
#include "../fuzz/jsonl.cpp"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_state_file
#include "../fuzz/state_file.cpp"
#undef LLVMFuzzerTestOneInput

namespace {

/// `bytes` with 1 to 4 small changes: bits, bytes that mean something in the formats, cuts, copies and other numbers.
std::string damaged(std::string bytes, std::mt19937& random) {
  const auto below = [&](std::size_t n) { return n == 0 ? std::size_t{0} : random() % n; };
  for (std::size_t changes = 1 + below(4); changes > 0; --changes) {
    const std::size_t at = below(bytes.size());
    const std::size_t length = below(std::min<std::size_t>(bytes.size() - at, 32));
    constexpr std::string_view telling("{}[]\":,\n\\-0129.eE\0\xff", 19);
    switch (below(6)) {
      case 0:
        if (!bytes.empty()) bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8)));
        break;
      case 1:
        if (!bytes.empty()) bytes[at] = telling[below(telling.size())];
        break;
      case 2:
        bytes.insert(at, 1, telling[below(telling.size())]);
        break;
      case 3:
        bytes.erase(at, length);
        break;
      case 4:
        bytes.insert(at, bytes.substr(at, length));
        break;
      case 5:
        bytes.insert(at, std::to_string(std::uint64_t{1} << below(64)));
        break;
    }
  }
  return bytes;
}

/// The header length of a safetensors file put right again, so that damage reaches what is behind it.
std::string with_length(std::string bytes, std::size_t data) {
  if (bytes.size() < 8 + data) return bytes;
  const std::uint64_t length = bytes.size() - 8 - data;
  std::copy_n(reinterpret_cast<const char*>(&length), 8, bytes.begin());
  return bytes;
}

/// The checksum of the header of a file of states put right again.
std::string with_sum(std::string bytes) {
  constexpr std::size_t begin = 16;
  std::uint32_t size = 0;
  if (bytes.size() < begin) return bytes;
  std::copy_n(bytes.data() + 12, 4, reinterpret_cast<char*>(&size));
  if (bytes.size() < begin + size + 8) return bytes;
  const std::uint64_t sum = qwq::detail::fnv1a(std::as_bytes(std::span(bytes).subspan(begin, size)));
  std::copy_n(reinterpret_cast<const char*>(&sum), 8, bytes.data() + begin + size);
  return bytes;
}

std::vector<std::string> corpus(const std::string& name) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(QWQ_TEST_DATA "/../fuzz/corpus/" + name))
    paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  std::vector<std::string> files;
  for (const auto& path : paths) files.push_back(slurp(path));
  return files;
}

}  // namespace

TEST_CASE("no parser crashes, hangs or accepts nonsense on its corpus and damaged copies of it") {
  struct {
    const char* name;
    int (*entry)(const std::uint8_t*, std::size_t);
  } const parsers[] = {{"safetensors", fuzz_safetensors},
                       {"config", fuzz_config},
                       {"jsonl", fuzz_jsonl},
                       {"state_file", fuzz_state_file}};
  for (const auto& parser : parsers) {
    CAPTURE(parser.name);
    const auto files = corpus(parser.name);
    CHECK(files.size() >= 8);
    std::mt19937 random(20240607);
    const auto run = [&](const std::string& bytes) {
      // A copy of the exact size, so that the address sanitizer sees a read past the end.
      const std::vector<std::uint8_t> input(bytes.begin(), bytes.end());
      parser.entry(input.data(), input.size());
    };
    for (const auto& file : files) {
      CHECK_NOTHROW(run(file));
      for (int i = 0; i < 500; ++i) {
        const std::string bytes = damaged(file, random);
        CHECK_NOTHROW(run(bytes));
        CHECK_NOTHROW(run(with_length(bytes, random() % 17)));
        CHECK_NOTHROW(run(with_sum(bytes)));
      }
    }
  }
}
