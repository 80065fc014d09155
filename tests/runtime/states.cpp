// SPDX-License-Identifier: Apache-2.0
// States of a session: marked, gone back to, saved, loaded and forked, to the bit.
#include <doctest/doctest.h>

#include <sstream>

#include "qwq/targets/circle.hpp"
#include "support.hpp"

using namespace qwq;
using namespace qwq::test;

namespace {

const checkpoint& weights() {
  static const checkpoint c = checkpoint::open(data / "tinyqwen");
  return c;
}
const std::vector<std::int32_t>& ids() {
  static const std::vector<std::int32_t> all_ids = [] {
    std::vector<std::int32_t> all;
    for (const token_sequence& t : texts("eval.jsonl", 8)) all.insert(all.end(), t.ids.begin(), t.ids.end());
    all.resize(100);
    return all;
  }();
  return all_ids;
}

/// Logits of three more tokens.
template <class Session>
std::vector<float> go_on(Session& s) {
  std::vector<float> all;
  for (const std::int32_t id : {7, 300, 41}) {
    const auto logits = s.decode(id);
    all.insert(all.end(), logits.begin(), logits.end());
  }
  return all;
}

template <class Session>
std::string saved(const Session& s) {
  std::ostringstream out;
  s.save(out);
  return out.str();
}
template <class Session>
void load(Session& s, const std::string& bytes) {
  std::istringstream in(bytes);
  s.load(in, "file");
}

/// Saving, loading into a larger session, and forking continue a text with the same bits.
template <class Target>
void check_same_bits() {
  const bound_model<tinyqwen, Target> bound(weights(), {.positions = 110}), larger(weights(), {.positions = 128});
  session<tinyqwen, Target> original(bound), loaded(larger), forked(larger);
  original.prefill(ids());
  const std::string bytes = saved(original);
  load(loaded, bytes);
  CHECK(loaded.position() == 100);
  forked.fork(original);
  const std::vector<float> expected = go_on(original);
  CHECK(go_on(loaded) == expected);
  CHECK(go_on(forked) == expected);
}

}  // namespace

TEST_CASE("saved, loaded and forked texts go on with the same bits, whatever their cache is made of") {
  check_same_bits<native<dtype::f32>>();
  check_same_bits<native<dtype::f16>>();
  check_same_bits<native<dtype::bf16>>();
  check_same_bits<native<dtype::i8>>();
  check_same_bits<circle<circle_options{.prompt = 32, .length = 128}>>();
}

TEST_CASE("a session goes back to its mark") {
  const bound_model<tinyqwen> bound(weights(), {.positions = 128});
  session<tinyqwen> s(bound);
  CHECK_THROWS_WITH_AS(s.rewind(), "session: there is no mark to go back to", error);
  CHECK_THROWS_WITH_AS(s.mark_at(-1), "session: cannot mark position -1 of a text that is at 0", error);
  s.prefill(std::span(ids()).first(70));
  s.mark();
  const std::vector<float> expected = go_on(s);
  s.rewind();
  CHECK(s.position() == 70);
  CHECK(go_on(s) == expected);
  s.rewind();  // the mark stays
  CHECK(go_on(s) == expected);
  s.truncate(60);
  CHECK_THROWS_WITH_AS(s.rewind(), "session: there is no mark to go back to", error);
  // A position that is still to be read.
  s.reset();
  s.mark_at(70);
  s.prefill(ids());
  s.rewind();
  CHECK(go_on(s) == expected);
  s.reset();
  CHECK(s.position() == 0);
  CHECK_THROWS_WITH_AS(s.truncate(-5), "session: cannot be truncated to -5 tokens", error);
}

TEST_CASE("files of states that are cut off, damaged or of something else are refused, and nothing changes") {
  const bound_model<tinyqwen> bound(weights(), {.positions = 110});
  session<tinyqwen> s(bound);
  s.prefill(ids());
  const std::string bytes = saved(s);
  const auto refused = [&](const std::string& file, const std::string& message) {
    CHECK_THROWS_WITH_AS(load(s, file), message.c_str(), error);
    CHECK(s.position() == 100);
  };
  refused("", "file: expected 8 bytes, found 0: the file of states is cut off");
  refused("something else entirely", "file: not a file of states");
  for (const std::size_t size : {10, 15, 40, 300, static_cast<int>(bytes.size()) - 1}) {
    std::istringstream in(bytes.substr(0, size));
    CHECK_THROWS_AS(s.load(in), error);
  }
  std::string other = bytes;
  other[8] = 9;
  refused(other, "file: expected version 1 of the file of states, found 9");
  other = bytes;
  other[40] = static_cast<char>(other[40] ^ 1);
  refused(other, "file: the file of states is damaged in its header");
  other = bytes;
  other[bytes.size() - 100] = static_cast<char>(other[bytes.size() - 100] ^ 1);
  refused(other, "file: the file of states is damaged in its values");

  const bound_model<tinyqwen, native<dtype::f16>> narrow(weights(), {.positions = 110});
  session<tinyqwen, native<dtype::f16>> half(narrow);
  half.prefill(ids());
  refused(saved(half), "file: expected the states of this model, found others: its sizes or its cache type differ");
  using codes = bound_model<tinyqwen, onnx_genai, w4_g32>;
  const codes four(weights(), {.positions = 110});
  session<tinyqwen, onnx_genai, w4_g32> quantized(four);
  quantized.prefill(ids());
  refused(saved(quantized), "file: expected states of target native, found onnx_genai");
  const checkpoint outlier = checkpoint::open(data / "tinyqwen-outlier");
  const bound_model<tinyqwen> same_sizes(outlier, {.positions = 110});
  session<tinyqwen> foreign(same_sizes);
  foreign.prefill(ids());
  refused(saved(foreign), "file: expected states of this checkpoint, found those of another");
  const bound_model<tinyqwen> little(weights(), {.positions = 64});
  session<tinyqwen> small(little);
  CHECK_THROWS_WITH_AS(load(small, bytes), "file: expected at most 64 tokens, found 100", error);
  CHECK_THROWS_WITH_AS(small.fork(s), "session: 100 tokens do not fit into a cache of 64", error);
  const std::vector<float> expected = go_on(s);
  load(s, bytes);
  CHECK(go_on(s) == expected);
}
