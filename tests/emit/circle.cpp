// SPDX-License-Identifier: Apache-2.0
// Targets circle, circle_qdq and tflite: what stands in the files that they write.
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "../io/scratch.hpp"
#include "circle_reader.hpp"
#include <qwq/emit/circle/circle_files.hpp>
#include <qwq/model/qwen3.hpp>

using namespace qwq;

namespace {

constexpr qwen3_config tiny{64, 32, 48, 2, 4, 2, 16, 128, 1e-6, 1e6, true};
using model = qwen3<tiny>;
constexpr circle_options shapes{.prompt = 8, .length = 24};

// Codes of the operators that are counted below.
namespace code {
enum : int {
  rms_norm = -6,
  concatenation = 2,
  dequantize = 6,
  fully_connected = 9,
  mul = 18,
  softmax = 25,
  gather = 36,
  slice = 65,
  rsqrt = 76,
  quantize = 114,
  batch_matmul = 126,
};
}  // namespace code

struct i16_i8 {
  static constexpr std::string_view name = "i16_i8";
  static constexpr placement types{dtype::i16, dtype::i8, extent::all};
  using weight_format = int_format<dtype::i8, true>;
  using activation_format = int_format<dtype::i16, true>;
};
struct u8_u4 {
  static constexpr std::string_view name = "u8_u4";
  static constexpr placement types{dtype::u8, dtype::u4, extent::all};
  using weight_format = int_format<dtype::u4, false>;
  using activation_format = int_format<dtype::u8, false>;
};

/// The random checkpoint of tests/data/ort_quant.
struct tiny_checkpoint {
  scratch dir;
  tiny_checkpoint() {
    const std::string data = QWQ_TEST_DATA "/ort_quant/";
    std::filesystem::copy_file(data + "tiny_qwen3.safetensors", dir / "model.safetensors");
    std::filesystem::copy_file(data + "tiny_qwen3_config.json", dir / "config.json");
  }
};

/// Parameters of no meaning: one scale for all slots of a part.
template <class Target, class Scheme, std::int64_t Rows>
activation_params made_up(float first_layer, float others) {
  using p = program<model, Target, Scheme, Rows>;
  activation_params out;
  p::for_each_part([&]<class Part>(std::type_identity<Part>, std::size_t i) {
    out.emplace_back();
    for (const slot& s : Part::slots)
      out.back().push_back({p::parts[i].layer == 0 ? first_layer : others, is_signed(s.type) ? 0 : 100,
                            kernel::full_range(s.type)});
  });
  return out;
}

/// A written folder.
template <class Target, class Scheme>
struct folder {
  tiny_checkpoint source;
  checkpoint weights = checkpoint::open(source.dir.folder());
  scratch out;
  std::ostringstream said;
  std::vector<written_file> files;
  std::map<std::string, mapped_file> maps;
  std::map<std::string, circle_reader::model> models;

  explicit folder(granularity shared = granularity::row, float first_layer = 0.01f) {
    calibration_result tuned;
    if (Scheme::types.quantizes())
      tuned = {made_up<Target, Scheme, Target::options.prompt>(first_layer, 0.01f),
               made_up<Target, Scheme, 1>(first_layer, 0.01f)};
    emit_options options;
    options.weights = shared;
    options.notes = &said;
    files = emit<model, Target, Scheme>(weights, Scheme::types.quantizes() ? &tuned : nullptr, options, out.folder());
    for (const written_file& f : files) {
      CHECK(std::filesystem::file_size(out / f.name) == f.bytes);
      if (f.name.ends_with(".json")) continue;
      const auto at = maps.emplace(f.name.substr(0, f.name.find('.')), out / f.name).first;
      models[at->first] = circle_reader::read(at->second.bytes());
    }
  }

  const circle_reader::subgraph& graph(const std::string& file, std::size_t i = 0) {
    return models.at(file).subgraphs.at(i);
  }
};

template <class Target, class Scheme>
std::vector<float> floats(folder<Target, Scheme>& f, const std::string& file, const std::string& name) {
  const auto* t = f.graph(file).find(name);
  REQUIRE(t != nullptr);
  const std::string_view bytes = f.models.at(file).bytes_of(*t);
  std::vector<float> x(bytes.size() / 4);
  std::memcpy(x.data(), bytes.data(), bytes.size());
  return x;
}

/// Reads every file of a folder with flatc and the schema.
template <class Target, class Scheme>
void read_with_flatc(folder<Target, Scheme>& f) {
  for (const written_file& file : f.files) {
    if (file.name.ends_with(".json")) continue;
    CAPTURE(file.name);
    const std::string command = "cd '" + f.source.dir.folder().string() +
                                "' && flatc --json --strict-json --raw-binary '" + QWQ_TEST_DATA +
                                "/../../include/qwq/emit/circle/circle.fbs' -- '" + (f.out / file.name).string() + "'";
    CHECK(std::system(command.c_str()) == 0);
  }
}

using ints = std::vector<std::int32_t>;

}  // namespace

