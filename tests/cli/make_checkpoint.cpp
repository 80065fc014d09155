// SPDX-License-Identifier: Apache-2.0
// Writes a checkpoint of random weights at the sizes of a config.json, sharded as the published ones are.
#include <array>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <numbers>
#include <string>
#include <string_view>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

#include "qwq/core/thread_pool.hpp"
#include "qwq/io/atomic_file.hpp"
#include "qwq/io/json.hpp"
#include "qwq/io/safetensors.hpp"
#include "qwq/model/qwen3_config.hpp"
#include "qwq/runtime/read_config.hpp"

namespace {

constexpr const char* usage =
    "usage: make_checkpoint CONFIG.json FOLDER [OPTION ...]\n"
    "\n"
    "Writes a Qwen3 checkpoint of random weights: config.json, model.safetensors, or shards and their index when it "
    "is\n"
    "larger than one. Matrices are normal with a standard deviation of 0.02, gains of norms are 1. Equal arguments "
    "write\n"
    "equal bytes.\n"
    "\n"
    "  --layers N         decoder layers; those of the config unless given, and the written config says so\n"
    "  --dense-layers N   only the first N layers hold numbers, the others are zeros that take no room on the disk\n"
    "  --seed N           0 unless given\n"
    "  --dtype T          bf16 (unless given), f16 or f32\n"
    "  --shard-bytes N    most bytes of weights in a file; 5000000000 unless given\n"
    "  --texts N,P        also ids.jsonl, a calibration set of N rows of P random tokens\n";

struct options {
  std::string config, folder;
  std::int64_t layers = 0, dense_layers = 1 << 20, texts = 0, prompt = 0;
  std::uint64_t seed = 0, shard_bytes = 5'000'000'000;
  qwq::dtype type = qwq::dtype::bf16;
};

std::uint64_t number(std::string_view text) {
  std::uint64_t value = 0;
  if (text.empty() || text.size() > 18) throw qwq::error("expected a number, found '" + std::string(text) + "'");
  for (const char c : text) {
    if (c < '0' || c > '9') throw qwq::error("expected a number, found '" + std::string(text) + "'");
    value = value * 10 + static_cast<std::uint64_t>(c - '0');
  }
  return value;
}

options parse(int argc, char** argv) {
  options o;
  const std::vector<std::string_view> words(argv + 1, argv + argc);
  if (words.size() < 2 || words.size() % 2 != 0) throw qwq::error("expected a config, a folder, and pairs of options");
  o.config = words[0];
  o.folder = words[1];
  for (std::size_t i = 2; i < words.size(); i += 2) {
    const std::string_view name = words[i], value = words[i + 1];
    if (name == "--layers") {
      o.layers = static_cast<std::int64_t>(number(value));
    } else if (name == "--dense-layers") {
      o.dense_layers = static_cast<std::int64_t>(number(value));
    } else if (name == "--seed") {
      o.seed = number(value);
    } else if (name == "--shard-bytes") {
      o.shard_bytes = number(value);
    } else if (name == "--dtype" && (value == "bf16" || value == "f16" || value == "f32")) {
      o.type = value == "bf16" ? qwq::dtype::bf16 : value == "f16" ? qwq::dtype::f16 : qwq::dtype::f32;
    } else if (const std::size_t comma = value.find(','); name == "--texts" && comma != value.npos) {
      o.texts = static_cast<std::int64_t>(number(value.substr(0, comma)));
      o.prompt = static_cast<std::int64_t>(number(value.substr(comma + 1)));
    } else {
      throw qwq::error("unknown option or value: " + std::string(name) + " " + std::string(value));
    }
  }
  return o;
}

/// splitmix64, by index: any part of a tensor can be made alone.
constexpr std::uint64_t random_bits(std::uint64_t key, std::uint64_t index) {
  std::uint64_t z = key + (index + 1) * 0x9e3779b97f4a7c15u;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
  z = (z ^ z >> 27) * 0x94d049bb133111ebu;
  return z ^ z >> 31;
}

/// 2^16 quantiles of the normal distribution: a random index is a normal number.
template <class T>
const std::vector<T>& normal_numbers() {
  static const std::vector<T> table = [] {
    std::vector<T> out(1 << 16);
    double x = -4.2;
    for (std::size_t i = 0; i < out.size(); ++i) {
      const double p = (static_cast<double>(i) + 0.5) / static_cast<double>(out.size());
      for (int step = 0; step < 20; ++step) {  // Newton's, from the quantile before
        const double error = 0.5 * std::erfc(-x / std::numbers::sqrt2) - p;
        x -= error * std::sqrt(2 * std::numbers::pi) * std::exp(x * x / 2);
      }
      out[i] = static_cast<T>(static_cast<float>(0.02 * x));
    }
    return out;
  }();
  return table;
}

/// Elements [first, first + count) of a tensor; `first` is a multiple of 4.
template <class T>
void fill(T* out, std::uint64_t first, std::uint64_t count, std::uint64_t key, bool gain) {
  if (gain) {
    std::fill(out, out + count, static_cast<T>(1.0f));
    return;
  }
  const T* const table = normal_numbers<T>().data();
  for (std::uint64_t i = 0; i < count; i += 4) {
    const std::uint64_t bits = random_bits(key, (first + i) / 4);
    for (std::uint64_t j = 0; j < std::min<std::uint64_t>(4, count - i); ++j)
      out[i + j] = table[bits >> 16 * j & 0xffff];
  }
}

struct planned_tensor {
  std::string name;
  std::vector<std::int64_t> shape;
  std::uint64_t bytes, offset = 0;  // in the data of its shard
  bool zeros;
};

using shard = std::vector<planned_tensor>;

/// The tensors of a model in shards, in the order of the published files.
std::vector<shard> plan(const qwq::qwen3_config& c, const options& o) {
  std::vector<shard> shards(1);
  std::uint64_t used = 0;
  const auto add = [&](const std::string& name, std::vector<std::int64_t> shape, bool zeros = false) {
    std::uint64_t bytes = static_cast<std::uint64_t>(qwq::bits(o.type) / 8);
    for (const std::int64_t d : shape) bytes *= static_cast<std::uint64_t>(d);
    if (used > 0 && used + bytes > o.shard_bytes) {
      shards.emplace_back();
      used = 0;
    }
    shards.back().push_back({name, std::move(shape), bytes, used, zeros});
    used += bytes;
  };
  const std::int64_t h = c.hidden_size, f = c.intermediate_size, d = c.head_dim;
  const std::int64_t q = c.num_attention_heads * d, k = c.num_key_value_heads * d;
  add("model.embed_tokens.weight", {c.vocab_size, h});
  for (std::int64_t i = 0; i < c.num_hidden_layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    const bool zeros = i >= o.dense_layers;
    add(layer + "input_layernorm.weight", {h});
    add(layer + "mlp.down_proj.weight", {h, f}, zeros);
    add(layer + "mlp.gate_proj.weight", {f, h}, zeros);
    add(layer + "mlp.up_proj.weight", {f, h}, zeros);
    add(layer + "post_attention_layernorm.weight", {h});
    add(layer + "self_attn.k_norm.weight", {d});
    add(layer + "self_attn.k_proj.weight", {k, h}, zeros);
    add(layer + "self_attn.o_proj.weight", {h, q}, zeros);
    add(layer + "self_attn.q_norm.weight", {d});
    add(layer + "self_attn.q_proj.weight", {q, h}, zeros);
    add(layer + "self_attn.v_proj.weight", {k, h}, zeros);
  }
  add("model.norm.weight", {h});
  if (!c.tie_word_embeddings) add("lm_head.weight", {c.vocab_size, h});
  return shards;
}

template <class T>
void write_shard(const std::filesystem::path& file, const shard& tensors, std::uint64_t seed, qwq::executor& threads) {
  using json = nlohmann::ordered_json;
  json header = {{"__metadata__", {{"format", "pt"}}}};
  for (const planned_tensor& t : tensors)
    for (const auto& known : qwq::detail::safetensors_dtypes)
      if (known.type == qwq::dtype_of<T>)
        header[t.name] = {{"dtype", known.name}, {"shape", t.shape}, {"data_offsets", {t.offset, t.offset + t.bytes}}};
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const std::uint64_t length = text.size(), begin = 8 + length;

  const int fd = ::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) throw qwq::detail::io_error(file.string(), "create", errno);
  std::atomic<int> problem{0};
  const auto write_at = [&](const void* data, std::uint64_t bytes, std::uint64_t offset) {
    for (const char* at = static_cast<const char*>(data); bytes > 0;) {
      const auto n = ::pwrite(fd, at, bytes, static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return problem.store(n < 0 ? errno : EIO);
      at += n;
      offset += static_cast<std::uint64_t>(n);
      bytes -= static_cast<std::uint64_t>(n);
    }
  };
  write_at(&length, 8, 0);
  write_at(text.data(), text.size(), 8);
  if (::ftruncate(fd, static_cast<off_t>(begin + tensors.back().offset + tensors.back().bytes)) != 0) problem = errno;

  constexpr std::uint64_t piece = std::uint64_t{1} << 19;  // elements
  for (const planned_tensor& t : tensors) {
    if (t.zeros || problem != 0) continue;
    const std::uint64_t elements = t.bytes / sizeof(T);
    const std::uint64_t key = random_bits(seed, std::hash<std::string>{}(t.name));
    qwq::parallel_for(threads, (elements + piece - 1) / piece, static_cast<std::int64_t>(elements), [&](std::size_t i) {
      thread_local std::vector<T> buffer(piece);
      const std::uint64_t first = i * piece, count = std::min(piece, elements - first);
      fill(buffer.data(), first, count, key, t.shape.size() == 1);
      write_at(buffer.data(), count * sizeof(T), begin + t.offset + first * sizeof(T));
    });
  }
  ::close(fd);
  if (problem != 0) throw qwq::detail::io_error(file.string(), "write", problem);
}

void write_texts(const options& o, std::int64_t vocab) {
  std::string lines;
  for (std::int64_t row = 0; row < o.texts; ++row) {
    lines += "{\"ids\": [";
    for (std::int64_t i = 0; i < o.prompt; ++i) {
      const std::uint64_t id = random_bits(o.seed ^ 0x7e875u, static_cast<std::uint64_t>(row * o.prompt + i));
      lines += (i > 0 ? ", " : "") + std::to_string(id % static_cast<std::uint64_t>(vocab));
    }
    lines += "], \"answer_start\": " + std::to_string(o.prompt - 1) + "}\n";
  }
  qwq::write_file(std::filesystem::path(o.folder) / "ids.jsonl", lines);
}

void run(const options& o) {
  qwq::detail::json json = qwq::detail::parse_object(qwq::mapped_file(o.config).text(), o.config);
  if (o.layers > 0) {
    json["num_hidden_layers"] = o.layers;
    json.erase("layer_types");
  }
  const char* const type = o.type == qwq::dtype::bf16 ? "bfloat16" : o.type == qwq::dtype::f16 ? "float16" : "float32";
  json[json.contains("dtype") ? "dtype" : "torch_dtype"] = type;
  const std::filesystem::path folder = o.folder;
  std::filesystem::create_directories(folder);
  qwq::write_file(folder / "config.json", json.dump(2) + "\n");
  const auto c = qwq::read_config<qwq::qwen3_config>(folder);

  const std::vector<shard> shards = plan(c, o);
  const auto name = [&](std::size_t i) {
    std::array<char, 64> text;
    std::snprintf(text.data(), text.size(), "model-%05zu-of-%05zu.safetensors", i + 1, shards.size());
    return shards.size() == 1 ? std::string("model.safetensors") : std::string(text.data());
  };
  qwq::thread_pool threads;
  nlohmann::ordered_json map;
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < shards.size(); ++i) {
    for (const planned_tensor& t : shards[i]) {
      map[t.name] = name(i);
      total += t.bytes;
    }
    const auto write = o.type == qwq::dtype::bf16  ? write_shard<qwq::bfloat16>
                       : o.type == qwq::dtype::f16 ? write_shard<qwq::float16>
                                                   : write_shard<float>;
    write(folder / name(i), shards[i], o.seed, threads);
  }
  if (shards.size() > 1) {
    const nlohmann::ordered_json index = {{"metadata", {{"total_size", total}}}, {"weight_map", map}};
    qwq::write_file(folder / "model.safetensors.index.json", index.dump(2) + "\n");
  }
  if (o.texts > 0) write_texts(o, c.vocab_size);
  std::cout << folder.string() << ": " << total << " bytes of weights in " << shards.size() << " file(s)\n";
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 3) return std::cerr << usage, 2;
  run(parse(argc, argv));
} catch (const std::exception& problem) {
  return std::cerr << "make_checkpoint: " << problem.what() << '\n', 1;
}
