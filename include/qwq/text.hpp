// SPDX-License-Identifier: Apache-2.0
// Includes everything that needs ICU and nlohmann's JSON: tokenizer, data sets, reports as JSON.
#pragma once

#include "qwq/report/json_report.hpp"
#include "qwq/text/data_set.hpp"
#include "qwq/text/stream_decoder.hpp"
