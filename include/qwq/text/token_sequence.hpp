// SPDX-License-Identifier: Apache-2.0
// Texts as models read them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace qwq {

/// A text as token ids, and how many of them are the prompt: what follows is what the model says.
struct token_sequence {
  std::vector<std::int32_t> ids;
  std::size_t prompt = 0;
};

}  // namespace qwq