TEST_CASE("circle: float stages have TICO's files, interfaces and operators") {
  folder<circle<shapes>, f32> f;
  std::set<std::string> names;
  for (const auto& [name, m] : f.models) {
    names.insert(name);
    CHECK(m.identifier == "CIR0");
    CHECK(m.version == 0);
  }
  CHECK(names == std::set<std::string>{"token_embedding", "decoder_layer_prefill_0", "decoder_layer_prefill_1",
                                       "decoder_layer_decode_0", "decoder_layer_decode_1", "lm_head", "model"});
  CHECK(f.files[0].name == "token_embedding.f32.circle");
  CHECK(f.files.size() == f.out.count());
  CHECK(f.said.str().empty());
  read_with_flatc(f);

  const auto interface = [&](const std::string& file, std::size_t at = 0) {
    const auto& m = f.models.at(file);
    std::map<std::string, ints> found;
    for (const auto* side : {&m.signatures.at(at).inputs, &m.signatures.at(at).outputs})
      for (const auto& [name, tensor] : *side)
        found[(side == &m.signatures[at].inputs ? "" : ">") + name] = m.subgraphs.at(at).tensors.at(tensor).shape;
    return found;
  };
  using expected = std::map<std::string, ints>;
  CHECK(interface("decoder_layer_prefill_1") == expected{{"hidden_states", {1, 8, 32}},
                                                         {"attention_mask", {1, 1, 8, 8}},
                                                         {"cos", {1, 8, 16}},
                                                         {"sin", {1, 8, 16}},
                                                         {">hidden_states", {1, 8, 32}},
                                                         {">new_key", {1, 2, 8, 16}},
                                                         {">new_value", {1, 2, 8, 16}}});
  CHECK(interface("decoder_layer_decode_0") == expected{{"hidden_states", {1, 1, 32}},
                                                        {"attention_mask", {1, 1, 1, 24}},
                                                        {"cos", {1, 1, 16}},
                                                        {"sin", {1, 1, 16}},
                                                        {"past_key", {1, 2, 23, 16}},
                                                        {"past_value", {1, 2, 23, 16}},
                                                        {">hidden_states", {1, 1, 32}},
                                                        {">new_key", {1, 2, 1, 16}},
                                                        {">new_value", {1, 2, 1, 16}}});
  CHECK(interface("token_embedding") == expected{{"input_ids", {1, 1}}, {">hidden_states", {1, 1, 32}}});
  CHECK(f.graph("token_embedding").tensors[static_cast<std::size_t>(f.graph("token_embedding").inputs[0])].signature ==
        ints{1, -1});
  CHECK(interface("lm_head") == expected{{"hidden_states", {1, 1, 32}}, {">logits", {1, 1, 64}}});
  CHECK(f.models.at("model").signatures[0].key == "prefill");
  CHECK(f.models.at("model").signatures[1].key == "decode");
  CHECK(interface("model").at(">logits") == ints{1, 8, 64});
  CHECK(interface("model", 1).at("past_value_1") == ints{1, 2, 23, 16});
  CHECK(interface("model", 1).at(">new_key_0") == ints{1, 2, 1, 16});

  const auto& layer = f.graph("decoder_layer_prefill_0");
  CHECK(layer.count(code::fully_connected) == 7);
  CHECK(layer.count(code::batch_matmul) == 2);
  CHECK(layer.count(code::softmax) == 1);
  CHECK(layer.count(code::rsqrt) == 4);
  CHECK(layer.count(code::rms_norm) == 0);
  CHECK(layer.count(code::concatenation) == 2);
  CHECK(f.graph("decoder_layer_decode_0").count(code::concatenation) == 4);
  for (const auto& n : layer.nodes)
    if (n.code == code::fully_connected) CHECK(n.inputs[2] == -1);
  CHECK(f.graph("token_embedding").nodes.size() == 1);
  CHECK(f.graph("token_embedding").count(code::gather) == 1);
}

