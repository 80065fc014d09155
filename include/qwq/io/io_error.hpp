// SPDX-License-Identifier: Apache-2.0
// Defines `io_error`, which makes the error of a failed system call.
#pragma once

#include <string>
#include <system_error>

#include "qwq/core/error.hpp"

namespace qwq::detail {

/// Returns the error "<file>: cannot <verb>: <reason>" for the errno value `code`.
inline error io_error(const std::string& file, const char* verb, int code) {
  return error(file + ": cannot " + verb + ": " + std::generic_category().message(code));
}

}  // namespace qwq::detail
