// SPDX-License-Identifier: Apache-2.0
// A model that the library does not know, on random weights: it runs, goes back to a mark, is calibrated expert by
// expert, quantized, and written as ONNX with its states as inputs and outputs.
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <random>
#include <vector>

#include <qwq/io/safetensors_writer.hpp>
#include <qwq/runtime/calibrate.hpp>

#include "export_hybrid_config.hpp"
#include "files.hpp"
#include "kernels.hpp"

// The model of hybrid.json, as qwq_add_exporter has read it.
using model = exported::model;
constexpr auto& sizes = exported::config;

// Weights as a checkpoint stores them: the matrices of all experts in one tensor, gate and up above each other.
using tensors = std::map<std::string, std::pair<std::vector<std::int64_t>, std::vector<float>>>;
tensors random_weights() {
  tensors all;
  std::mt19937 random(1);
  const auto add = [&](const std::string& name, std::vector<std::int64_t> shape, double scale) {
    std::size_t count = 1;
    for (const std::int64_t n : shape) count *= static_cast<std::size_t>(n);
    std::normal_distribution<float> normal(0, static_cast<float>(scale));
    std::vector<float> x(count);
    for (float& v : x) v = normal(random);
    all[name] = {std::move(shape), std::move(x)};
  };
  constexpr auto& c = sizes;
  constexpr std::int64_t H = c.hidden_size, q = c.num_attention_heads * c.head_dim,
                         k = c.num_key_value_heads * c.head_dim;
  add("model.embed_tokens.weight", {c.vocab_size, H}, 1);
  for (std::int64_t i = 0; i < c.num_hidden_layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    for (const char* norm : {"input_layernorm.weight", "post_attention_layernorm.weight"}) add(layer + norm, {H}, 0.1);
    if (i % 2 == 0) {
      for (const char* name : {"decay_proj", "in_proj", "out_proj"})
        add(layer + "recurrence." + name + ".weight", {H, H}, 0.12);
    } else {
      add(layer + "self_attn.q_proj.weight", {q, H}, 0.15);
      add(layer + "self_attn.k_proj.weight", {k, H}, 0.15);
      add(layer + "self_attn.v_proj.weight", {k, H}, 0.12);
      add(layer + "self_attn.o_proj.weight", {H, q}, 0.1);
    }
    add(layer + "mlp.gate.weight", {c.num_experts, H}, 0.3);
    add(layer + "mlp.experts.gate_up_proj", {c.num_experts, 2 * c.moe_intermediate_size, H}, 0.15);
    add(layer + "mlp.experts.down_proj", {c.num_experts, H, c.moe_intermediate_size}, 0.3);
  }
  add("model.norm.weight", {H}, 0.1);
  add("lm_head.weight", {c.vocab_size, H}, 0.2);
  return all;
}

template <class T>
void write_tensors(const std::filesystem::path& file,
                   const std::map<std::string, std::pair<std::vector<std::int64_t>, std::vector<T>>>& all) {
  qwq::safetensors_writer out(file);
  for (const auto& [name, t] : all) out.declare(name, qwq::dtype_of<T>, t.first);
  for (const auto& [name, t] : all) out.write(name, std::as_bytes(std::span(t.second)));
  out.commit();
}