TEST_CASE("circle: constants are the checkpoint's; attention's scale is in a copy of k_norm") {
  folder<circle<shapes>, f32> f;
  const auto same = [&](const std::string& file, const std::string& name, float factor) {
    const tensor_info& t = f.weights.at(name);
    std::vector<float> expected(t.size());
    to_f32(t, expected);
    for (float& x : expected) x *= factor;
    CHECK(floats(f, file, name) == expected);
  };
  for (const char* file : {"decoder_layer_prefill_1", "decoder_layer_decode_1"}) {
    const std::string layer = "model.layers.1.";
    same(file, layer + "mlp.up_proj.weight", 1);
    same(file, layer + "self_attn.q_norm.weight", 1);
    same(file, layer + "self_attn.k_norm.weight", 0.25f);  // 1 / sqrt(16)
  }
  same("token_embedding", "model.embed_tokens.weight", 1);
  same("lm_head", "model.embed_tokens.weight", 1);

  // In the whole model a tied table is one tensor, and both subgraphs read the same buffers.
  const auto& m = f.models.at("model");
  for (const auto& g : m.subgraphs) {
    int tables = 0;
    for (const auto& t : g.tensors) tables += t.name.starts_with("model.embed_tokens.weight");
    CHECK(tables == 1);
    for (const auto& t : g.tensors)
      if (t.name.ends_with(".weight")) CHECK(t.buffer == m.subgraphs[0].find(t.name)->buffer);
  }
  std::size_t bytes = 0;
  for (const auto& b : m.buffers) bytes += b.data.size();
  const std::size_t parameters = 64 * 32 + 2 * ((64 + 32 + 32) * 32 + 32 * 64 + 3 * 48 * 32 + 2 * 32 + 2 * 16) + 32;
  CHECK(bytes > 4 * parameters);
  CHECK(bytes < 4 * parameters + 1024);  // shapes and epsilons
}

TEST_CASE("circle: norms can stay one operator, and attention be written head by head") {
  constexpr circle_options fused{.prompt = 8, .length = 24, .per_head = true, .fused_norm = true};
  folder<circle<fused>, f32> f;
  for (const char* file : {"decoder_layer_prefill_0", "decoder_layer_decode_0"}) {
    const auto& g = f.graph(file);
    CHECK(g.count(code::rms_norm) == 4);
    CHECK(g.count(code::rsqrt) == 0);
    CHECK(g.count(code::batch_matmul) == 2 * 4);
    CHECK(g.count(code::softmax) == 4);
    CHECK(g.count(code::slice) == 4 + 4 + 2 * 2);  // halves for RoPE, heads of the query, of keys and of values
    for (const auto& n : g.nodes) {
      if (n.code == code::rms_norm) {
        CHECK(n.options.scalar<float>(0) == 1e-6f);
        CHECK(n.inputs.size() == 2);
      }
      if (n.code == code::batch_matmul)
        for (const std::int32_t i : n.inputs) CHECK(g.tensors[static_cast<std::size_t>(i)].shape[1] == 1);
    }
  }
}

TEST_CASE("circle: heads that are written one by one have parameters too") {
  constexpr circle_options per_head{.prompt = 8, .length = 24, .per_head = true};
  folder<circle<per_head>, i16_i8> f;
  CHECK(f.said.str() == "[QuantCheck] 0 nodes without qparam detected.\n");
  const auto& g = f.graph("decoder_layer_decode_1");
  CHECK(g.count(code::batch_matmul) == 2 * 4);
  CHECK(g.count(code::quantize) == 0);
}

TEST_CASE("tflite: quantized values go through QUANTIZE and DEQUANTIZE, weights have a scale for each row") {
  folder<tflite<shapes>, i16_i8> f;
  CHECK(f.said.str().empty());
  CHECK(f.files[0].name == "token_embedding.q.tflite");
  for (const auto& [name, m] : f.models) {
    CAPTURE(name);
    CHECK(m.identifier == "TFL3");
    CHECK(m.version == 3);
    for (const auto& g : m.subgraphs) {
      CHECK(g.count(code::quantize) > 0);
      std::set<std::int32_t> quantized, floating;
      for (const auto& n : g.nodes) {
        auto& made = n.code == code::quantize ? quantized : floating;
        made.insert(n.outputs.begin(), n.outputs.end());
        if (n.code == code::dequantize)
          CHECK(g.tensors[static_cast<std::size_t>(n.inputs[0])].scales.size() > 0);
        else if (n.code != code::quantize)  // every operator works on floats that were dequantized
          for (const std::int32_t i : n.inputs)
            if (i >= 0 && g.tensors[static_cast<std::size_t>(i)].type != 2)  // of indices
              CHECK(g.tensors[static_cast<std::size_t>(i)].type == 0);
      }
      for (const std::int32_t t : quantized) CHECK(g.tensors[static_cast<std::size_t>(t)].type == 7);
      for (const std::int32_t t : floating) CHECK(g.tensors[static_cast<std::size_t>(t)].type == 0);
    }
  }
  const auto* w = f.graph("decoder_layer_prefill_1").find("model.layers.1.mlp.up_proj.weight");
  REQUIRE(w != nullptr);
  CHECK(w->type == 9);
  CHECK(w->scales.size() == 48);
  CHECK(w->zero_points == std::vector<std::int64_t>(48));
  CHECK(w->axis == 0);

  // The codes are those of the session: rounded to the nearest, ties to even.
  const tensor_info& t = f.weights.at("model.layers.1.mlp.up_proj.weight");
  std::vector<float> x(t.size());
  to_f32(t, x);
  const std::string_view codes = f.models.at("decoder_layer_prefill_1").bytes_of(*w);
  bool same = codes.size() == x.size();
  for (std::size_t i = 0; same && i < x.size(); ++i)
    same = static_cast<signed char>(codes[i]) == static_cast<int>(std::nearbyint(x[i] / w->scales[i / 32]));
  CHECK(same);
}

