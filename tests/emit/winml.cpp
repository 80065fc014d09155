// SPDX-License-Identifier: Apache-2.0
// Target onnx_winml: what stands in the files that it writes.
#include <cstring>
#include <filesystem>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include <doctest/doctest.h>
#include <onnx/checker.h>

#include "support.hpp"
#include <qwq/emit/onnx/winml_files.hpp>

using namespace qwq;
using namespace qwq::test;

namespace {

/// Parameters of no meaning; the last layer's and the norm's are `other`.
template <class Scheme>
calibration_result made_up(float scale, float other) {
  const auto of = [&]<class P>(std::type_identity<P>) {
    activation_params out;
    P::for_each_part([&]<class Part>(std::type_identity<Part>, std::size_t i) {
      out.emplace_back();
      for (const slot& s : Part::slots)
        out.back().push_back({P::parts[i].layer == 0 ? scale : other, 100, kernel::full_range(s.type)});
    });
    return out;
  };
  return {of(std::type_identity<program<model, onnx_winml, Scheme, prefill_rows>>{}),
          of(std::type_identity<program<model, onnx_winml, Scheme, 1>>{})};
}

/// A written folder.
struct folder {
  std::filesystem::path at;
  std::map<std::string, model_file> models;

  explicit folder(const std::filesystem::path& p) : at(p) {
    for (const char* name : {"embeddings", "prefill", "decode", "lm_head"})
      models.try_emplace(name, p / (std::string(name) + ".onnx"), p / "model.data");
  }
  const model_file& operator[](const std::string& name) const { return models.at(name); }
};

/// libonnx 1.12 knows opsets up to 17, of which all operators used here are, and ir versions up to 8. Its check of a
/// graph is given what the file says; only its check of the file's version numbers is left out.
void check_with_libonnx(const ::onnx::ModelProto& m, const std::filesystem::path& folder) {
  ::onnx::checker::CheckerContext context;
  context.set_ir_version(static_cast<int>(m.ir_version()));
  std::unordered_map<std::string, int> opsets;
  for (const auto& o : m.opset_import()) opsets[o.domain()] = static_cast<int>(o.version());
  context.set_opset_imports(opsets);
  context.set_model_dir(folder.string());
  ::onnx::checker::check_graph(m.graph(), context, {});
}
void check_with_libonnx(const folder& f) {
  for (const auto& [name, m] : f.models) {
    CAPTURE(name);
    CHECK_NOTHROW(check_with_libonnx(m.model, f.at));
  }
}

}  // namespace

TEST_CASE("winml: int8 weights, uint16 gains, scales and zero points are ONNX Runtime's, bit for bit") {
  const tiny_checkpoint source;
  const auto weights = checkpoint::open(source.dir.folder());
  const auto tuned = made_up<w8a16_full>(0.01f, 0.01f);
  const scratch out;
  emit<model, onnx_winml, w8a16_full>(weights, &tuned, {}, out.folder());
  const folder f(out.folder());
  const safetensors_file golden(goldens + "conv_ctx/qdq_minmax_initializers.safetensors");
  int compared = 0;
  for (const tensor_info& expected : golden.tensors()) {
    if (!expected.name.starts_with("model.")) continue;  // the others belong to activations
    for (const char* of : {"prefill", "decode"}) {
      CAPTURE(of);
      CAPTURE(expected.name);
      const ::onnx::TensorProto* found = f[of].find(expected.name);
      REQUIRE(found != nullptr);
      CHECK(found->data_type() == to_onnx::element_type(expected.type));
      const bool scalar = !expected.name.ends_with("_quantized");  // of rank 0, which the golden stores as [1]
      CHECK(std::vector<std::int64_t>(found->dims().begin(), found->dims().end()) ==
            (scalar ? std::vector<std::int64_t>{} : expected.shape));
      CHECK(f["prefill"].bytes(*found) == text_of(expected));
      ++compared;
    }
  }
  CHECK(compared ==
        2 * 3 * (2 * (7 + 4) + 1));  // codes, scale, zero point of 7 matrices and 4 gains a layer, and of the last gain
}

