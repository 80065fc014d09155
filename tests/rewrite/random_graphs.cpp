// SPDX-License-Identifier: Apache-2.0
// Every rule set on a few hundred random graphs: the rewritten graph has the spec and the values of the original.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <functional>
#include <initializer_list>
#include <map>
#include <optional>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "../support/random_graph.hpp"
#include "qwq/graph/print.hpp"
#include "qwq/quant/insert_qdq.hpp"
#include "qwq/rewrite/rewrite.hpp"
#include "qwq/rules/canonicalize_rules.hpp"
#include "qwq/rules/fusion_rules.hpp"
#include "qwq/rules/norm_rules.hpp"
#include "qwq/targets/all_targets.hpp"

using namespace qwq;
using namespace qwq::test;

namespace {

/// Graphs of each rule set. The environment variable QWQ_SEEDS asks for another number, QWQ_COUNTS for the applied.
std::uint64_t seed_count() {
  const char* asked = std::getenv("QWQ_SEEDS");
  return asked != nullptr ? std::strtoull(asked, nullptr, 10) : 500;
}

/// Each rule of a set has to fire so often, or the graphs do not test it.
constexpr int least_firings = 5;

/// All values are in f64, and both sides of a rule do the same sums in another order or with another association: they
/// differ by a few ulps (2e-16) times the number of operations, which are some hundreds, times the condition of what
/// follows. Norms of nearly equal values amplify most, by at most 1 / sqrt(epsilon) = 1000 each.
///
/// Codes are compared with the same bound. A difference of an ulp before a rounding flips a code only where the value
/// is that close to half-way between two codes, which a random value is with a probability of about 1e-13. Only values
/// that come from a grid, such as a mean of two codes, can be exactly there: for this reason all scales are irregular.
/// Values are rounded to f16 where both sides round the same ones (what a session does); elsewhere casts between floats
/// change nothing, because rules move them.
constexpr double tolerance = 1e-9;

/// What outputs of a graph are in terms of those of the graph that it was made from.
struct interface_change {
  std::map<std::string, double, std::less<>> factor;  ///< Caches whose keys were scaled, and by how much.
  std::int64_t first = 0;                             ///< Position of the run's first token.
  bool may_overflow = false;  ///< Values are rounded to f16, and the same may be too large for it on both sides.
};

/// Rows from `first` on of a cache [1,heads,max,D].
tensor new_rows(const tensor& cache, std::int64_t first, std::int64_t rows) {
  tensor out({1, cache.dims[1], rows, cache.dims[3]});
  for (std::int64_t i = 0; i < out.size(); ++i) {
    const std::int64_t width = cache.dims[3], head = i / width / rows, row = i / width % rows;
    out[i] = cache[(head * cache.dims[2] + first + row) * width + i % width];
  }
  return out;
}

/// The first difference between outputs.
std::optional<std::string> difference(const named_tensors& before, const named_tensors& after,
                                      const interface_change& change) {
  std::ostringstream what;
  if (before.size() != after.size()) return "another number of outputs";
  for (const auto& [name, expected] : before) {
    const auto found = after.find(name);
    if (found == after.end()) return "output " + name + " is missing";
    const tensor& b = found->second;
    const bool host = expected.rank() == 4 && b.rank() == 4 && expected.dims != b.dims;
    const tensor a = host ? new_rows(expected, change.first, b.dims[2]) : expected;
    if (a.dims != b.dims) return "output " + name + " has another shape";
    const auto scaled = change.factor.find(name);
    const double factor = scaled == change.factor.end() ? 1 : scaled->second;
    double largest = 1e-3, worst = 0;
    for (std::int64_t i = 0; i < a.size(); ++i) {
      if (!std::isfinite(a[i]) || !std::isfinite(b[i])) {
        if (change.may_overflow && !std::isfinite(a[i]) && !std::isfinite(b[i])) continue;  // too large for f16
        return "output " + name + " is not finite";
      }
      largest = std::max(largest, std::abs(a[i] * factor));
      worst = std::max(worst, std::abs(a[i] * factor - b[i]));
    }
    if (worst <= tolerance * largest) continue;
    what << "output " << name << " differs by " << worst << ", its largest element is " << largest;
    return what.str();
  }
  return {};
}

/// The first node whose type is not what its operator makes of its arguments.
std::optional<std::string> ill_typed(const sample_graph& g) {
  for (std::size_t i = 0; i < g.size(); ++i) {
    const node& n = g[i];
    type_inference in{n.attr};
    for (const node_id a : n.args) in.args.push_back(g[a].type);
    schema(n).infer(in);
    if (!in.error.ok() || !(in.out == n.type)) return "node %" + std::to_string(i) + " has the wrong type";
  }
  return {};
}

std::string text_of(const diagnostic& p) {
  return std::string("error ") + std::to_string(static_cast<int>(p.what)) + " at " + std::string(name(p.kind)) + " " +
         std::string(p.where.view()) + ": expected " + std::string(p.expected.view()) + ", found " +
         std::string(p.found.view());
}

/// What is wrong with `after`, which was made from `before`; both graphs are printed behind it.
std::optional<std::string> compare(const sample_graph& before, const run_setting& setting_before,
                                   const sample_graph& after, const run_setting& setting_after,
                                   const interface_change& change) {
  std::optional<std::string> wrong;
  if (!after.error.ok()) wrong = text_of(after.error);
  if (!wrong) wrong = ill_typed(after);
  for (std::size_t i = 0; !wrong && i < before.outputs.size() && i < after.outputs.size(); ++i)
    if (before[before.outputs[i].id].type.type != after[after.outputs[i].id].type.type)
      wrong = "output " + std::string(before.outputs[i].name.view()) + " has another element type";
  if (!wrong) {
    try {
      wrong = difference(interpret(before, setting_before), interpret(after, setting_after), change);
    } catch (const std::runtime_error& e) {
      wrong = e.what();
    }
  }
  if (!wrong) return {};
  std::ostringstream out;
  out << *wrong << "\nbefore:\n";
  print(out, before);
  out << "after:\n";
  print(out, after);
  return out.str();
}

/// What a host gives to a graph that keeps no cache: the RoPE rows of the tokens and a mask.
run_setting with_host_inputs(run_setting setting, const sample_graph& g) {
  for (const node& n : g.nodes) {
    if (n.kind != op::input) continue;
    std::vector<std::int64_t> dims;
    for (const dim& d : n.dims()) dims.push_back(d.extent);
    tensor made(dims);
    if (n.name == "cos" || n.name == "sin") {
      const std::int64_t rows = dims[1], half = dims[2] / 2;
      for (std::int64_t i = 0; i < made.size(); ++i) {
        const std::int64_t at = setting.last_position - rows + 1 + i / (2 * half), j = i % half;
        const double power = static_cast<double>(j) / static_cast<double>(half);
        const double angle = static_cast<double>(at) * std::pow(10000.0, -power);
        made[i] = n.name == "cos" ? std::cos(angle) : std::sin(angle);
      }
    } else if (n.name == "attention_mask") {
      const std::int64_t rows = dims[2], seen = dims[3];
      for (std::int64_t i = 0; i < made.size(); ++i) {
        const std::int64_t row = i / seen, key = i % seen;
        const bool visible = rows == 1 ? key < setting.last_position || key == seen - 1 : key <= row;
        made[i] = visible ? 0 : -1e30;  // logits of random graphs may be larger than a target's `mask_fill`
      }
    } else {
      continue;
    }
    setting.given[std::string(n.name.view())] = made;
  }
  return setting;
}

/// Keys of caches that are scaled in `after`, where their attention has another scale.
std::map<std::string, double, std::less<>> key_factors(const sample_graph& before, const sample_graph& after) {
  const auto scales = [](const sample_graph& g) {
    std::map<std::string, double, std::less<>> out;
    for (const node& n : g.nodes)
      if (n.kind == op::attention && g[n.args[1]].kind == op::kv_cache_update)
        out[std::string(g[g[n.args[1]].args[0]].name.view())] = n.attr.value;
    return out;
  };
  const auto was = scales(before), is = scales(after);
  std::map<std::string, double, std::less<>> factors;
  for (const auto& [name, scale] : is) factors[name] = was.at(name) / scale;
  return factors;
}

/// A rule set whose names are all different, because the trace of a rewrite counts by name.
std::vector<rule> distinct(std::span<const rule> rules) {
  static std::deque<std::string> names;
  std::vector<rule> out(rules.begin(), rules.end());
  for (std::size_t i = 0; i < out.size(); ++i)
    for (std::size_t j = 0; j < i; ++j)
      if (out[j].name == out[i].name) out[i].name = names.emplace_back(std::string(out[i].name) + "#2");
  return out;
}

/// How often each rule has fired.
using tally = std::map<std::string, int, std::less<>>;
void count(tally& times, const rewrite_log& log) {
  for (const applied_rewrite& r : log.applied) ++times[std::string(r.rule)];
}
tally tally_of(std::span<const rule> rules) {
  tally out;
  for (const rule& r : rules) out[std::string(r.name)] = 0;
  return out;
}
void check_all_fired(std::string_view set, const tally& applied) {
  for (const auto& [name, times] : applied) {
    INFO(set, ": ", name, " fired ", times, " times");
    if (std::getenv("QWQ_COUNTS") != nullptr) MESSAGE(set, ": ", name, " ", times);
    CHECK(times >= least_firings);
  }
}

/// The first wrong graph among those of `seeds`, and how often rules fired.
struct outcome {
  std::optional<std::string> wrong;
  tally log;
  std::uint64_t skipped = 0;  ///< Graphs that have too many edges for the slots or nodes that there are.
};

/// A random graph, which is as it should be.
sample make_sample(std::uint64_t seed, const profile& p) {
  sample s = random_graph::make(seed, p);
  if (!s.g.error.ok()) throw std::logic_error("seed " + std::to_string(seed) + ": " + text_of(s.g.error));
  return s;
}

/// Rewrites the graph of each seed by `rules` and compares both.
outcome run_rules(std::span<const rule> set, const profile& p, bool round_narrow = false) {
  const std::vector<rule> rules = distinct(set);
  outcome out{{}, tally_of(rules), 0};
  for (std::uint64_t seed = 1; seed <= seed_count(); ++seed) {
    sample s = make_sample(seed, p);
    s.setting.round_narrow = round_narrow;
    const auto rewritten = rewrite(s.g, rules);
    count(out.log, rewritten.log);
    run_setting after = p.host_cache ? with_host_inputs(s.setting, rewritten.value) : s.setting;
    interface_change change;
    change.may_overflow = round_narrow;
    change.first = s.setting.last_position + 1 - s.setting.extents["sequence_length"];
    if (rewritten.log.count("fold_scale_into_k_norm") > 0)
      change.factor = after.state_factor = key_factors(s.g, rewritten.value);
    out.wrong = compare(s.g, s.setting, rewritten.value, after, change);
    if (out.wrong) {
      out.wrong = "seed " + std::to_string(seed) + ": " + *out.wrong;
      break;
    }
  }
  return out;
}

void check_rules(std::string_view name, std::span<const rule> rules, const profile& p, bool round_narrow = false) {
  const outcome found = run_rules(rules, p, round_narrow);
  INFO(name, ", ", found.wrong.value_or(""));
  CHECK(!found.wrong);
  check_all_fired(name, found.log);
}

using short_circle = circle<circle_options{.prompt = 5, .length = cache_length}>;
using short_circle_with_norm = circle<circle_options{.prompt = 5, .length = cache_length, .fused_norm = true}>;

constexpr profile host_kept{.host_cache = true};

// ---- all that happens to a graph, from the model's to that which a session runs

/// Parameters for the slots that a scheme has placed.
std::vector<kernel::affine> parameters_of(const slot_list& slots, std::uint64_t seed) {
  std::vector<kernel::affine> out;
  for (const slot& s : slots)
    for (std::int32_t i = 0; i < s.count; ++i) {
      const kernel::code_range range = kernel::full_range(s.format.element);
      const double wide = 4 + test::detail::random_number(seed, "scale", static_cast<std::int64_t>(out.size()));
      out.push_back({static_cast<float>(wide / (range.max - range.min)), (range.min + range.max) / 2, range});
    }
  return out;
}

/// A format of codes of type `t`; signed ones are symmetric.
constexpr number_format coded(dtype t, std::int32_t block = 0) {
  return {.element = t, .symmetric = is_signed(t), .block = block};
}

/// What happens to one graph: the rules of `Target`, the slots of a scheme, and what a session does then, in the order
/// of compile/pipeline.hpp. Each form is compared with the one before: first without parameters, so that floats pass,
/// and from the placed graph on with them.
template <class Target>
std::optional<std::string> follow(const sample& s, const quant_spec& spec, outcome& out) {
  interface_change change;
  change.first = s.setting.last_position + 1 - s.setting.extents.at("sequence_length");
  const sample_graph* now = &s.g;
  run_setting setting = s.setting;
  rewritten<graph_capacity> first;
  if constexpr (requires { Target::first_rules; }) {
    first = rewrite(s.g, Target::first_rules);
    count(out.log, first.log);
    change.factor = setting.state_factor = key_factors(s.g, first.value);
    if (auto wrong = compare(s.g, s.setting, first.value, setting, change)) return "first rules: " + *wrong;
    change.factor.clear();
    now = &first.value;
  }
  const auto second = rewrite(*now, distinct(Target::rules));
  count(out.log, second.log);
  const run_setting before = setting;
  setting = with_host_inputs(setting, second.value);
  if (auto wrong = compare(*now, before, second.value, setting, change)) return "rules: " + *wrong;
  const auto placed = insert_qdq(second.value, spec, [&](const node& n) {
    return n.kind != op::custom && spec.covers(schema(n)) && Target::quantizes(n.kind);
  });
  const std::size_t for_rules = 64;
  if (placed.value.error.what == error_code::graph_is_full || placed.value.size() + for_rules > graph_capacity) {
    ++out.skipped;
    return {};
  }
  if (auto wrong = compare(second.value, setting, placed.value, setting, {})) return "slots: " + *wrong;
  setting.slots = parameters_of(placed.slots, setting.seed);
  setting.round_narrow = change.may_overflow = true;
  const auto run = rewrite(placed.value, distinct(rules::run));
  count(out.log, run.log);
  if (auto wrong = compare(placed.value, setting, run.value, setting, change)) return "run: " + *wrong;
  const auto fused = rewrite(run.value, distinct(rules::fuse));
  count(out.log, fused.log);
  if (auto wrong = compare(run.value, setting, fused.value, setting, change)) return "fuse: " + *wrong;
  return {};
}

template <class Target>
void check_target(std::string_view name, const profile& p, std::initializer_list<quant_spec> schemes, tally& session) {
  outcome out;
  for (std::uint64_t seed = 1; seed <= seed_count() && !out.wrong; ++seed) {
    const quant_spec& spec = schemes.begin()[seed % schemes.size()];
    CHECK(Target::accepts(spec));
    out.wrong = follow<Target>(make_sample(seed, p), spec, out);
    if (out.wrong) out.wrong = "seed " + std::to_string(seed) + ": " + *out.wrong;
  }
  INFO(name, ", ", out.wrong.value_or(""));
  CHECK(!out.wrong);
  CHECK(out.skipped * 10 <= seed_count());
  tally of_target = tally_of(Target::rules);
  for (auto& [rule, times] : of_target) times = out.log[rule];
  check_all_fired(name, of_target);
  for (auto& [rule, times] : session) times += out.log[rule];
}

/// A target whose integers are everywhere, experts included.
struct all_integers : native<> {
  static constexpr bool quantizes(op kind) {
    return schema(kind).is(trait::elementwise | trait::product | trait::layout) || kind == op::matmul ||
           kind == op::softmax || kind == op::concat || kind == op::mean || kind == op::rms_norm ||
           kind == op::embedding || kind == op::weighted_sum || kind == op::conv1x1;
  }
  static constexpr bool accepts(const quant_spec&) { return true; }
};

constexpr profile for_schemes{
    .convolutions = false, .experts = false, .embeddings = false, .other_weights = false, .most_nodes = 30};

}  // namespace

