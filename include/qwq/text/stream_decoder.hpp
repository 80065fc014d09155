// SPDX-License-Identifier: Apache-2.0
// Defines `stream_decoder`, which converts ids to text during generation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "qwq/core/utf8.hpp"
#include "qwq/text/tokenizer.hpp"

namespace qwq {

/// Takes ids one at a time and returns text as soon as its characters are complete. The concatenated results of `push`
/// and a final `finish` equal `tokenizer::decode` of the ids. Only the constructor allocates memory.
class stream_decoder {
 public:
  /// Refers to `source`, which must outlive the decoder. `skip_special`: special tokens yield no text.
  explicit stream_decoder(const tokenizer& source, bool skip_special = false)
      : tokenizer_(&source), skip_special_(skip_special) {
    constexpr std::size_t cut_off = 3, replacement = 3;  // bytes
    pending_.reserve(cut_off + source.longest_token());
    text_.reserve(pending_.capacity() * replacement);
  }

  /// The text that `id` completes: valid UTF-8, empty while a character is incomplete. Valid until the next call.
  std::string_view push(std::int32_t id) {
    text_.clear();
    pending_ += tokenizer_->token_bytes(id, skip_special_);
    pending_.erase(0, pending_.size() - detail::append_repaired(text_, pending_));
    return text_;
  }

  /// U+FFFD if the ids end inside a character, else nothing. Resets the decoder.
  std::string_view finish() {
    text_.clear();
    if (!pending_.empty()) detail::append_utf8(text_, detail::replacement_character);
    pending_.clear();
    return text_;
  }

 private:
  const tokenizer* tokenizer_;
  bool skip_special_;
  std::string pending_;  // at most three bytes between calls
  std::string text_;
};

}  // namespace qwq
