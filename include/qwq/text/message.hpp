// SPDX-License-Identifier: Apache-2.0
// One turn of a conversation.
#pragma once

#include <string>

namespace qwq {

/// One chat turn; `role` is "system", "user" or "assistant". Both strings are UTF-8.
struct message {
  std::string role;
  std::string content;

  bool operator==(const message&) const = default;
};

}  // namespace qwq