TEST_CASE("the rules of targets keep the values of random graphs") {
  check_rules("onnx_winml", onnx_winml::rules, {.cache = dtype::f16});
  check_rules("onnx_genai", onnx_genai::rules, {});
  check_rules("onnx_standard", onnx_standard::rules, {});
}

TEST_CASE("the rules of targets whose host keeps the cache keep the values of random graphs") {
  check_rules("circle, first", short_circle::first_rules, host_kept);
  check_rules("circle", short_circle::rules, host_kept);
  check_rules("circle with RMS_NORM", short_circle_with_norm::rules, host_kept);
}

TEST_CASE("what a session does to a graph keeps the values of random graphs") {
  check_rules("run", rules::run, {.quantized = true, .gqa = true}, true);
  check_rules("fuse", rules::fuse, {.quantized = true}, true);
}

TEST_CASE("rules that are in no set keep the values of random graphs") {
  check_rules("norm", std::array{rules::fuse_rms_norm}, {});
}

TEST_CASE("all that happens to a graph keeps its values") {
  constexpr quant_spec floats{};
  tally session;
  for (const auto& set : {distinct(rules::run), distinct(rules::fuse)})
    for (const rule& r : set) session[std::string(r.name)] = 0;

  profile p = for_schemes;
  check_target<native<>>("native", {}, {floats}, session);
  check_target<onnx_standard>("onnx_standard", p,
                              {floats,
                               {.activation = coded(dtype::u8), .weight = coded(dtype::i8)},
                               {.activation = coded(dtype::u16), .weight = coded(dtype::i4, 32)},
                               {.weight = coded(dtype::i4, 32)}},
                              session);
  p.embeddings = true;
  check_target<onnx_genai>("onnx_genai", p,
                           {floats, {.weight = coded(dtype::i4, 32)}, {.weight = coded(dtype::i8, 32)}}, session);
  p.host_cache = true;
  constexpr quant_spec int16{.activation = coded(dtype::i16), .weight = coded(dtype::i8), .scope = quant_scope::all},
      uint8{.activation = coded(dtype::u8), .weight = coded(dtype::u8), .scope = quant_scope::all};
  check_target<short_circle>("circle", p, {floats, int16, uint8}, session);
  check_target<short_circle_with_norm>("circle with RMS_NORM", p, {floats, int16, uint8}, session);
  p = for_schemes;
  p.cache = dtype::f16;
  p.convolutions = true;
  p.biases = false;  // such a product is no convolution, and so its matrix would have no codes
  check_target<onnx_winml>(
      "onnx_winml", p,
      {floats,
       {.activation = coded(dtype::u8), .weight = coded(dtype::i8)},
       {.activation = coded(dtype::u16), .weight = coded(dtype::i8), .scope = quant_scope::all},
       {.activation = coded(dtype::u8), .weight = coded(dtype::i4, 32), .scope = quant_scope::all}},
      session);
  p = for_schemes;
  p.experts = p.embeddings = p.convolutions = true;
  check_target<all_integers>("integers", p,
                             {{.activation = coded(dtype::u8), .weight = coded(dtype::i8)},
                              {.activation = coded(dtype::i16), .weight = coded(dtype::i8), .scope = quant_scope::all}},
                             session);
  check_all_fired("sessions", session);
}