// The same model as a plain loop in double: logits after the last of some tokens.
std::vector<double> plain_loop(const tensors& w, const std::vector<std::int32_t>& ids) {
  constexpr auto& c = sizes;
  using vec = std::vector<double>;
  const auto at = [&](const std::string& name) -> const std::vector<float>& { return w.at(name).second; };
  const auto product = [&](const std::string& name, const vec& x, std::size_t first_row, std::size_t rows) {
    const auto& m = at(name);
    vec y(rows);
    for (std::size_t i = 0; i < rows; ++i)
      for (std::size_t j = 0; j < x.size(); ++j) y[i] += static_cast<double>(m[(first_row + i) * x.size() + j]) * x[j];
    return y;
  };
  const auto all_rows = [&](const std::string& name, const vec& x) {
    return product(name, x, 0, at(name).size() / x.size());
  };
  const auto norm = [&](const std::string& name, vec x) {
    double squares = 0;
    for (const double v : x) squares += v * v;
    const double scale = 1 / std::sqrt(squares / static_cast<double>(x.size()) + c.rms_norm_eps);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] *= scale * (1 + static_cast<double>(at(name)[i]));
    return x;
  };
  const auto sigmoid = [](double x) { return 1 / (1 + std::exp(-x)); };
  constexpr std::size_t D = c.head_dim, half = c.rotary_dim / 2, E = c.num_experts, I = c.moe_intermediate_size,
                        H = c.hidden_size;
  std::map<std::int64_t, vec> recurrent;
  std::map<std::int64_t, std::vector<vec>> keys, values;
  vec h;
  for (std::size_t position = 0; position < ids.size(); ++position) {
    h.assign(at("model.embed_tokens.weight").begin() + ids[position] * c.hidden_size,
             at("model.embed_tokens.weight").begin() + (ids[position] + 1) * c.hidden_size);
    for (std::int64_t i = 0; i < c.num_hidden_layers; ++i) {
      const std::string layer = "model.layers." + std::to_string(i) + ".";
      const vec x = norm(layer + "input_layernorm.weight", h);
      vec mixed;
      if (i % 2 == 0) {
        vec& state = recurrent[i];
        state.resize(H);
        const vec decay = all_rows(layer + "recurrence.decay_proj.weight", x),
                  u = all_rows(layer + "recurrence.in_proj.weight", x);
        for (std::size_t j = 0; j < H; ++j) state[j] = sigmoid(decay[j]) * state[j] + u[j];
        mixed = all_rows(layer + "recurrence.out_proj.weight", state);
      } else {
        const auto turn = [&](vec y) {
          for (std::size_t head = 0; head < y.size() / D; ++head)
            for (std::size_t j = 0; j < half; ++j) {
              const double angle =
                  static_cast<double>(position) * std::pow(c.rope_theta, -static_cast<double>(2 * j) / c.rotary_dim);
              double &a = y[head * D + j], &b = y[head * D + half + j];
              const double turned = a * std::cos(angle) - b * std::sin(angle);
              b = b * std::cos(angle) + a * std::sin(angle);
              a = turned;
            }
          return y;
        };
        const vec q = turn(all_rows(layer + "self_attn.q_proj.weight", x));
        keys[i].push_back(turn(all_rows(layer + "self_attn.k_proj.weight", x)));
        values[i].push_back(all_rows(layer + "self_attn.v_proj.weight", x));
        vec out(q.size());
        for (std::size_t head = 0; head < q.size() / D; ++head) {
          const std::size_t kv = head * c.num_key_value_heads / c.num_attention_heads * D;
          vec score(position + 1);
          double total = 0;
          for (std::size_t t = 0; t <= position; ++t) {
            for (std::size_t d = 0; d < D; ++d) score[t] += q[head * D + d] * keys[i][t][kv + d];
            total += score[t] = std::exp(score[t] / std::sqrt(static_cast<double>(D)));
          }
          for (std::size_t t = 0; t <= position; ++t)
            for (std::size_t d = 0; d < D; ++d) out[head * D + d] += score[t] / total * values[i][t][kv + d];
        }
        mixed = all_rows(layer + "self_attn.o_proj.weight", out);
      }
      for (std::size_t j = 0; j < H; ++j) h[j] += mixed[j];
      const vec y = norm(layer + "post_attention_layernorm.weight", h);
      vec p = all_rows(layer + "mlp.gate.weight", y);
      double total = 0;
      for (double& v : p) total += v = std::exp(v);
      std::vector<std::size_t> order(E);
      for (std::size_t e = 0; e < E; ++e) order[e] = e;
      std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return p[a] > p[b]; });
      for (std::size_t n = 0; n < static_cast<std::size_t>(c.num_experts_per_tok); ++n) {
        const std::size_t e = order[n];
        const vec gate = product(layer + "mlp.experts.gate_up_proj", y, 2 * e * I, I),
                  up = product(layer + "mlp.experts.gate_up_proj", y, (2 * e + 1) * I, I);
        vec inner(I);
        for (std::size_t j = 0; j < I; ++j) inner[j] = gate[j] * sigmoid(gate[j]) * up[j];
        const vec down = product(layer + "mlp.experts.down_proj", inner, e * H, H);
        for (std::size_t j = 0; j < H; ++j) h[j] += p[e] / total * down[j];
      }
    }
  }
  return all_rows("lm_head.weight", norm("model.norm.weight", h));
}

std::vector<std::int32_t> some_text(std::size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::int32_t> ids(count);
  for (std::int32_t& id : ids) id = static_cast<std::int32_t>(random() % sizes.vocab_size);
  return ids;
}

