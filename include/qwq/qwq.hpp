// SPDX-License-Identifier: Apache-2.0
// Includes everything that needs no library to link: models, schemes, kernels, sessions, calibration, files, reports.
#pragma once

#include "qwq/core/small_float.hpp"
#include "qwq/core/version.hpp"
#include "qwq/exec/trace_graph.hpp"
#include "qwq/graph/print.hpp"
#include "qwq/io/file_set.hpp"
#include "qwq/io/safetensors_writer.hpp"
#include "qwq/io/special_tokens.hpp"
#include "qwq/kernel/group.hpp"
#include "qwq/kernel/linear_int8.hpp"
#include "qwq/kernel/reference.hpp"
#include "qwq/model/models.hpp"
#include "qwq/quant/modelopt.hpp"
#include "qwq/quant/tico_scheme.hpp"
#include "qwq/report/compare.hpp"
#include "qwq/report/progress.hpp"
#include "qwq/report/scatter.hpp"
#include "qwq/runtime/calibrate.hpp"
#include "qwq/runtime/read_config.hpp"
#include "qwq/runtime/session_interface.hpp"
#include "qwq/text/chat_template.hpp"

/// Define QWQ_WITH_TEXT to include the tokenizer and data sets. This requires nlohmann's JSON and linking to ICU.
#ifdef QWQ_WITH_TEXT
#include "qwq/text.hpp"
#endif