TEST_CASE("winml: per-channel weights are ONNX Runtime's, bit for bit") {
  const tiny_checkpoint source;
  const auto weights = checkpoint::open(source.dir.folder());
  const auto tuned = made_up<w8a16_full>(0.01f, 0.01f);
  const scratch out;
  emit<model, onnx_winml, w8a16_full>(weights, &tuned, {.weights = granularity::row}, out.folder());
  const folder f(out.folder());
  // Recorded for MatMul, whose weight is [in, out] with the channels on axis 1.
  const safetensors_file golden(goldens + "matmul_ctx/perchannel_weights.safetensors");
  int compared = 0;
  for (const tensor_info& expected : golden.tensors()) {
    if (!expected.name.ends_with("_quantized")) continue;
    const std::string base = expected.name.substr(0, expected.name.size() - std::strlen("_quantized"));
    CAPTURE(base);
    const auto* codes = f["prefill"].find(base + "_quantized");
    const auto* scale = f["prefill"].find(base + "_scale");
    const auto* zero = f["prefill"].find(base + "_zero_point");
    REQUIRE(codes != nullptr);
    REQUIRE(scale != nullptr);
    REQUIRE(zero != nullptr);
    const auto rows = static_cast<std::size_t>(expected.shape[1]), cols = static_cast<std::size_t>(expected.shape[0]);
    const std::string found = f["prefill"].bytes(*codes), wanted = text_of(expected);
    REQUIRE(found.size() == rows * cols);
    bool same = true;
    for (std::size_t i = 0; i < rows; ++i)
      for (std::size_t j = 0; j < cols; ++j) same = same && found[i * cols + j] == wanted[j * rows + i];
    CHECK(same);
    CHECK(f["prefill"].bytes(*scale) == text_of(golden.at(base + "_scale")));
    CHECK(f["prefill"].bytes(*zero) == std::string(rows, '\0'));
    CHECK(scale->dims_size() == 1);
    ++compared;
  }
  CHECK(compared == 14);
  int per_channel = 0;
  for (const auto& n : f["prefill"].model.graph().node())
    for (const auto& a : n.attribute())
      if (n.op_type() == "DequantizeLinear" && a.name() == "axis" && a.i() == 0) ++per_channel;
  CHECK(per_channel == 14);
  check_with_libonnx(f);
}

