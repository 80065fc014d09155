// SPDX-License-Identifier: Apache-2.0
// Continues each text in a thread of its own: the first is printed as it comes, the others when all are done.
#include "runtime.hpp"

#include <cstdio>
#include <deque>
#include <string>
#include <thread>
#include <vector>

constexpr std::int64_t limit = 24;

void print(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

template <qwq::dtype Cache>
void continue_texts(const char* folder, std::span<char*> texts) {
  const loaded_model<Cache> loaded(folder);
  std::deque<conversation<Cache>> each;
  std::vector<std::vector<std::int32_t>> prompts;
  std::vector<std::string> replies(texts.size());
  for (const char* text : texts) {
    each.emplace_back(loaded);
    prompts.push_back(loaded.words.encode(text));
  }
  for (std::string& reply : replies) reply.reserve(limit * loaded.words.longest_token());

  print(texts[0]);
  {
    std::vector<std::jthread> others;
    for (std::size_t i = 1; i < texts.size(); ++i)
      others.emplace_back([&, i] { each[i].reply(prompts[i], limit, [&](auto text) { replies[i] += text; }); });
    each[0].reply(prompts[0], limit, print);
  }
  for (std::size_t i = 1; i < texts.size(); ++i) print('\n' + std::string(texts[i]) + replies[i]);
  print("\n");
}

int main(int argc, char** argv) try {
  const std::string cache = argc < 4 ? "" : argv[2];
  const std::span texts(argv + 3, argv + std::max(argc, 3));
  if (cache == "f16")
    continue_texts<qwq::dtype::f16>(argv[1], texts);
  else if (cache == "i8")
    continue_texts<qwq::dtype::i8>(argv[1], texts);
  else
    return std::fputs("usage: custom_runtime CHECKPOINT f16|i8 TEXT...\n", stderr), 2;
} catch (const qwq::error& problem) {
  return std::fprintf(stderr, "%s\n", problem.what()), 1;
}