// ---- the check itself

namespace {

/// Whether the check finds out that a rule of a set is replaced by another.
bool finds_out(std::span<const rule> set, const rule& wrong, const profile& p) {
  std::vector<rule> rules(set.begin(), set.end());
  for (rule& r : rules)
    if (r.name == wrong.name) r = wrong;
  const outcome found = run_rules(rules, p);
  if (std::getenv("QWQ_COUNTS") != nullptr && found.wrong)
    MESSAGE(std::string(wrong.name), " ", found.wrong->substr(0, found.wrong->find('\n')));
  return found.wrong.has_value();
}

/// A rule that does not ask for its condition.
rule unconditional(rule r) {
  r.when = always;
  return r;
}

}  // namespace

TEST_CASE("a wrong rule is found out") {
  rule wrong = rules::norm_to_lp_norm;
  wrong.to = [](match& m) {  // forgets what the gain's leaf says but for its name: offset and multiplier
    const expr x = m[var('x')];
    const auto n = static_cast<double>(x.dims().last().extent);
    tensor_type one_channel{dtype::f32, x.dims()};
    one_channel.dims[one_channel.dims.size() - 1] = dim{1};
    const double epsilon = square_root(n * m.root().attr.value);
    const expr unit = slice(lp_norm(concat(x, leaf(m.graph(), op::splat, "epsilon", one_channel, epsilon))), 0,
                            static_cast<std::int32_t>(n));
    const node& w = m(var('w'));
    return unit * leaf(m.graph(), op::weight, w.name, w.type, square_root(n));
  };
  CHECK(finds_out(onnx_winml::rules, wrong, {.cache = dtype::f16}));
  wrong = rules::fuse_swiglu;
  wrong.to = [](match& m) { return swiglu(m[var('u')], m[var('g')]); };
  CHECK(finds_out(rules::fuse, wrong, {.quantized = true}));
  wrong = rules::fuse_qk_norm_rope;
  wrong.to = [](match& m) { return norm_rope(m[var('x')], m[var('w')], m[var('c')], m[var('s')], 1e-6); };
  CHECK(finds_out(rules::fuse, wrong, {.quantized = true}));
  wrong = rules::drop_reshape;
  wrong.to = [](match& m) { return neg(m[var('x')]); };
  CHECK(finds_out(rules::run, wrong, {.quantized = true, .gqa = true}));

  const auto without_condition = [](std::span<const rule> set, const profile& p, std::initializer_list<rule> rules) {
    for (const rule& r : rules) {
      INFO(r.name);
      CHECK(finds_out(set, unconditional(r), p));
    }
  };
  using namespace rules;
  without_condition(
      onnx_winml::rules, {.cache = dtype::f16},
      {drop_reshape, reshape_fill, sink_squeeze_add, sink_squeeze_mul, sink_squeeze_sigmoid, sink_squeeze_lp_norm,
       sink_squeeze_slice, sink_squeeze_concat, linear_to_conv1x1, norm_to_lp_norm});
  without_condition(rules::run, {.quantized = true, .gqa = true},
                    {fuse_fake_quant, fuse_expert_fake_quant, drop_requantize, conv1x1_to_linear});
  without_condition(rules::fuse, {.quantized = true}, {fuse_swiglu, fuse_residual, fuse_residual_norm});
  without_condition(std::array{fuse_rms_norm}, {}, {fuse_rms_norm});
}

