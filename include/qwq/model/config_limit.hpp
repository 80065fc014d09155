// SPDX-License-Identifier: Apache-2.0
// Defines `config_limit`, the bounds of a numeric field of config.json.
#pragma once

#include <string_view>

namespace qwq {

/// Bounds of a numeric field of config.json, as decimal text for messages. Files with values outside the `limits` of a
/// config struct are refused (`model/config_reader.hpp`).
struct config_limit {
  std::string_view field;  ///< Name in config.json.
  std::string_view min,    ///< Smallest value, inclusive.
      max;                 ///< Largest value, inclusive.
};

}  // namespace qwq
