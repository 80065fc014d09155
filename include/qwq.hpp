// SPDX-License-Identifier: Apache-2.0
// qwq/qwq.hpp under its short name, which single_include/qwq.hpp has where it stands alone.
#pragma once

#include "qwq/qwq.hpp"
