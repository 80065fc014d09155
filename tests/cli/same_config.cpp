// SPDX-License-Identifier: Apache-2.0
// The config of a checkpoint against the one that an exporter was built for, field by field.
#include <qwq/cli/same_config.hpp>

#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include <qwq/model/qwen3_config.hpp>

#include "../io/scratch.hpp"

namespace {

struct every_kind {
  qwq::qwen3_config text_config;
  std::optional<double> scale;
  std::array<std::int64_t, 2> section{1, 2};
  qwq::fixed_vector<qwq::fixed_string<20>, 3> kinds;
};

}  // namespace

BOOST_HANA_ADAPT_STRUCT(every_kind, text_config, scale, section, kinds);

namespace {

std::string difference(const every_kind& built, const every_kind& found) {
  return complaint([&] { qwq::detail::require_same_fields(built, found, "c: "); });
}

}  // namespace

TEST_CASE("the first field that differs is named") {
  const every_kind built;
  CHECK(difference(built, built) == "");
  const auto changed = [&](auto change) {
    every_kind found;
    change(found);
    return difference(built, found);
  };
  CHECK(changed([](every_kind& c) { c.text_config.head_dim = 64; }) ==
        "c: text_config.head_dim: this exporter was built for 128, found 64");
  CHECK(changed([](every_kind& c) { c.text_config.tie_word_embeddings = true; }) ==
        "c: text_config.tie_word_embeddings: this exporter was built for false, found true");
  CHECK(changed([](every_kind& c) { c.text_config.rms_norm_eps = 9.999999974752427e-07; }) == "");  // the same float
  CHECK(changed([](every_kind& c) { c.text_config.rms_norm_eps = 1e-5; }) ==
        "c: text_config.rms_norm_eps: this exporter was built for 1e-06, found 1e-05");
  CHECK(changed([](every_kind& c) { c.scale = 0.5; }) == "c: scale: this exporter was built for none, found one");
  CHECK(changed([](every_kind& c) { c.section[1] = 3; }) == "c: section[1]: this exporter was built for 2, found 3");
  CHECK(changed([](every_kind& c) { c.kinds.push_back("x"); }) ==
        "c: kinds: this exporter was built for a list of 0, found a list of 1");
  every_kind one, other;
  one.kinds.push_back("full");
  other.kinds.push_back("linear");
  one.scale = 1, other.scale = 2;
  CHECK(difference(one, other) == "c: scale: this exporter was built for 1, found 2");
  other.scale = 1;
  CHECK(difference(one, other) == "c: kinds[0]: this exporter was built for \"full\", found \"linear\"");
}
