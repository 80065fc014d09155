// SPDX-License-Identifier: Apache-2.0
// Includes all models of `model_families`, with their definitions.
#pragma once

#include "qwq/model/model_table.hpp"
#include "qwq/model/qwen3.hpp"
