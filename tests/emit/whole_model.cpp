// SPDX-License-Identifier: Apache-2.0
// Targets whose model is one file: operator sets, interface, shared bytes, block-wise weights.
#include <cstring>
#include <set>
#include <string>
#include <vector>

#include "support.hpp"
#include <qwq/emit/onnx/genai_files.hpp>
#include <qwq/emit/onnx/standard_files.hpp>

using namespace qwq;
using namespace qwq::test;

namespace {

using list = std::vector<std::string>;

/// What `Target` writes of the small checkpoint in a scheme without activations.
template <class Target, class Scheme>
struct exported {
  tiny_checkpoint source;
  checkpoint weights = checkpoint::open(source.dir.folder());
  scratch out;
  std::vector<written_file> files;
  model_file file;

  explicit exported(const std::string& name = "model", const emit_options& options = {})
      : files(emit<model, Target, Scheme>(weights, nullptr, options, out.folder())),
        file(out / ("onnx/" + name + ".onnx"), out / ("onnx/" + name + ".onnx_data")) {}
};

std::map<std::string, std::int64_t> opsets(const ::onnx::ModelProto& m) {
  std::map<std::string, std::int64_t> all;
  for (const auto& o : m.opset_import()) all[o.domain()] = o.version();
  return all;
}

std::set<std::string> domains(const ::onnx::ModelProto& m) {
  std::set<std::string> all;
  for (const auto& n : m.graph().node()) all.insert(n.domain());
  return all;
}

/// "f32[1,sequence_length,8]"
std::string describe(const ::onnx::ValueInfoProto& v) {
  const auto& t = v.type().tensor_type();
  std::string text = t.elem_type() == ::onnx::TensorProto::FLOAT ? "f32[" : "i64[";
  for (const auto& d : t.shape().dim())
    text += (d.has_dim_param() ? d.dim_param() : std::to_string(d.dim_value())) +
            (&d == &*t.shape().dim().rbegin() ? "]" : ",");
  return text;
}

void check_interface(const ::onnx::GraphProto& g, bool mask) {
  list inputs{"input_ids i64[1,sequence_length]"}, outputs{"logits f32[1,sequence_length,64]"};
  if (mask) inputs.push_back("attention_mask i64[1,total_sequence_length]");
  for (const char* layer : {"0", "1"})
    for (const char* kind : {"key", "value"}) {
      inputs.push_back(std::string("past_key_values.") + layer + "." + kind + " f32[1,2,past_sequence_length,16]");
      outputs.push_back(std::string("present.") + layer + "." + kind + " f32[1,2,total_sequence_length,16]");
    }
  const auto described = [](const auto& values) {
    std::set<std::string> all;
    for (const auto& v : values) all.insert(v.name() + " " + describe(v));
    return all;
  };
  CHECK(described(g.input()) == std::set(inputs.begin(), inputs.end()));
  CHECK(described(g.output()) == std::set(outputs.begin(), outputs.end()));
}

std::int64_t attribute(const ::onnx::ModelProto& m, const std::string& op, const std::string& name) {
  for (const auto& n : m.graph().node())
    for (const auto& a : n.attribute())
      if (n.op_type() == op && a.name() == name) return a.i();
  return -1;
}

}  // namespace

TEST_CASE("onnx_standard: nothing but ai.onnx 23") {
  const exported<onnx_standard, f32> e;
  CHECK(opsets(e.file.model) == std::map<std::string, std::int64_t>{{"", 23}});
  CHECK(domains(e.file.model) == std::set<std::string>{""});
  CHECK(e.file.model.ir_version() == 11);
  check_interface(e.file.model.graph(), false);
  const auto n = e.file.count();
  CHECK(n.at("Attention") == 2);
  CHECK(n.at("RotaryEmbedding") == 4);
  CHECK(n.at("RMSNormalization") == 9);
  CHECK(n.at("Gemm") == 15);
  CHECK(n.at("Range") == 1);     // positions, once for all layers
  CHECK(n.at("Reshape") <= 32);  // no two in a row
  // The table of a tied model is there once.
  CHECK(e.file.find("model.embed_tokens.weight") != nullptr);
  CHECK(e.file.data.size() < 4 * (64 * 32 + 2 * (5 * 64 * 32 + 3 * 48 * 32) + 2 * 128 * 8) + 8192);
}

TEST_CASE("onnx_standard_21: the same in operators of opset 21") {
  const exported<onnx_standard_21, f32> e;
  CHECK(opsets(e.file.model) == std::map<std::string, std::int64_t>{{"", 21}});
  CHECK(domains(e.file.model) == std::set<std::string>{""});
  CHECK(e.file.model.ir_version() == 10);
  check_interface(e.file.model.graph(), false);
  const auto n = e.file.count();
  for (const char* newer : {"Attention", "RotaryEmbedding", "RMSNormalization"}) CHECK(n.count(newer) == 0);
  CHECK(n.at("Softmax") == 2);
  CHECK(n.at("Sqrt") == 9);
  CHECK(n.at("Split") == 4);
  CHECK(n.at("LessOrEqual") == 1);     // the mask, once for all layers
  CHECK(n.at("Gather") == 2 + 2 + 1);  // two lengths, two tables, the embedding
}