// ---- graphs that rules once made wrong, and that random ones rarely are: each rule refuses its own.

namespace {

expr input_of(builder& b, std::string_view name, const shape& dims, dtype t = dtype::f32) {
  return leaf(b, op::input, name, {t, dims});
}
expr weight_of(builder& b, std::string_view name, const shape& dims, dtype t = dtype::f32) {
  return leaf(b, op::weight, name, {t, dims});
}
expr on_slot(expr x, std::int16_t slot) { return rules::detail::with_slot(fake_quant(x), slot); }

template <class Make>
sample_graph made_by(Make make) {
  sample_graph g;
  builder b{g};
  make(b);
  return g;
}

/// Checks the rules on the graph that `make` builds, for 3 tokens, and prints the first line of what is wrong.
template <class Make>
void check_graph(std::span<const rule> rules, Make make) {
  sample s{made_by(make), {}};
  REQUIRE(s.g.error.ok());
  s.setting.last_position = 2;
  for (const float scale : {0.0123f, 0.0217f}) s.setting.slots.push_back({scale, 120, {0, 255}});
  const auto rewritten = rewrite(s.g, rules);
  run_setting after = with_host_inputs(s.setting, rewritten.value);
  interface_change change;
  if (rewritten.log.count("fold_scale_into_k_norm") > 0)
    change.factor = after.state_factor = key_factors(s.g, rewritten.value);
  const auto wrong = compare(s.g, s.setting, rewritten.value, after, change);
  CHECK_MESSAGE(!wrong, wrong.value_or("").substr(0, wrong.value_or("").find('\n')));
}

/// Checks that one pass of the rules makes no node depend on itself. A rewrite would recurse until its stack is full.
template <class Make>
void check_acyclic(std::span<const rule> rules, Make make) {
  sample_graph g = made_by(make);
  REQUIRE(g.error.ok());
  std::vector<std::uint16_t> uses(graph_capacity);
  std::vector<node_id> instead(graph_capacity);
  const rewriting state{graph_ref{g}, uses.data(), instead.data()};
  count_uses(state.g, uses.data());
  for (std::size_t i = 0; i < graph_capacity; ++i) instead[i] = static_cast<node_id>(i);
  rewrite_log log;
  qwq::detail::apply_once(state, rules, log, max_rewrites);
  std::vector<bool> ready(g.size());
  for (std::size_t round = 0; round < g.size(); ++round)
    for (std::size_t i = 0; i < g.size(); ++i) {
      bool all = true;
      for (const node_id a : g[i].args) all = all && ready[state.resolve(a)];
      ready[i] = all;
    }
  for (const graph_output& o : g.outputs) CHECK_MESSAGE(ready[state.resolve(o.id)], "a node depends on itself");
}

/// Operands of attention over a cache of two heads, for the last `rows` tokens of three.
struct attention_parts {
  expr last, cos, sin, q, keys, values;
};
attention_parts parts_of(builder& b, bool k_norm, dtype key_type = dtype::f32, dtype value_type = dtype::f32,
                         std::int64_t rows = 3) {
  const expr last = input_of(b, "last_position", {1, 1}, dtype::i32);
  const tensor_type table{dtype::f32, {cache_length, 2}};
  const expr cos = table_rows(leaf(b, op::rope_cos, "rope_cos", table, 10000), last, rows),
             sin = table_rows(leaf(b, op::rope_sin, "rope_sin", table, 10000), last, rows);
  expr k = input_of(b, "k", {1, rows, 2, 4});
  if (k_norm) k = rms_norm(k, weight_of(b, "gain", {4}), 1e-6);
  const tensor_type keys{key_type, {1, 2, cache_length, 4}}, values{value_type, {1, 2, cache_length, 4}};
  return {last,
          cos,
          sin,
          rope(input_of(b, "q", {1, rows, 2, 4}), cos, sin),
          kv_cache_update(state(b, "key", keys, state_update::append), rope(k, cos, sin), last),
          kv_cache_update(state(b, "value", values, state_update::append), input_of(b, "v", {1, rows, 2, 4}), last)};
}

}  // namespace

