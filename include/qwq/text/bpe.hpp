// SPDX-License-Identifier: Apache-2.0
// Defines `bpe`, byte-pair encoding of one piece of text: merges in the order of their ranks.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace qwq::detail {

/// Starts from one token per byte and repeatedly merges the adjacent pair of the lowest rank, leftmost first, until no
/// pair can merge. A heap of candidates makes this O(n log n) for n bytes.
class bpe {
 public:
  /// Buffers that are reused between calls.
  class workspace {
    friend bpe;
    struct symbol {
      std::int32_t id;
      std::uint32_t before, after;  // neighbours by index
      std::uint32_t rank;           // rank of the merge with `after`; `no_merge` also marks merged symbols
      std::int32_t merged;          // token of that merge
    };
    std::vector<symbol> symbols;
    std::vector<std::uint64_t> heap;  // rank << 32 | index, the smallest on top; entries can be stale
  };

  /// The token of every single byte.
  std::array<std::int32_t, 256> bytes{};

  /// Adds a merge. Lower ranks merge first; if a pair is added twice, the later merge is used.
  void add_merge(std::int32_t left, std::int32_t right, std::uint32_t rank, std::int32_t merged) {
    merges_.insert_or_assign(key(left, right), merge{rank, merged});
  }

  /// Appends the tokens of `piece`, which has less than 2^32 bytes, to `ids`.
  void encode(std::string_view piece, std::vector<std::int32_t>& ids, workspace& work) const {
    auto& symbols = work.symbols;
    auto& heap = work.heap;
    const auto count = static_cast<std::uint32_t>(piece.size());
    symbols.clear();
    heap.clear();
    for (std::uint32_t i = 0; i < count; ++i)
      symbols.push_back({bytes[static_cast<unsigned char>(piece[i])], i - 1, i + 1, no_merge, 0});
    for (std::uint32_t i = 0; i < count; ++i) consider(work, i);

    while (!heap.empty()) {
      std::ranges::pop_heap(heap, std::greater{});
      const auto rank = static_cast<std::uint32_t>(heap.back() >> 32);
      const auto at = static_cast<std::uint32_t>(heap.back());
      heap.pop_back();
      auto& left = symbols[at];
      if (left.rank != rank) continue;  // stale: a neighbour has merged since
      auto& right = symbols[left.after];
      left.id = left.merged;
      left.after = right.after;
      right.rank = no_merge;
      if (left.after < count) symbols[left.after].before = at;
      consider(work, at);
      if (left.before < count) consider(work, left.before);
    }
    for (std::uint32_t i = 0; i < count; i = symbols[i].after) ids.push_back(symbols[i].id);
  }

 private:
  struct merge {
    std::uint32_t rank;
    std::int32_t merged;
  };
  static constexpr std::uint32_t no_merge = ~0U;

  static std::uint64_t key(std::int32_t left, std::int32_t right) {
    return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 | static_cast<std::uint32_t>(right);
  }

  /// Pushes the merge of symbol `i` with the next one, if there is one.
  void consider(workspace& work, std::uint32_t i) const {
    auto& symbol = work.symbols[i];
    symbol.rank = no_merge;
    if (symbol.after >= work.symbols.size()) return;
    const auto found = merges_.find(key(symbol.id, work.symbols[symbol.after].id));
    if (found == merges_.end()) return;
    symbol.rank = found->second.rank;
    symbol.merged = found->second.merged;
    work.heap.push_back(static_cast<std::uint64_t>(symbol.rank) << 32 | i);
    std::ranges::push_heap(work.heap, std::greater{});
  }

  std::unordered_map<std::uint64_t, merge> merges_;
};

}  // namespace qwq::detail
