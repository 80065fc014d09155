// SPDX-License-Identifier: Apache-2.0
// Qwen3 dense against transformers' eager implementation: every value of a layer, whole models, decoding.
#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "qwq/exec/trace_graph.hpp"
#include "qwq/model/qwen3.hpp"
#include "qwq/runtime/sampler.hpp"
#include "qwq/runtime/session.hpp"

using namespace qwq;

namespace {

constexpr qwen3_config tied{320, 64, 96, 3, 4, 2, 32, 512, 1e-6, 1e6, true};
constexpr qwen3_config fp16{256, 128, 128, 2, 4, 1, 32, 512, 1e-6, 1e6, true};
constexpr qwen3_config untied{320, 64, 96, 2, 4, 2, 32, 512, 1e-6, 1e6, false};
constexpr qwen3_config tinyqwen{1280, 128, 384, 6, 4, 2, 64, 1024, 1e-6, 1e6, true};

const std::filesystem::path data = QWQ_TEST_DATA;

/// Tensors of a golden file, one row of the batch at a time.
struct golden {
  safetensors_file file;
  explicit golden(const std::filesystem::path& folder) : file(folder / "golden.safetensors") {}

  std::int64_t batch() const { return file.at("base.input_ids").shape[0]; }
  template <class T>
  std::vector<T> integers(const std::string& name, std::int64_t row) const {
    const tensor_info& t = file.at(name);
    const auto n = t.size() / static_cast<std::size_t>(t.shape[0]);
    std::vector<std::int64_t> all(t.size());
    std::memcpy(all.data(), t.data, t.bytes);
    return {all.begin() + row * static_cast<std::ptrdiff_t>(n),
            all.begin() + (row + 1) * static_cast<std::ptrdiff_t>(n)};
  }
  std::vector<float> floats(const std::string& name, std::int64_t row) const {
    const tensor_info& t = file.at(name);
    std::vector<float> all(t.size());
    to_f32(t, all);
    const auto n = static_cast<std::ptrdiff_t>(t.size() / static_cast<std::size_t>(t.shape[0]));
    return {all.begin() + row * n, all.begin() + (row + 1) * n};
  }
};

/// max|a - b| <= 1e-4 * max|b| + 1e-5, the bound that the goldens are published with.
void check_close(std::span<const float> found, std::span<const float> expected, const std::string& what) {
  REQUIRE_MESSAGE(found.size() == expected.size(), what);
  float largest = 0, worst = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    largest = std::max(largest, std::abs(expected[i]));
    const float d = std::abs(found[i] - expected[i]);
    worst = d > worst || std::isnan(d) ? d : worst;
  }
  CHECK_MESSAGE(worst <= 1e-4f * largest + 1e-5f, what << ": max|diff| " << worst << ", max|ref| " << largest);
}

template <class Session>
void check_cache(const Session& s, const golden& g, const std::string& when, std::int64_t row, std::int64_t layers) {
  for (std::int64_t l = 0; l < layers; ++l)
    for (const bool key : {true, false}) {
      const auto view = s.cache(l, key ? "key" : "value");
      std::vector<float> found;
      for (std::int64_t h = 0; h < view.kv_heads; ++h)
        for (std::int64_t i = 0; i < s.position() * view.head_dim; ++i)
          found.push_back(static_cast<float>(view.at(h, 0)[i]));
      const std::string name = "base.kv." + when + "." + std::to_string(l) + (key ? ".key" : ".value");
      check_close(found, g.floats(name, row), name);
    }
}

struct hidden_check final : layer_hook {
  const golden& g;
  std::int64_t row, layers;
  hidden_check(const golden& file, std::int64_t r, std::int64_t n) : g(file), row(r), layers(n) {}
  void hidden_states(std::int64_t layer, matrix_view<const float> x) override {
    check_close({x.data, static_cast<std::size_t>(x.rows * x.cols)},
                g.floats("base.hidden." + std::to_string(layer), row), "hidden." + std::to_string(layer));
  }
  void final_norm(matrix_view<const float> x) override {
    check_close({x.data, static_cast<std::size_t>(x.rows * x.cols)}, g.floats("base.final_norm", row), "final_norm");
  }
};