TEST_CASE("fold_scale_into_k_norm, where two attentions read the keys") {
  check_graph(short_circle::first_rules, [](builder& b) {
    const attention_parts p = parts_of(b, true);
    b.output("y", attention(p.q, p.keys, p.values, p.last, 0.5).id);
    b.output("z", attention(neg(p.q), p.keys, p.values, p.last, 0.5).id);
  });
}

TEST_CASE("attention_to_matmuls, where two attentions read the cache") {
  check_graph(std::array{rules::attention_to_matmuls<cache_length>}, [](builder& b) {
    const attention_parts p = parts_of(b, false, dtype::f32, dtype::f32, 1);
    b.output("y", attention(p.q, p.keys, p.values, p.last, 0.5).id);
    b.output("z", attention(p.q, p.keys, p.values, p.last, 0.25).id);
  });
}

TEST_CASE("attention_to_gqa, whose queries depend on an attention that it does not match") {
  check_acyclic(std::array{rules::attention_to_gqa}, [](builder& b) {
    const attention_parts p = parts_of(b, false);
    const expr y = attention(neg(p.q), p.keys, p.values, p.last, 0.5);
    b.output("y", attention(rope(y, p.cos, p.sin), p.keys, p.values, p.last, 0.5).id);
  });
}

TEST_CASE("attention_to_gqa, with a query of the last token alone") {
  check_graph(std::array{rules::attention_to_gqa}, [](builder& b) {
    const attention_parts p = parts_of(b, false);
    const auto row = [&](expr rows) { return table_rows({&b, rows.definition().args[0]}, p.last, 1); };
    const expr q = rope(input_of(b, "q1", {1, 1, 2, 4}), row(p.cos), row(p.sin));
    b.output("y", attention(q, p.keys, p.values, p.last, 0.5).id);
  });
}