TEST_CASE("winml: float files share every tensor and have the pipeline's interface") {
  const tiny_checkpoint source;
  const auto weights = checkpoint::open(source.dir.folder());
  const scratch out;
  const auto files = emit<model, onnx_winml, f32>(weights, nullptr, {.max_length = 96}, out.folder());
  const folder f(out.folder());
  check_with_libonnx(f);
  for (const char* of : {"embeddings", "prefill"}) {  // the check sees what is wrong
    ::onnx::ModelProto wrong = f[of].model;
    wrong.mutable_graph()->mutable_node(0)->add_input("nobody");
    CHECK_THROWS_AS(check_with_libonnx(wrong, out.folder()), ::onnx::checker::ValidationError);
  }

  CHECK(files.front().name == "model.data");
  CHECK(files.back().name == "genai_config.json");
  CHECK(files.size() == out.count());
  for (const written_file& w : files) CHECK(std::filesystem::file_size(out / w.name) == w.bytes);
  CHECK(slurp(out / "config.json") == slurp(goldens + "tiny_qwen3_config.json"));

  // Every weight once: 4 bytes a parameter, f16 RoPE tables, epsilons of more than 1 KB, less than 64 bytes between.
  const std::size_t parameters = 64 * 32 + 2 * ((64 + 32 + 32) * 32 + 32 * 64 + 3 * 48 * 32 + 2 * 32 + 2 * 16) + 32;
  CHECK(f["prefill"].data.size() >= 4 * parameters - 4 * (5 * 32 + 4 * 16));
  CHECK(f["prefill"].data.size() <= 4 * parameters + 2 * 2 * 128 * 8 + 4096);
  CHECK(f["prefill"].bytes(*f["embeddings"].find("model.embed_tokens.weight")) ==
        text_of(weights.at("model.embed_tokens.weight")));
  CHECK(f["embeddings"].find("model.embed_tokens.weight")->external_data(1).value() ==
        f["lm_head"].find("model.embed_tokens.weight")->external_data(1).value());
  const std::string up = "model.layers.1.mlp.up_proj.weight";
  CHECK(f["prefill"].bytes(*f["prefill"].find(up)) == text_of(weights.at(up)));
  CHECK(f["prefill"].find(up)->external_data(1).value() == f["decode"].find(up)->external_data(1).value());
  CHECK(f["prefill"].find("cos_cache")->dims(0) == 128);

  const auto names = [](const auto& values) { return to_onnx::names(values); };
  using list = std::vector<std::string>;
  for (const char* of : {"prefill", "decode"}) {
    CAPTURE(of);
    const auto& g = f[of].model.graph();
    CHECK(names(g.input()) == list{"input_hidden_states", "past_keys_0", "past_values_0", "past_seq_len",
                                   "total_seq_len", "past_keys_1", "past_values_1"});
    CHECK(names(g.output()) ==
          list{"output_hidden_states", "present_keys_0", "present_values_0", "present_keys_1", "present_values_1"});
    const auto& hidden = g.input(0).type().tensor_type();
    CHECK(hidden.elem_type() == ::onnx::TensorProto::FLOAT);
    CHECK(hidden.shape().dim(1).dim_value() == (of == std::string("prefill") ? 64 : 1));
    const auto& past = g.input(1).type().tensor_type();
    CHECK(past.elem_type() == ::onnx::TensorProto::FLOAT16);
    CHECK(past.shape().dim(2).dim_param() == "max_seq_len");
    CHECK(g.output(1).type().tensor_type().shape().dim(2).dim_param() == "max_seq_len");
    CHECK(g.input(3).type().tensor_type().elem_type() == ::onnx::TensorProto::INT32);
    const auto n = f[of].count();
    CHECK(n.at("GroupQueryAttention") == 2);
    CHECK(n.at("Conv") == 14);
    CHECK(n.at("LpNormalization") == 9);
    CHECK(n.count("QuantizeLinear") == 0);
    CHECK(f[of].model.opset_import_size() == 2);
  }
  for (const auto& n : f["prefill"].model.graph().node())
    if (n.op_type() == "GroupQueryAttention")
      CHECK(n.attribute_size() == 3);  // num_heads, kv_num_heads, do_rotary: older runtimes know them
  for (const char* of : {"embeddings", "lm_head"}) {
    const auto& m = f[of].model;
    CHECK(m.opset_import_size() == 1);
    CHECK(m.graph().input(0).type().tensor_type().shape().dim(1).dim_param() == "sequence_length");
  }

  const auto config = nlohmann::json::parse(slurp(out / "genai_config.json"));
  CHECK(config.at("search").at("max_length") == 96);
  CHECK(config.at("model").at("context_length") == 128);
  const auto& decoder = config.at("model").at("decoder");
  CHECK(decoder.at("head_size") == 16);
  REQUIRE(decoder.at("pipeline").size() == 4);
  CHECK(decoder.at("pipeline")[1].at("prefill").at("inputs") == names(f["prefill"].model.graph().input()));
  CHECK(decoder.at("pipeline")[3].at("lm_head").at("is_lm_head") == true);
}

TEST_CASE("winml: the boundary between layers is quantized once when both sides agree") {
  const tiny_checkpoint source;
  const auto weights = checkpoint::open(source.dir.folder());
  const auto written = [&](float other) {
    const scratch out;
    const auto tuned = made_up<w8a16_full>(0.01f, other);
    emit<model, onnx_winml, w8a16_full>(weights, &tuned, {}, out.folder());
    const folder f(out.folder());
    check_with_libonnx(f);
    return f["prefill"].count();
  };
  const auto agree = written(0.01f), differ = written(0.02f);
  CHECK(differ.at("QuantizeLinear") == agree.at("QuantizeLinear") + 1);
  CHECK(differ.at("DequantizeLinear") == agree.at("DequantizeLinear") + 1);
  CHECK(differ.at("Conv") == agree.at("Conv"));
}

