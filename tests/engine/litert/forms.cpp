// SPDX-License-Identifier: Apache-2.0
// Writes the forms of files that no target of an exporter has, for LiteRT: constants at offsets of the file, attention
// head by head, and integers from edge to edge. Usage: forms CHECKPOINT FOLDER
#include <cstdio>
#include <exception>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <qwq/emit/circle/circle_files.hpp>
#include <qwq/io/safetensors.hpp>
#include <qwq/model/qwen3.hpp>
#include <qwq/runtime/calibrate.hpp>

using namespace qwq;
namespace schema = to_circle::schema;
using to_circle::qdq_mode;

namespace {

constexpr qwen3_config tinyqwen{1280, 128, 384, 6, 4, 2, 64, 1024, 1e-6, 1e6, true};
using model = qwen3<tinyqwen>;
constexpr circle_options options{.length = 256};

template <quantization_scheme Scheme>
void write(to_circle::model_builder& m, to_file::tensor_source& constants, const calibration_result* tuned,
           qdq_mode quantized, bool per_head = false) {
  using namespace to_circle;
  const auto add = [&]<class Program>(const char* name, const activation_params* params, Program*) {
    m.begin(name);
    graph_writer w(m, constants, shared_ops, quantized, per_head);
    write_model(w, {name, program_parts::of<Program>(), params});
    w.finish();
  };
  using target = circle<options>;
  add("prefill", tuned != nullptr ? &tuned->prefill : nullptr,
      static_cast<program<model, target, Scheme, options.prompt>*>(nullptr));
  add("decode", tuned != nullptr ? &tuned->decode : nullptr, static_cast<program<model, target, Scheme, 1>*>(nullptr));
}

/// Engines' integer kernels take softmax and sigmoid in 1/32768 alone.
template <class Program>
void fix_unit_ranges(activation_params& params) {
  Program::for_each_part([&]<class Part>(std::type_identity<Part>, std::size_t i) {
    for (const slot& s : Part::slots)
      if (const std::string_view name = s.name; name.ends_with("/softmax") || name.ends_with("/sigmoid"))
        params[i][static_cast<std::size_t>(s.first)].scale = 1.0f / 32768;
  });
}

/// A folder with one file and the checkpoint's config.
template <class F>
void folder(const std::filesystem::path& at, const char* name, const checkpoint& from, F&& write) {
  file_set files(at);
  write(files.add(name));
  to_file::copy_files(files, from.folder(), {"config.json"});
  files.commit();
}

/// Engines take floats: QUANTIZE behind every integer input of a subgraph, DEQUANTIZE in front of every output. And
/// their GATHER copies codes, while the rows of the table have scales of their own: it copies floats here.
void give_float_edges(schema::ModelT& m, std::size_t graph) {
  schema::SubGraphT& g = *m.subgraphs[graph];
  const auto opcode = [&](schema::BuiltinOperator code) {
    auto& made = *m.operator_codes.emplace_back(std::make_unique<schema::OperatorCodeT>());
    made.deprecated_builtin_code = static_cast<std::int8_t>(code);
    made.builtin_code = code;
    return static_cast<std::uint32_t>(m.operator_codes.size() - 1);
  };
  const auto twin = [&](std::int32_t of) {
    auto& t = *g.tensors.emplace_back(std::make_unique<schema::TensorT>());
    t.name = g.tensors[static_cast<std::size_t>(of)]->name + "::float";
    t.shape = g.tensors[static_cast<std::size_t>(of)]->shape;
    return static_cast<std::int32_t>(g.tensors.size() - 1);
  };
  const auto convert = [](std::uint32_t opcode, std::int32_t from, std::int32_t to, auto&& options) {
    auto n = std::make_unique<schema::OperatorT>();
    n->opcode_index = opcode;
    n->inputs = {from};
    n->outputs = {to};
    n->builtin_options.Set(options);
    return n;
  };
  const auto rename = [](auto& entries, std::int32_t from, std::int32_t to) {
    for (auto& e : entries)
      if (e->tensor_index == static_cast<std::uint32_t>(from)) e->tensor_index = static_cast<std::uint32_t>(to);
  };
  const std::uint32_t quantize = opcode(schema::BuiltinOperator::QUANTIZE);
  const std::uint32_t dequantize = opcode(schema::BuiltinOperator::DEQUANTIZE);
  for (std::size_t i = 0; i < g.operators.size(); ++i) {
    schema::OperatorT& gather = *g.operators[i];
    if (m.operator_codes[gather.opcode_index]->builtin_code != schema::BuiltinOperator::GATHER) continue;
    const std::int32_t table = gather.inputs[0], rows = gather.outputs[0];
    gather.inputs[0] = twin(table);
    gather.outputs[0] = twin(rows);
    auto before = convert(dequantize, table, gather.inputs[0], schema::DequantizeOptionsT{});
    auto after = convert(quantize, gather.outputs[0], rows, schema::QuantizeOptionsT{});
    const auto at = g.operators.begin() + static_cast<std::ptrdiff_t>(i);
    g.operators.insert(at + 1, std::move(after));
    g.operators.insert(g.operators.begin() + static_cast<std::ptrdiff_t>(i), std::move(before));
    break;
  }
  for (std::int32_t& t : g.inputs)
    if (g.tensors[static_cast<std::size_t>(t)]->type == schema::TensorType::INT16) {
      const std::int32_t outside = twin(t);
      g.operators.insert(g.operators.begin(), convert(quantize, outside, t, schema::QuantizeOptionsT{}));
      rename(m.signature_defs[graph]->inputs, t, outside);
      t = outside;
    }
  for (std::int32_t& t : g.outputs) {
    const std::int32_t outside = twin(t);
    g.operators.push_back(convert(dequantize, t, outside, schema::DequantizeOptionsT{}));
    rename(m.signature_defs[graph]->outputs, t, outside);
    t = outside;
  }
}

void write_all(const char* from_folder, const std::filesystem::path& out) {
  const checkpoint from = checkpoint::open(from_folder);
  {
    to_file::tensor_source constants(from, to_file::quantizer::of<f32>(), emit_options{.weights = granularity::row});
    to_circle::model_builder m(to_circle::file_format::tflite);
    write<f32>(m, constants, nullptr, qdq_mode::qdq);
    folder(out / "external", "model.f32.tflite", from, [&](output_file& file) { m.write(file, true); });
  }
  const safetensors_file golden(std::filesystem::path(from_folder) / "golden.safetensors");
  const tensor_info& ids = golden.at("base.input_ids");
  token_sequence text;
  for (std::size_t i = 0; i < ids.size(); ++i)
    text.ids.push_back(static_cast<std::int32_t>(reinterpret_cast<const std::int64_t*>(ids.data)[i]));
  text.prompt = text.ids.size() / 2;
  calibration_options o;
  o.observer = any_observer::parse("minmax", 16);
  auto tuned = calibrate<model, circle<options>, qdq_w8a16>(from, std::vector{text}, o, [](std::size_t) {});
  fix_unit_ranges<program<model, circle<options>, qdq_w8a16, options.prompt>>(tuned.prefill);
  fix_unit_ranges<program<model, circle<options>, qdq_w8a16, 1>>(tuned.decode);
  emit<model, tflite<options>, qdq_w8a16>(from, &tuned, {}, out / "qdq");
  to_file::tensor_source constants(from, to_file::quantizer::of<qdq_w8a16>(),
                                   emit_options{.weights = granularity::row});
  {
    to_circle::model_builder m(to_circle::file_format::tflite);
    write<qdq_w8a16>(m, constants, &tuned, qdq_mode::qdq, true);
    folder(out / "heads", "model.q.tflite", from, [&](output_file& file) { m.write(file); });
  }
  to_circle::model_builder m(to_circle::file_format::tflite);
  write<qdq_w8a16>(m, constants, &tuned, qdq_mode::integer);
  folder(out / "integer", "model.q.tflite", from, [&](output_file& file) {
    {
      atomic_file plain(out / "plain");
      m.write(plain);
      plain.commit();
    }
    const auto whole = schema::UnPackModel(mapped_file(out / "plain").bytes().data());
    std::filesystem::remove(out / "plain");
    for (std::size_t i = 0; i < 2; ++i) give_float_edges(*whole, i);
    flatbuffers::FlatBufferBuilder bytes;
    bytes.Finish(schema::Model::Pack(bytes, whole.get()), "TFL3");
    const auto all = std::as_bytes(std::span(bytes.GetBufferPointer(), bytes.GetSize()));
    to_circle::check_file(all, to_circle::file_format::tflite, "integer");
    file.write(all);
  });
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc != 3) throw error("usage: forms CHECKPOINT FOLDER");
    write_all(argv[1], argv[2]);
    return 0;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