TEST_CASE("attention_to_gqa, with a RoPE table that is computed") {
  check_graph(std::array{rules::attention_to_gqa}, [](builder& b) {
    const attention_parts p = parts_of(b, false, dtype::f16, dtype::f16);
    const auto scaled = [&](expr rows) {
      const expr table{&b, rows.definition().args[0]};
      return table_rows(table * leaf(b, op::splat, "factor", {dtype::f32, {1}}, 1.2), p.last, 3);
    };
    const expr cos = scaled(p.cos), sin = scaled(p.sin);
    const expr cache{&b, p.keys.definition().args[0]};
    const expr keys = kv_cache_update(cache, rope(input_of(b, "k", {1, 3, 2, 4}), cos, sin), p.last);
    b.output("y", attention(rope(input_of(b, "q", {1, 3, 2, 4}), cos, sin), keys, p.values, p.last, 0.5).id);
  });
}

TEST_CASE("attention_to_gqa, with caches of two spec") {
  check_graph(std::array{rules::attention_to_gqa}, [](builder& b) {
    const attention_parts p = parts_of(b, false, dtype::f16, dtype::f32);
    b.output("y", attention(p.q, p.keys, p.values, p.last, 0.5).id);
  });
}

TEST_CASE("rope_to_products, with two tables") {
  check_graph(std::array{rules::rope_to_products}, [](builder& b) {
    const expr last = input_of(b, "last_position", {1, 1}, dtype::i32);
    const auto rotated = [&](std::string_view name, double theta) {
      const tensor_type table{dtype::f32, {cache_length, 2}};
      return rope(input_of(b, name, {1, 3, 2, 4}), table_rows(leaf(b, op::rope_cos, "rope_cos", table, theta), last, 3),
                  table_rows(leaf(b, op::rope_sin, "rope_sin", table, theta), last, 3));
    };
    b.output("y", rotated("q", 10000).id);
    b.output("z", rotated("k", 500).id);
  });
}