TEST_CASE("onnx_genai: GroupQueryAttention from an attention mask, and configs for two runtimes") {
  const exported<onnx_genai, f32> e;
  CHECK(opsets(e.file.model) == std::map<std::string, std::int64_t>{{"", 21}, {"com.microsoft", 1}});
  CHECK(domains(e.file.model) == std::set<std::string>{"", "com.microsoft"});
  check_interface(e.file.model.graph(), true);
  const auto n = e.file.count();
  CHECK(n.at("GroupQueryAttention") == 2);
  CHECK(n.at("SimplifiedLayerNormalization") == 9);
  CHECK(n.at("ReduceSum") == 1);
  CHECK(n.count("MatMulNBits") == 0);

  const auto config = nlohmann::json::parse(slurp(e.out / "genai_config.json"));
  const auto& decoder = config.at("model").at("decoder");
  CHECK(config.at("model").at("type") == "qwen3");
  CHECK(decoder.at("filename") == "onnx/model.onnx");
  CHECK(decoder.at("inputs").at("past_key_names") == "past_key_values.%d.key");
  CHECK(decoder.at("inputs").at("attention_mask") == "attention_mask");
  CHECK(decoder.at("outputs").at("present_value_names") == "present.%d.value");
  CHECK(config.at("search").at("past_present_share_buffer") == true);
  const auto described = nlohmann::json::parse(slurp(e.out / "config.json"));
  CHECK(described.at("hidden_size") == 32);  // the checkpoint's own
  CHECK(described.at("transformers.js_config").at("dtype") == "fp32");
  CHECK(described.at("transformers.js_config").at("use_external_data_format") == true);
  CHECK(e.files.front().name == "onnx/model.onnx_data");
  for (const written_file& w : e.files) CHECK(std::filesystem::file_size(e.out / w.name) == w.bytes);
}

TEST_CASE("onnx_genai: a tied table is stored once, packed as MatMulNBits packs it") {
  const exported<onnx_genai, w4_g32> e("model_q4", {.accuracy_level = 0});
  const auto n = e.file.count();
  CHECK(n.at("MatMulNBits") == 15);
  CHECK(n.at("GatherBlockQuantized") == 1);
  CHECK(n.count("Gemm") == 0);
  CHECK(attribute(e.file.model, "MatMulNBits", "accuracy_level") == 0);
  CHECK(attribute(e.file.model, "MatMulNBits", "bits") == 4);
  const auto *product = e.file.find("model.embed_tokens.weight_blocks"),
             *rows = e.file.find("model.embed_tokens.weight_rows"),
             *scales = e.file.find("model.embed_tokens.weight_scales");
  REQUIRE(product != nullptr);
  REQUIRE(rows != nullptr);
  REQUIRE(scales != nullptr);
  for (const char* key : {"offset", "length"}) CHECK(model_file::place(*product, key) == model_file::place(*rows, key));
  CHECK(std::vector<std::int64_t>(product->dims().begin(), product->dims().end()) ==
        std::vector<std::int64_t>{64, 1, 16});
  CHECK(std::vector<std::int64_t>(rows->dims().begin(), rows->dims().end()) == std::vector<std::int64_t>{64, 16});

  inline_executor here;
  quantized_matrix_reader<w4_g32::weight_format> wanted(
      e.weights, weight_source::from(e.weights.at("model.embed_tokens.weight")), granularity::row, here);
  std::string codes;
  wanted.codes([&](std::span<const std::byte> piece) {
    codes.append(reinterpret_cast<const char*>(piece.data()), piece.size());
  });
  const auto wanted_scales = std::as_bytes(std::span(wanted.scales()));
  CHECK(e.file.bytes(*product) == codes);
  CHECK(e.file.bytes(*scales) ==
        std::string_view(reinterpret_cast<const char*>(wanted_scales.data()), wanted_scales.size()));
  const auto described = nlohmann::json::parse(slurp(e.out / "config.json"));
  CHECK(described.at("transformers.js_config").at("dtype") == "q4");
}

TEST_CASE("onnx_genai: rows that are no whole blocks are cut to their length") {
  const exported<onnx_genai, w8_g128> e("model_quantized");
  CHECK(e.file.count().at("Slice") == 1);
  CHECK(e.file.find("model.embed_tokens.weight_rows")->dims(1) == 128);
  CHECK(attribute(e.file.model, "MatMulNBits", "K") == 32);
  CHECK(attribute(e.file.model, "MatMulNBits", "accuracy_level") == 4);
}

TEST_CASE("onnx_genai: what is not tied is stored twice") {
  static constexpr qwen3_config untied{320, 64, 96, 2, 4, 2, 32, 512, 1e-6, 1e6, false};
  const auto weights = checkpoint::open(QWQ_TEST_DATA "/arch/qwen3-dense-untied-bf16-sharded");
  const scratch out;
  emit<qwen3<untied>, onnx_genai, w8_g32>(weights, nullptr, {}, out.folder());
  const model_file file(out / "onnx/model_quantized.onnx", out / "onnx/model_quantized.onnx_data");
  const auto *head = file.find("lm_head.weight_blocks"), *table = file.find("model.embed_tokens.weight_rows");
  REQUIRE(head != nullptr);
  REQUIRE(table != nullptr);
  CHECK(file.bytes(*head) != file.bytes(*table));
}

