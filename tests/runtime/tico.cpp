// SPDX-License-Identifier: Apache-2.0
// TICO's schemes on whole models: calibrated, run, and compared with the float model.
#include "qwq/quant/tico_scheme.hpp"

#include <doctest/doctest.h>

#include "qwq/report/metrics.hpp"
#include "qwq/runtime/calibrate.hpp"
#include "qwq/targets/circle.hpp"
#include "support.hpp"

using namespace qwq;
using namespace qwq::test;

namespace {

using whole = circle<circle_options{.prompt = 64, .length = 128}>;
/// With embedding and head in float.
struct layers_only : whole {
  static constexpr bool includes_embedding_and_head = false;
};

/// Keys and values have one set of parameters wherever they are: of a prompt, of a token, of the past, of all together.
template <class Target, class Scheme>
void check_caches(const calibration_result& tuned) {
  using prefill = typename program<tinyqwen, Target, Scheme, 64>::template first<stage::layers>;
  using decode = typename program<tinyqwen, Target, Scheme, 1>::template first<stage::layers>;
  for (const char* kind : {"key", "value"})
    for (std::size_t i = 1; i <= 6; ++i) {  // after the embedding
      std::vector<kernel::affine> all;
      for (const auto s : state_slots<prefill>(kind)) all.push_back(tuned.prefill[i][static_cast<std::size_t>(s)]);
      for (const auto s : state_slots<decode>(kind)) all.push_back(tuned.decode[i][static_cast<std::size_t>(s)]);
      CHECK(all.size() == 4);
      for (const kernel::affine& p : all) CHECK((p.scale == all[0].scale && p.zero_point == all[0].zero_point));
    }
}

template <class Target, class Scheme>
against_float follow(const std::string& model) {
  const checkpoint weights = checkpoint::open(data / model);
  calibration_options o;
  o.eos = eos;
  const auto tuned = calibrate<tinyqwen, Target, Scheme>(weights, texts("calib.jsonl", 64), o, [](std::size_t) {});
  check_caches<Target, Scheme>(tuned);
  const bound_model<tinyqwen> float_weights(weights, {.positions = 128});
  const bound_model<tinyqwen, Target, Scheme> bound(weights);
  session<tinyqwen> reference(float_weights);
  session<tinyqwen, Target, Scheme> s(bound, &tuned);
  const against_float found = follow(reference, s, prompts(model));
  MESSAGE(model, " ", Scheme::name, ": KL ", found.kl, ", continued ", found.continued);
  return found;
}

/// Nothing of the model is left in float.
template <class Scheme>
constexpr bool covers_everything() {
  const auto whole_part = [](coverage c) { return c.covered == c.total && c.total > 0; };
  using prefill = program<tinyqwen, whole, Scheme, 64>;
  using decode = program<tinyqwen, whole, Scheme, 1>;
  bool all = true;
  const auto look = [&]<class Part>(std::type_identity<Part>, std::size_t) {
    all = all && whole_part(Part::covered) && Part::covered.float_weights == 0;
  };
  prefill::for_each_part(look);
  decode::for_each_part(look);
  return all;
}
static_assert(covers_everything<tico_w8a16>() && covers_everything<tico_w4a16>() && covers_everything<tico_w8a8>() &&
              covers_everything<qdq_w8a16>());

}  // namespace

TEST_CASE("every scheme speaks as the float model does") {
  const auto check = [](const against_float& found, double kl, int continued) {
    CHECK(found.kl < kl);
    CHECK(found.continued >= continued);
  };
  check(follow<whole, tico_w8a16>("tinyqwen"), 0.002, 12);
  check(follow<whole, tico_w4a16>("tinyqwen"), 0.005, 12);
  check(follow<whole, tico_w8a8>("tinyqwen"), 0.015, 10);  // 8 bits for the residual stream, too
  check(follow<whole, qdq_w8a16>("tinyqwen"), 0.002, 12);
}

TEST_CASE(
    "channels that are hundreds of times larger than others are beyond an embedding of 8 bits, not beyond layers") {
  CHECK(follow<whole, tico_w8a16>("tinyqwen-outlier").kl > 1);  // each row of the table has such channels
  const against_float found = follow<layers_only, tico_w8a16>("tinyqwen-outlier");
  CHECK(found.kl < 0.002);
  CHECK(found.continued == 12);
}
