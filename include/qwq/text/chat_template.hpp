// SPDX-License-Identifier: Apache-2.0
// Qwen's chat format (ChatML): a conversation as the text that the model was trained on.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>

#include "qwq/core/error.hpp"
#include "qwq/core/quote.hpp"
#include "qwq/text/message.hpp"

namespace qwq {

/// The prompt for `messages`: `<|im_start|>role\ncontent<|im_end|>\n` for each, with the content as it is, and, if
/// `add_generation_prompt`, the start of the assistant's turn; `enable_thinking == false` puts an empty
/// `<think>\n\n</think>\n\n` there, which tells Qwen3 to answer at once. Encode the result with `tokenizer::encode`.
///
/// This is the format, not an interpreter of the checkpoint's chat_template, and content is never changed. What
/// published templates do beyond it is left to the caller: Qwen3's takes the thoughts out of assistant turns that come
/// before the last user's turn, and puts empty ones into a final assistant turn that has none; Qwen2.5's starts with a
/// system turn if there is none; those of models that always think go on with `<think>\n` after
/// `<|im_start|>assistant\n`.
/// There are no tools: throws `error` for a role other than system, user and assistant.
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
