// SPDX-License-Identifier: Apache-2.0
// Defines `token_sequence`, a text as token ids with the length of its prompt.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace qwq {

/// A text as token ids: a prompt, followed by the continuation.
struct token_sequence {
  std::vector<std::int32_t> ids;  ///< Ids of prompt and continuation.
  std::size_t prompt = 0;         ///< Number of ids of the prompt.
};

}  // namespace qwq
