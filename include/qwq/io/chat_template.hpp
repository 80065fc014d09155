// SPDX-License-Identifier: Apache-2.0
// Qwen's chat format (ChatML): a conversation as the text that the model was trained on.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>

#include <qwq/core/error.hpp>
#include <qwq/io/json.hpp>
#include <qwq/io/message.hpp>

namespace qwq {

/// The prompt for `messages`: `<|im_start|>role\ncontent<|im_end|>\n` for each, with the content as it is, and, if
/// `add_generation_prompt`, the start of the assistant's turn; `enable_thinking == false` puts an empty
/// `<think>\n\n</think>\n\n` there, which tells Qwen3 to answer at once. Encode the result with `tokenizer::encode`.
///
/// This is the format, not an interpreter of the checkpoint's chat_template. Templates of published models agree with
/// it on prompts that end with a user's turn, with three exceptions: Qwen3 removes the thoughts (`<think>...</think>`)
/// from earlier assistant turns, so pass those turns without them; Qwen2.5 puts in a system turn of its own if there is none, so
/// pass one; models that always think start the assistant's turn with `<think>\n`, so append it.
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