TEST_CASE("onnx_standard: matrices in blocks are stored as MatMul reads them") {
  const exported<onnx_standard, w4_g32> e("model_q4");
  CHECK(domains(e.file.model) == std::set<std::string>{""});
  CHECK(e.file.count().at("DequantizeLinear") == 14);  // the head is the table, in float
  CHECK(attribute(e.file.model, "DequantizeLinear", "axis") == 0);
  CHECK(attribute(e.file.model, "DequantizeLinear", "block_size") == 32);
  const std::string name = "model.layers.1.mlp.down_proj.weight";
  const auto *codes = e.file.find(name + "_quantized"), *scale = e.file.find(name + "_scale");
  REQUIRE(codes != nullptr);
  REQUIRE(scale != nullptr);
  CHECK(codes->data_type() == to_onnx::element_type(dtype::i4));
  constexpr std::size_t n = 32, k = 48, blocks = 2;
  CHECK(std::vector<std::int64_t>(codes->dims().begin(), codes->dims().end()) == std::vector<std::int64_t>{k, n});
  CHECK(std::vector<std::int64_t>(scale->dims().begin(), scale->dims().end()) == std::vector<std::int64_t>{blocks, n});

  inline_executor here;
  quantized_matrix_reader<w4_g32::weight_format> wanted(e.weights, weight_source::from(e.weights.at(name)),
                                                        granularity::row, here);
  std::vector<std::uint8_t> packed;
  wanted.codes([&](std::span<const std::byte> piece) {
    for (const std::byte b : piece) packed.push_back(std::to_integer<std::uint8_t>(b));
  });
  const std::vector<float>& scales = wanted.scales();
  const std::string found = e.file.bytes(*codes), found_scales = e.file.bytes(*scale);
  int wrong = 0;
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j < k; ++j) {
      const int row_code = (packed[(i * blocks * 32 + j) / 2] >> (j % 2 * 4) & 15) - 8;
      const int at = static_cast<unsigned char>(found[(j * n + i) / 2]) >> (i % 2 * 4) & 15;
      float s = 0;
      std::memcpy(&s, found_scales.data() + (j / 32 * n + i) * 4, 4);
      wrong += row_code != (at ^ 8) - 8 || s != scales[i * blocks + j / 32];
    }
  CHECK(wrong == 0);
}

namespace {

/// Three rows of 65 4-bit codes, (5 row + column) mod 16, in blocks of 16, whose scales count up.
class known_codes final : public to_onnx::quantized_source {
 public:
  known_codes() : quantized_source(16) {}
  std::size_t scale_count() const override { return scales_.size(); }
  std::span<const float> scales() override { return scales_; }
  std::span<const std::int32_t> zero_points() override { return {}; }
  void codes(const to_onnx::byte_sink& sink) override {
    for (int i = 0; i < 3; ++i) {
      std::vector<std::byte> row(40);
      for (int j = 0; j < 65; ++j)
        row[static_cast<std::size_t>(j / 2)] |= static_cast<std::byte>((i * 5 + j) % 16 << (j % 2 * 4));
      sink(row);
    }
  }

 private:
  std::vector<float> scales_{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14};
};

}  // namespace

TEST_CASE("block_columns: odd columns share bytes across rows, tiles meet") {
  constexpr std::int64_t n = 3, k = 65;
  known_codes q;
  const to_onnx::block_columns columns{q, dtype::u4, n, k};
  std::vector<std::byte> out;
  columns.write([&](std::span<const std::byte> piece) { out.insert(out.end(), piece.begin(), piece.end()); });
  REQUIRE(out.size() == (n * k + 1) / 2);
  int wrong = 0;
  for (std::int64_t at = 0; at < n * k; ++at) {
    const auto code = std::to_integer<std::int64_t>(out[static_cast<std::size_t>(at / 2)] >> (at % 2 * 4)) & 15;
    wrong += code != (((at % n * 5 + at / n) % 16) ^ 8);
  }
  CHECK(wrong == 0);
  CHECK(columns.scales() == std::vector<float>{0, 5, 10, 1, 6, 11, 2, 7, 12, 3, 8, 13, 4, 9, 14});
}

TEST_CASE("whole models: a failed export leaves nothing") {
  static constexpr qwen3_config three{64, 32, 48, 3, 4, 2, 16, 128, 1e-6, 1e6, true};
  const tiny_checkpoint source;
  const auto weights = checkpoint::open(source.dir.folder());
  const scratch out;
  const std::string said = complaint([&] { emit<qwen3<three>, onnx_genai, f32>(weights, nullptr, {}, out / "new"); });
  CHECK(said.starts_with(source.dir.folder().string() +
                         ": tensor \"model.layers.2.input_layernorm.weight\": missing, looked for "));
  CHECK(out.count() == 0);
}