TEST_CASE("fuse_norm_linear, where a product of the norm is the matrix of another") {
  check_acyclic(std::array{rules::fuse_norm_linear}, [](builder& b) {
    const expr n = rms_norm(input_of(b, "x", {4, 8}), weight_of(b, "gain", {8}), 1e-6);
    b.output("y", linear(n, linear(n, weight_of(b, "w", {8, 8}))).id);
  });
}

TEST_CASE("fuse_residual_norm, where the gain depends on the sum") {
  check_acyclic(std::array{rules::fuse_residual_norm}, [](builder& b) {
    const expr s = input_of(b, "x", {1, 8}) + input_of(b, "z", {1, 8});
    b.output("y", rms_norm(s, reshape(s, {8}), 1e-6).id);
  });
}

TEST_CASE("fuse_norm_linear, with a norm that has more than 32 readers") {
  check_graph(std::array{rules::fuse_norm_linear}, [](builder& b) {
    const expr n = rms_norm(input_of(b, "x", {1, 3, 8}), weight_of(b, "gain", {8}), 1e-6);
    expr sum = n;
    for (int i = 1; i < 33; ++i) sum = sum + n * leaf(b, op::splat, "factor", {dtype::f32, {1}}, i);
    b.output("y", sum.id);
  });
}

TEST_CASE("hoist_transpose and sink_transpose undo each other") {
  check_graph(rules::run, [](builder& b) {
    const expr y = conv1x1(input_of(b, "x", {1, 4, 1, 3}), weight_of(b, "w", {5, 4, 1, 1}));
    b.output("y", transpose(on_slot(y, 0), {{0, 3, 1, 2}, 4}).id);
  });
}

