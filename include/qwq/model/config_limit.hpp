// SPDX-License-Identifier: Apache-2.0
// Defines `config_limit`, the bounds of a number in config.json.
#pragma once

#include <string_view>

namespace qwq {

/// The bounds of a number in config.json, in decimals, as messages print them. A config struct that has an array `limits`
/// of them is refused with values beyond (`model/config_reader.hpp`).
struct config_limit {
  std::string_view field;     ///< As config.json calls it.
  std::string_view min, max;  ///< Both are allowed.
};

}  // namespace qwq
