// SPDX-License-Identifier: Apache-2.0
// The one exception type: bad input, said in one line.
#pragma once

#include <stdexcept>
#include <string>

namespace qwq {

/// Bad input. `what()` is one line that names the file, the tensor or field, what was expected and what was found.
class error : public std::runtime_error {
 public:
  explicit error(const std::string& message) : std::runtime_error(message) {}
};

}  // namespace qwq