TEST_CASE("drop_requantize, where the first parameters are those of experts") {
  check_graph(std::array{rules::drop_requantize}, [](builder& b) {
    const expr chosen = input_of(b, "mask", {1, 3, 2}, dtype::i32);
    const expr x = rules::detail::with_slot(fake_quant(input_of(b, "x", {1, 3, 2, 4}), chosen), 0);
    b.output("y", on_slot(reshape(x, {1, 3, 8}), 0).id);
  });
}

TEST_CASE("insert_qdq gives the reshaped rows of experts parameters of their own") {
  const sample_graph g = made_by([](builder& b) {
    const expr chosen = input_of(b, "mask", {1, 3, 2}, dtype::i32);
    const expr w = weight_leaf(b, "w", {dtype::f32, {2, 4, 4}}, role::expert);
    const expr y = expert_linear(input_of(b, "x", {1, 3, 4}), chosen, w);
    b.output("y", y.id);
    b.output("z", reshape(y, {1, 3, 8}).id);
  });
  const quant_spec spec{.activation = coded(dtype::u8), .weight = coded(dtype::i8), .scope = quant_scope::all};
  const auto placed = insert_qdq(g, spec, [](const node& n) { return all_integers::quantizes(n.kind); });
  REQUIRE(placed.value.error.ok());
  const auto slot_of = [&](std::string_view name) {
    for (const graph_output& o : placed.value.outputs)
      if (o.name.view() == name) return placed.slots.starting_at(placed.value[o.id].slot);
    return slot{};
  };
  CHECK(slot_of("y").count == 2);  // rows of reshaped values are of several experts
  CHECK(slot_of("z").count == 1);
  CHECK(slot_of("z").first != slot_of("y").first);
}

TEST_CASE("conv1x1_to_linear, with a kernel that is computed") {
  check_graph(std::array{rules::conv1x1_to_linear}, [](builder& b) {
    const expr x = transpose(input_of(b, "x", {1, 1, 3, 4}), {{0, 3, 1, 2}, 4});
    const expr kernel = weight_of(b, "w", {5, 4, 1, 1}) * weight_of(b, "scale", {5, 1, 1, 1});
    b.output("y", transpose(conv1x1(x, kernel), {{0, 2, 3, 1}, 4}).id);
  });
}

TEST_CASE("linear_to_conv1x1, with a batch") {
  check_graph(std::array{rules::linear_to_conv1x1}, [](builder& b) {
    b.output("y", linear(input_of(b, "x", {2, 3, 4}), weight_of(b, "w", {5, 4})).id);
  });
}

TEST_CASE("linear_to_conv1x1, with operands in f16") {
  check_graph(std::array{rules::linear_to_conv1x1}, [](builder& b) {
    b.output("y", linear(input_of(b, "x", {1, 3, 4}, dtype::f16), weight_of(b, "w", {5, 4})).id);
  });
}

TEST_CASE("decompose_rms_norm and norm_to_lp_norm, in f16") {
  for (const rule& r : {rules::decompose_rms_norm, rules::norm_to_lp_norm})
    check_graph(std::array{r}, [](builder& b) {
      b.output("y", rms_norm(input_of(b, "x", {1, 3, 8}, dtype::f16), weight_of(b, "w", {8}, dtype::f16), 1e-6).id);
    });
}

TEST_CASE("fuse_rms_norm, with an epsilon that is broadcast") {
  check_graph(std::array{rules::fuse_rms_norm}, [](builder& b) {
    const expr x = input_of(b, "x", {1, 3, 8}), epsilon = leaf(b, op::splat, "epsilon", {dtype::f32, {2, 1, 1}}, 0.1);
    b.output("y", (x * rsqrt(mean(x * x) + epsilon) * weight_of(b, "w", {8})).id);
  });
}