TEST_CASE("winml: uint8 activations around the products, and floats elsewhere") {
  const tiny_checkpoint source;
  const auto weights = checkpoint::open(source.dir.folder());
  const auto tuned = made_up<w8a8>(0.1f, 0.1f);
  const scratch out;
  emit<model, onnx_winml, w8a8>(weights, &tuned, {}, out.folder());
  const folder f(out.folder());
  check_with_libonnx(f);
  const auto* zero = f["decode"].find("/model/layers.1/mlp/down_proj/Conv_output_0_zero_point");
  REQUIRE(zero != nullptr);
  CHECK(zero->data_type() == ::onnx::TensorProto::UINT8);
  CHECK(zero->raw_data() == std::string(1, '\x64'));
  CHECK(f["prefill"].find("model.norm.weight_quantized") == nullptr);
  CHECK(f["prefill"].find("model.norm.weight")->data_type() == ::onnx::TensorProto::FLOAT);
}

TEST_CASE("winml: a failed export leaves an older one whole, and none of its own files") {
  const tiny_checkpoint source;
  const scratch out;
  {
    const auto weights = checkpoint::open(source.dir.folder());
    emit<model, onnx_winml, f32>(weights, nullptr, {}, out / "export");
  }
  const std::string before = slurp(out / "export/model.data"), graph = slurp(out / "export/prefill.onnx");
  const auto files = [&](const char* name) {
    std::set<std::string> names;
    for (const auto& e : std::filesystem::directory_iterator(out / name)) names.insert(e.path().filename());
    return names;
  };
  const auto written = files("export");

  // The model asks for a third layer that the checkpoint does not have: found out when two are written.
  static constexpr qwen3_config three{64, 32, 48, 3, 4, 2, 16, 128, 1e-6, 1e6, true};
  const auto weights = checkpoint::open(source.dir.folder());
  const std::string said =
      complaint([&] { emit<qwen3<three>, onnx_winml, f32>(weights, nullptr, {}, out / "export"); });
  CHECK(said.starts_with(source.dir.folder().string() +
                         ": tensor \"model.layers.2.input_layernorm.weight\": missing, looked for "));
  CHECK(slurp(out / "export/model.data") == before);
  CHECK(slurp(out / "export/prefill.onnx") == graph);
  CHECK(files("export") == written);
  complaint([&] { emit<qwen3<three>, onnx_winml, f32>(weights, nullptr, {}, out / "new"); });
  CHECK_FALSE(std::filesystem::exists(out / "new"));

  CHECK(complaint([&] { emit<model, onnx_winml, w8a16_full>(weights, nullptr, {}, out / "new"); }) ==
        "emit: expected calibrated parameters for slot 'hidden_states', found none");
  CHECK_FALSE(std::filesystem::exists(out / "new"));
}

TEST_CASE("winml: a weight that is not a number is refused by name") {
  const tiny_checkpoint source;
  const auto path = source.dir / "model.safetensors";
  const scratch out;
  const auto tuned = made_up<w8a16_full>(0.01f, 0.01f);
  const std::string whole = slurp(path);
  for (const char* name : {"model.norm.weight", "model.layers.1.mlp.up_proj.weight"}) {
    std::string damaged = whole;
    {
      const safetensors_file file(path);
      const float nan = std::numeric_limits<float>::quiet_NaN();
      std::memcpy(damaged.data() + (file.at(name).data - file.file().bytes().data()) + 4, &nan, 4);
    }
    source.dir.put("model.safetensors", damaged);
    const auto weights = checkpoint::open(source.dir.folder());
    const std::string said = complaint([&] { emit<model, onnx_winml, w8a16_full>(weights, &tuned, {}, out / "new"); });
    CHECK(said.starts_with(path.string() + ": tensor '" + name + "': expected finite values, found NaN or infinity"));
    source.dir.put("model.safetensors", whole);
  }
  CHECK(out.count() == 0);
}
