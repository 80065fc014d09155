// SPDX-License-Identifier: Apache-2.0
// A config.json with an absurd field: the message has the file, the field, what was expected and what was found.
// expect: config_is_refused
// expect: models/config.json
// expect: hidden_size
// expect: an integer from 1 to 131072
// expect: {"0"}
#include <qwq/model/model_table.hpp>

using namespace qwq;

template <bool Sound>
struct source {
  static constexpr std::string_view file = "models/config.json";
  static constexpr std::string_view text =
      Sound ? R"({"model_type": "qwen3", "hidden_size": 64})" : R"({"model_type": "qwen3", "hidden_size": 0})";
};

static_assert(require_config<qwen3_config, source<true>>().hidden_size == 64);
#ifdef FAIL
static_assert(require_config<qwen3_config, source<false>>().hidden_size == 64);
#endif