// Writes the model for a target, and beside it what a session of that target computes: logits of a prompt, and of the
// tokens after it.
template <class Target, class Scheme>
void write(const qwq::checkpoint& weights, const std::filesystem::path& out, const std::vector<std::int32_t>& ids,
           const qwq::calibration_result* tuned = nullptr) {
  const qwq::bound_model<model, Target, Scheme> bound(weights);
  qwq::session<model, Target, Scheme> session(bound, tuned);
  constexpr std::size_t prompt = 70;
  std::vector<float> logits;
  session.prefill(std::span(ids).first(prompt), [&](std::int64_t, qwq::matrix_view<const float> rows) {
    logits.insert(logits.end(), rows.data, rows.data + rows.rows * rows.cols);
  });
  for (std::size_t i = prompt; i < ids.size(); ++i) {
    const auto next = session.decode(ids[i]);
    logits.insert(logits.end(), next.begin(), next.end());
  }
  const auto count = static_cast<std::int64_t>(ids.size());
  qwq::emit<model, Target, Scheme>(weights, tuned, {.accuracy_level = 0}, out);
  write_tensors<float>(out / "session.safetensors", {{"logits", {{1, count, sizes.vocab_size}, logits}}});
  write_tensors<std::int32_t>(out / "tokens.safetensors",
                              {{"ids", {{count}, ids}}, {"prompt", {{1}, {static_cast<std::int32_t>(prompt)}}}});
}

int main(int argc, char** argv) try {
  if (argc != 2) return std::cerr << "usage: new_model OUT\n", 2;
  const std::filesystem::path out = argv[1], folder = out / "checkpoint";
  std::filesystem::create_directories(folder);
  const tensors stored = random_weights();
  write_tensors<float>(folder / "model.safetensors", stored);
  std::ofstream(folder / "config.json") << exported::config_json::text;
  const auto weights = qwq::checkpoint::open(folder);
  std::cout << qwq::parameter_count<model>() << " parameters\n";

  // It computes what the plain loop computes, in chunks and token by token.
  const auto ids = some_text(76, 7);
  const qwq::bound_model<model> bound(weights);
  qwq::session<model> session(bound);
  const auto check = [&](const char* what, std::span<const float> found, std::size_t tokens) {
    const std::vector<double> expected =
        plain_loop(stored, {ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(tokens)});
    double worst = 0, largest = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      worst = std::max(worst, std::abs(expected[i] - static_cast<double>(found[i])));
      largest = std::max(largest, std::abs(expected[i]));
    }
    const bool close = worst <= 1e-5 * largest;
    std::cout << what << (close ? ": the plain loop's logits\n" : ": other logits than the plain loop's\n");
    if (!close) std::cerr << "largest difference " << worst << " of " << largest << '\n';
    return close;
  };
  bool right = check("70 tokens in chunks", session.prefill(std::span(ids).first(70)), 70);
  right &= check("one token more", session.decode(ids[70]), 71);

  // A recurrence cannot be truncated, but it can go back to a mark.
  const auto decode_three = [&] {
    std::vector<float> all;
    for (std::size_t i = 71; i < 74; ++i) {
      const auto logits = session.decode(ids[i]);
      all.insert(all.end(), logits.begin(), logits.end());
    }
    return all;
  };
  session.mark();
  const auto once = decode_three();
  session.rewind();
  const bool same = decode_three() == once;
  std::cout << "back to the mark and on: " << (same ? "the same logits\n" : "other logits\n");

  // Ranges of activations, expert by expert.
  std::vector<qwq::token_sequence> texts;
  for (unsigned i = 0; i < 4; ++i) texts.push_back({some_text(60, 100 + i), 30});
  const auto tuned =
      qwq::calibrate<model, hybrid_standard, qwq::w8a16>(weights, texts, {.decode_steps = 4}, [](std::size_t) {});
  using layer = qwq::program<model, hybrid_standard, qwq::w8a16, 1>::first<qwq::stage::layers>;
  for (const qwq::slot& s : layer::slots) {
    if (s.count == 1) continue;
    std::cout << s.name.view() << ": steps of";
    for (std::int32_t e = 0; e < s.count; ++e)
      std::printf(" %.2g", static_cast<double>(tuned.prefill[1][static_cast<std::size_t>(s.first + e)].scale));
    std::cout << '\n' << std::flush;
  }

  write<hybrid_standard, qwq::f32>(weights, out / "standard-f32", ids);
  write<hybrid_standard, qwq::w8a16>(weights, out / "standard-w8a16", ids, &tuned);
  write<hybrid_standard, qwq::w4_g32>(weights, out / "standard-w4_g32", ids);
  write<hybrid_genai, qwq::f32>(weights, out / "genai-f32", ids);
  write<hybrid_genai, qwq::w4_g32>(weights, out / "genai-w4_g32", ids);
  return right && same ? 0 : 1;
} catch (const qwq::error& problem) {
  return std::cerr << problem.what() << '\n', 1;
}
