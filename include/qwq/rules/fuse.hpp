// SPDX-License-Identifier: Apache-2.0
// Fusions: rules that a session applies last, for the same values in fewer passes over memory.
#pragma once

#include "qwq/rules/mlp.hpp"

namespace qwq::rules {

/// Every fusion, each on unless a target is taken `without` it.
inline constexpr rule fuse[] = {fuse_silu, fuse_swiglu};

}  // namespace qwq::rules
