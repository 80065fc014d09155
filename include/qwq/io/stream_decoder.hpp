// SPDX-License-Identifier: Apache-2.0
// Ids to text while they are being generated.
#pragma once

#include <cstdint>
#include <string>

#include "qwq/io/tokenizer.hpp"
#include "qwq/io/utf8.hpp"

namespace qwq {

/// Takes ids one at a time and gives out text as soon as its characters are complete. All that `push` and, at the end,
/// `finish` return is together what `tokenizer::decode` makes of the ids.
class stream_decoder {
 public:
  /// Refers to `source`, which must outlive it.
  explicit stream_decoder(const tokenizer& source, bool skip_special = false)
      : tokenizer_(&source), skip_special_(skip_special) {}

  /// The text that `id` completes: valid UTF-8, empty while a character still lacks bytes.
  std::string push(std::int32_t id) {
    std::string text;
    pending_ += tokenizer_->token_bytes(id, skip_special_);
    pending_.erase(0, pending_.size() - detail::append_repaired(text, pending_));
    return text;
  }

  /// U+FFFD if the ids ended inside a character, else nothing. The decoder is then as new.
  std::string finish() {
    std::string text;
    if (!pending_.empty()) detail::append_utf8(text, detail::replacement_character);
    pending_.clear();
    return text;
  }

 private:
  const tokenizer* tokenizer_;
  bool skip_special_;
  std::string pending_;  // at most three bytes between calls
};

}  // namespace qwq