template <qwen3_config C>
void check_model(const std::filesystem::path& folder) {
  using model = qwen3<C>;
  const checkpoint weights = checkpoint::open(folder);
  const golden g(folder);
  const bound_model<model> bound(weights);
  session<model> s(bound);
  for (std::int64_t row = 0; row < g.batch(); ++row) {
    const auto ids = g.integers<std::int32_t>("base.input_ids", row);
    s.truncate(0);
    hidden_check hidden(g, row, C.num_hidden_layers);
    s.set_hook(&hidden);
    std::vector<float> logits;
    s.prefill(ids, [&](std::int64_t, matrix_view<const float> x) { logits.assign(x.data, x.data + x.rows * x.cols); });
    s.set_hook(static_cast<layer_hook*>(nullptr));
    check_close(logits, g.floats("base.logits", row), "logits");
    check_cache(s, g, "prefill", row, C.num_hidden_layers);

    const auto said = g.integers<std::int32_t>("base.decode.input_ids", row);
    std::span<const float> next = std::span(logits).last(static_cast<std::size_t>(C.vocab_size));
    std::vector<float> decoded;
    for (const std::int32_t expected : said) {
      CHECK(argmax(next) == expected);
      next = s.decode(expected);
      decoded.insert(decoded.end(), next.begin(), next.end());
    }
    check_close(decoded, g.floats("base.decode.logits", row), "decode.logits");
    check_cache(s, g, "final", row, C.num_hidden_layers);
  }
}

/// Left padding only moves positions: the tokens alone give the rows that are not padding.
template <qwen3_config C>
void check_padded(const std::filesystem::path& folder) {
  const checkpoint weights = checkpoint::open(folder);
  const golden g(folder);
  const bound_model<qwen3<C>> bound(weights);
  session<qwen3<C>> s(bound);
  for (std::int64_t row = 0; row < g.batch(); ++row) {
    auto ids = g.integers<std::int32_t>("padded.input_ids", row);
    const auto mask = g.integers<std::int32_t>("padded.attention_mask", row);
    const auto padding = std::count(mask.begin(), mask.end(), 0);
    ids.erase(ids.begin(), ids.begin() + padding);
    s.truncate(0);
    s.prefill(ids, [&](std::int64_t, matrix_view<const float> x) {
      const auto expected = g.floats("padded.logits", row);
      check_close({x.data, static_cast<std::size_t>(x.rows * x.cols)},
                  std::span(expected).subspan(static_cast<std::size_t>(padding * C.vocab_size)), "padded.logits");
    });
  }
}

/// [S, heads, D] -> [heads, S, D]
std::vector<float> heads_first(std::span<const float> x, std::int64_t rows, std::int64_t heads) {
  const std::int64_t d = static_cast<std::int64_t>(x.size()) / rows / heads;
  std::vector<float> y;
  for (std::int64_t h = 0; h < heads; ++h)
    for (std::int64_t i = 0; i < rows; ++i)
      for (std::int64_t j = 0; j < d; ++j) y.push_back(x[static_cast<std::size_t>((i * heads + h) * d + j)]);
  return y;
}

/// Softmax of the causal scores of q and k, both [heads, S, D].
std::vector<float> attention_weights(const std::vector<float>& q, const std::vector<float>& k, std::int64_t rows,
                                     std::int64_t heads, std::int64_t kv_heads) {
  const std::int64_t d = static_cast<std::int64_t>(q.size()) / heads / rows;
  std::vector<float> weights;
  for (std::int64_t h = 0; h < heads; ++h)
    for (std::int64_t i = 0; i < rows; ++i) {
      std::vector<double> score(static_cast<std::size_t>(rows));
      double total = 0;
      for (std::int64_t j = 0; j <= i; ++j) {
        double dot = 0;
        for (std::int64_t e = 0; e < d; ++e)
          dot += static_cast<double>(q[static_cast<std::size_t>((h * rows + i) * d + e)]) *
                 static_cast<double>(k[static_cast<std::size_t>((h * kv_heads / heads * rows + j) * d + e)]);
        total += score[static_cast<std::size_t>(j)] = std::exp(dot / std::sqrt(static_cast<double>(d)));
      }
      for (const double s : score) weights.push_back(static_cast<float>(s / total));
    }
  return weights;
}

