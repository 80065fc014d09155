// SPDX-License-Identifier: Apache-2.0
// What reads text, and needs ICU and nlohmann's JSON for it: tokenizer, sets of texts, reports as JSON.
#pragma once

#include "qwq/report/json_report.hpp"
#include "qwq/text/data_set.hpp"
#include "qwq/text/stream_decoder.hpp"
