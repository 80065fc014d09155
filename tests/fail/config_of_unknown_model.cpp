// SPDX-License-Identifier: Apache-2.0
// A config.json of a model that is not in the table: the message has the file, the field and the models that are.
// expect: config_is_refused
// expect: models/config.json
// expect: model_type
// expect: qwen3
// expect: llama
#include <qwq/model/model_table.hpp>

using namespace qwq;

template <bool Known>
struct source {
  static constexpr std::string_view file = "models/config.json";
  static constexpr std::string_view text = Known ? R"({"model_type": "qwen3"})" : R"({"model_type": "llama"})";
};

static_assert(family_of<source<true>>::config_type::model_type == "qwen3");
#ifdef FAIL
static_assert(family_of<source<false>>::config_type::model_type == "qwen3");
#endif
