// SPDX-License-Identifier: Apache-2.0
// Defines `usage_error`, the error of an invalid command line.
#pragma once

#include "qwq/core/error.hpp"

namespace qwq {

/// Options that contradict each other or their own files. The program exits with status 2.
class usage_error : public error {
 public:
  using error::error;
};

}  // namespace qwq
