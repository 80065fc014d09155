// SPDX-License-Identifier: Apache-2.0
// Defines `added_tokens`, which splits added tokens (<|im_start|>, ...) from text before any other processing.
#pragma once

#include <algorithm>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace qwq::detail {

/// Finds added tokens in text: the leftmost first, and the longest of those that start at one position.
template <class Char>
class added_tokens {
 public:
  /// The text to search.
  using view = std::basic_string_view<Char>;
  /// A token: its text and id.
  struct entry {
    std::basic_string<Char> content;  // not empty
    std::int32_t id;
  };

  added_tokens() = default;
  explicit added_tokens(std::vector<entry> entries) : entries_(std::move(entries)) {
    std::ranges::sort(entries_, [](const entry& a, const entry& b) { return a.content.size() > b.content.size(); });
    for (const entry& e : entries_) starts_.set(low_byte(e.content.front()));
  }

  /// Calls `on_token(id)` for each token and `on_text(view)` for each stretch of text between them, in order.
  template <class OnToken, class OnText>
  void cut(view text, OnToken&& on_token, OnText&& on_text) const {
    std::size_t done = 0;
    for (std::size_t at = 0; at < text.size();) {
      const entry* found = find(text.substr(at));
      if (found == nullptr) {
        ++at;
        continue;
      }
      if (at > done) on_text(text.substr(done, at - done));
      on_token(found->id);
      done = at += found->content.size();
    }
    if (done < text.size()) on_text(text.substr(done));
  }

 private:
  static std::size_t low_byte(Char c) { return static_cast<std::size_t>(c) & 0xFF; }

  const entry* find(view text) const {
    if (!starts_[low_byte(text.front())]) return nullptr;
    const auto at = std::ranges::find_if(entries_, [&](const entry& e) { return text.starts_with(e.content); });
    return at == entries_.end() ? nullptr : &*at;
  }

  std::vector<entry> entries_;  // longest first
  std::bitset<256> starts_;     // low bytes of the first characters: this test skips nearly all positions
};

}  // namespace qwq::detail
