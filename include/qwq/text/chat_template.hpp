// SPDX-License-Identifier: Apache-2.0
// Defines `apply_chat_template`, which writes a conversation in Qwen's chat format (ChatML).
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>

#include "qwq/core/error.hpp"
#include "qwq/core/quote.hpp"
#include "qwq/text/message.hpp"

namespace qwq {

/// The prompt for `messages`: `<|im_start|>role\ncontent<|im_end|>\n` for each, with unchanged content, and, if
/// `add_generation_prompt`, the start of the assistant's turn. `enable_thinking == false` adds an empty
/// `<think>\n\n</think>\n\n` to it, which tells Qwen3 to answer immediately. Encode the result with
/// `tokenizer::encode`.
///
/// This implements the format; it does not interpret the checkpoint's chat_template, and never changes content. The
/// caller must do what published templates do in addition: Qwen3's removes the thoughts from assistant turns before the
/// last user turn, and adds empty ones to a final assistant turn without thoughts; Qwen2.5's adds a system turn if
/// there is none; those of models that always think continue with `<think>\n` after `<|im_start|>assistant\n`.
/// Tools are not supported: throws `error` for a role other than system, user and assistant.
inline std::string apply_chat_template(std::span<const message> messages, bool add_generation_prompt,
                                       std::optional<bool> enable_thinking = std::nullopt) {
  std::string prompt;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const auto& [role, content] = messages[i];
    if (role != "system" && role != "user" && role != "assistant")
      throw error("messages[" + std::to_string(i) + "].role: expected \"system\", \"user\" or \"assistant\", found " +
                  detail::quote(role));
    prompt.append("<|im_start|>").append(role).append("\n").append(content).append("<|im_end|>\n");
  }
  if (add_generation_prompt) {
    prompt += "<|im_start|>assistant\n";
    if (enable_thinking == false) prompt += "<think>\n\n</think>\n\n";
  }
  return prompt;
}

}  // namespace qwq