/// Every value of layer 0 on the goldens' inputs, also those that fusions leave out.
template <qwen3_config C>
void check_layer(const std::filesystem::path& folder) {
  using target = disable_fusions<native<>, "fuse_qk_norm_rope", "fuse_gate_up", "fuse_residual", "fuse_norm_linear",
                                 "fuse_residual_norm">;
  using layer = typename program<qwen3<C>, target, f32, prefill_rows>::template first<stage::layers>::executed;
  const checkpoint weights = checkpoint::open(folder);
  const golden g(folder);
  const bound_model<qwen3<C>, target> bound(weights);
  for (std::int64_t batch_row = 0; batch_row < g.batch(); ++batch_row) {
    std::vector<float> hidden = g.floats("base.hidden.0", batch_row);
    const std::int64_t rows = g.file.at("base.hidden.0").shape[1];
    const auto cache = static_cast<std::size_t>(C.num_key_value_heads * rows * C.head_dim);
    std::vector<float> key(cache), value(cache);
    std::vector<std::byte> arena(planned<layer>::layout.arena_bytes);
    inline_executor threads;
    auto last_position = static_cast<std::int32_t>(rows - 1);
    void* inputs[] = {hidden.data(), &last_position};
    const state_view states[] = {{key.data(), nullptr}, {value.data(), nullptr}};
    const std::int64_t extents[] = {rows, rows};  // of the sequence and of the cache
    execution_context f;
    f.threads = &threads;
    f.arena = arena.data();
    f.extents = extents;
    f.parameters = bound.template constants<typename decltype(bound)::prefill>()[1].data();  // after the embedding
    f.inputs = inputs;
    f.states = states;

    std::vector<float> rotated_q;
    std::size_t checked = 0;
    const auto check = [&](std::span<const float> found, const std::string& name) {
      check_close(found, g.floats("base.layer0." + name, batch_row), name);
      ++checked;
    };
    trace_graph<layer>(f, [&](node_id id, std::span<const float> x) {
      const node& n = layer::value[id];
      std::string module(n.name.view());
      module.erase(0, module.find('.') + 1);  // goldens name modules without "self_attn." and "mlp."
      switch (n.kind) {
        case op::rms_norm:
        case op::linear:
          return check(x, module);
        case op::swiglu:
          return check(x, "down_proj_in");
        case op::attention:
          check(x, "attn_out");
          return check(x, "o_proj_in");
        case op::add:
          if (module == "attn_residual") check(x, module);
          return;
        case op::rope:
          if (x.size() == static_cast<std::size_t>(rows * C.num_attention_heads * C.head_dim))
            check(rotated_q = heads_first(x, rows, C.num_attention_heads), "q_rope");
          else
            check(heads_first(x, rows, C.num_key_value_heads), "k_rope");
          return;
        default:
          return;
      }
    });
    check(attention_weights(rotated_q, key, rows, C.num_attention_heads, C.num_key_value_heads), "attn_weights");
    CHECK(checked == 18);  // all of the goldens' values
  }
}

template <qwen3_config C>
constexpr std::int64_t count = parameter_count<qwen3<C>>();
static_assert(count<configs::qwen3_0_6b> == 596'049'920);
static_assert(count<configs::qwen3_1_7b> == 1'720'574'976);
static_assert(count<configs::qwen3_4b> == 4'022'468'096);
static_assert(count<configs::qwen3_8b> == 8'190'735'360);
static_assert(count<configs::qwen3_14b> == 14'768'307'200);
static_assert(count<configs::qwen3_32b> == 32'762'123'264);
static_assert(count<tinyqwen> == 1'640'832);

}  // namespace

TEST_CASE("layer 0 computes what transformers computes, value by value") {
  check_layer<tied>(data / "arch/qwen3-dense-tied");
  check_layer<fp16>(data / "arch/qwen3-dense-fp16");
  check_layer<untied>(data / "arch/qwen3-dense-untied-bf16-sharded");
  check_layer<tinyqwen>(data / "tinyqwen");
}

TEST_CASE("whole models agree with transformers: hidden states, logits, cache, eight decoded tokens") {
  check_model<tied>(data / "arch/qwen3-dense-tied");
  check_model<fp16>(data / "arch/qwen3-dense-fp16");
  check_model<untied>(data / "arch/qwen3-dense-untied-bf16-sharded");
  check_model<tinyqwen>(data / "tinyqwen");
  check_model<tinyqwen>(data / "tinyqwen-outlier");
}

TEST_CASE("rows of a left-padded batch are the rows of the tokens alone") {
  check_padded<tied>(data / "arch/qwen3-dense-tied");
  check_padded<fp16>(data / "arch/qwen3-dense-fp16");
  check_padded<untied>(data / "arch/qwen3-dense-untied-bf16-sharded");
}