TEST_CASE("circle: the integer form has parameters on every value, and QUANTIZE only where they change") {
  folder<circle<shapes>, i16_i8> same(granularity::row, 0.01f), other(granularity::row, 0.02f);
  CHECK(same.said.str() == "[QuantCheck] 0 nodes without qparam detected.\n");
  CHECK(same.files[0].name == "token_embedding.q.circle");
  for (auto* f : {&same, &other})
    for (const auto& [name, m] : f->models) {
      CAPTURE(name);
      for (const auto& g : m.subgraphs) {
        CHECK(g.count(code::dequantize) == 0);
        for (const auto& t : g.tensors) {
          CAPTURE(t.name);
          if (t.type == 2) continue;  // ids, shapes and axes
          CHECK((t.type == 7 || t.type == 9));
          CHECK(t.scales.size() > 0);
        }
      }
    }
  read_with_flatc(same);
  // Constants have scales of their own and every slot the same: nothing has to be converted.
  CHECK(same.graph("model").count(code::quantize) == 0);
  CHECK(same.graph("decoder_layer_prefill_0").nodes.size() ==
        folder<circle<shapes>, f32>().graph("decoder_layer_prefill_0").nodes.size());
  // The first layer has other parameters: what goes into it, and what comes out of it, is converted.
  CHECK(other.graph("decoder_layer_prefill_0").count(code::quantize) == 0);
  CHECK(other.graph("model").count(code::quantize) >= 2);
  const auto& embedding = same.graph("token_embedding");
  CHECK(embedding.nodes.at(0).code == code::gather);
  CHECK(embedding.tensors[static_cast<std::size_t>(embedding.inputs[0])].type == 2);
  CHECK(embedding.tensors[static_cast<std::size_t>(embedding.outputs[0])].type == 7);
}

TEST_CASE("circle: uint4 weights are packed low nibble first, under the number that each reader has for them") {
  folder<circle<shapes>, u8_u4> f;
  const std::string name = "model.layers.0.self_attn.k_proj.weight";
  const auto* w = f.graph("decoder_layer_decode_0").find(name);
  REQUIRE(w != nullptr);
  CHECK(w->type == -1);
  CHECK(w->shape == ints{32, 32});
  CHECK(w->scales.size() == 32);
  const std::string_view bytes = f.models.at("decoder_layer_decode_0").bytes_of(*w);
  CHECK(bytes.size() == 32 * 32 / 2);
  const tensor_info& t = f.weights.at(name);
  std::vector<float> x(t.size());
  to_f32(t, x);
  bool close = true;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const int code = static_cast<unsigned char>(bytes[i / 2]) >> (i % 2 == 0 ? 0 : 4) & 15;
    const std::size_t row = i / 32;
    const float read = w->scales[row] * static_cast<float>(code - static_cast<int>(w->zero_points[row]));
    close = close && std::abs(read - x[i]) <= w->scales[row] * 0.51f;
  }
  CHECK(close);
  folder<tflite<shapes>, u8_u4> twin;
  CHECK(twin.graph("decoder_layer_decode_0").find(name)->type == 20);
}

TEST_CASE("circle: after an error the folder is as it was") {
  const tiny_checkpoint source;
  static constexpr qwen3_config three{64, 32, 48, 3, 4, 2, 16, 128, 1e-6, 1e6, true};
  const auto weights = checkpoint::open(source.dir.folder());
  const scratch out;
  CHECK(complaint([&] {
          emit<qwen3<three>, circle<shapes>, f32>(weights, nullptr, {}, out / "new");
        }).find(": missing, looked for ") != std::string::npos);
  CHECK(out.count() == 0);
  CHECK(complaint([&] { emit<model, circle<shapes>, i16_i8>(weights, nullptr, {}, out / "new"); }) ==
        "emit: expected calibrated parameters for slot 'embed_tokens/embedding', found none");
  CHECK(out.count() == 0);
}
