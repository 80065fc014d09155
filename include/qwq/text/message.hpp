// SPDX-License-Identifier: Apache-2.0
// Defines `message`, one turn of a conversation.
#pragma once

#include <string>

namespace qwq {

/// One turn of a chat; `role` is "system", "user" or "assistant". Both strings are UTF-8.
struct message {
  std::string role;     ///< "system", "user" or "assistant".
  std::string content;  ///< Text of the turn.

  /// Compares all members.
  bool operator==(const message&) const = default;
};

}  // namespace qwq
