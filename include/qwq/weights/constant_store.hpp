// SPDX-License-Identifier: Apache-2.0
// Defines `constant_store`, the constants of kernel calls: mapped where possible, quantized where they have a slot.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <map>
#include <memory>
#include <new>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "qwq/core/aligned_bytes.hpp"
#include "qwq/io/checkpoint.hpp"
#include "qwq/io/state_file.hpp"
#include "qwq/kernel/rope.hpp"
#include "qwq/model/weight_layout.hpp"
#include "qwq/quant/finite.hpp"
#include "qwq/quant/mixed.hpp"
#include "qwq/quant/slot.hpp"
#include "qwq/weights/model_weights.hpp"
#include "qwq/weights/quantized_matrix.hpp"
#include "qwq/weights/source.hpp"

namespace qwq {

/// Full tensor name of a weight of a part: "model.layers.3." + "mlp.up_proj.weight". `layer` < 0: the part has no
/// layer.
inline std::string tensor_name(std::string_view prefix, std::int64_t layer, std::string_view weight) {
  std::string name(prefix);
  if (layer >= 0) name += std::to_string(layer) + ".";
  return name += weight;
}

/// A shape as integers; named dimensions have their bound.
inline std::vector<std::int64_t> extents(const shape& s) {
  std::vector<std::int64_t> out;
  for (const dim& d : s) out.push_back(d.extent);
  return out;
}

/// A hash that identifies a checkpoint: of the names, types, shapes and first values of some tensors.
inline std::uint64_t fingerprint(const checkpoint& weights, const tensor_names& names) {
  std::uint64_t h = detail::fnv1a({});
  for (const std::string_view name : names) {
    const tensor_info& t = weights.at(name);
    h = detail::fnv1a(std::as_bytes(std::span(name)), h);
    h = detail::fnv1a(std::as_bytes(std::span(&t.type, 1)), h);
    h = detail::fnv1a(std::as_bytes(std::span(t.shape)), h);
    h = detail::fnv1a({t.data, std::min<std::size_t>(t.bytes, 64)}, h);
  }
  return h;
}

/// Reads a weight that is not a matrix as floats, in the form that the graph uses. Throws `error` for NaN and infinity.
inline std::vector<float> read_constant(const weight_source& w) {
  std::vector<float> x(w.size());
  w.read(0, w.rows(), x);
  if (!detail::all_finite(std::span<const float>(x)))
    throw error(w.where() + ": expected finite values, found NaN or infinity");
  return x;
}

/// cos or sin of positions [first, first + count), rounded to the element type of leaf `n`: [count, D/2].
inline std::vector<float> rope_rows(const node& n, std::int64_t first, std::int64_t count) {
  const std::int64_t half = n.dims()[1].extent;
  std::vector<float> cos(static_cast<std::size_t>(count * half)), sin(cos.size());
  std::vector<std::int64_t> at(static_cast<std::size_t>(count));
  std::iota(at.begin(), at.end(), first);
  kernel::rope_table({cos.data(), count, half}, {sin.data(), count, half}, at, static_cast<float>(n.attr.value));
  std::vector<float>& x = n.kind == op::rope_cos ? cos : sin;
  if (n.type.type == dtype::f16)
    for (float& v : x) v = static_cast<float>(float16(v));
  return x;
}

/// Scale and zero point of a constant, from its own range, in an activation format.
template <class Format>
qparams constant_params(std::span<const float> x) {
  const kernel::extrema seen = kernel::min_max(x);
  return compute_qparams<Format>({seen.min, seen.max});
}

/// Owns or maps the constants of a model. Prefill and decode graphs and any number of sessions share it; it does not
/// change after binding.
class constant_store {
 public:
  /// `quantized` = false binds float values even if the graph has slots, for calibration.
  constant_store(const checkpoint& from, const weight_layout& layout, bool quantized, granularity weights)
      : from_(from), weights_(from, layout), quantized_(quantized), shared_(weights) {}

  const checkpoint& source() const { return from_; }  ///< The checkpoint that the constants are from.
  /// A hash of the bound weights, to tell them from those of other checkpoints.
  std::uint64_t fingerprint() const { return qwq::fingerprint(from_, weights_.bound()); }
  /// Throws `error` if the checkpoint has tensors that are not bound and that the layout does not ignore.
  void account() const { weights_.account(); }

  /// Resolves leaf `n` of a part that `Scheme` quantizes. `positions`: number of rows of RoPE tables.
  template <quantization_scheme Scheme>
  bound_constant bind(const node& n, const slot* s, const std::string& name, std::int64_t positions) {
    if (n.kind == op::splat) return fill<Scheme>(n, s);
    if (n.kind == op::rope_cos || n.kind == op::rope_sin) return table(n, positions);
    const weight_source w = weights_.find(n, name);
    if (quantized_ && s != nullptr && s->kind == slot_kind::weight) {
      bound_constant bound;
      with_weight_format<Scheme>(s->format,
                                 [&]<class Format>(std::type_identity<Format>) { bound = codes<Format>(w); });
      return bound;
    }
    if (n.dims().size() >= 2 && w.is_stored() && is_aligned(w)) return {w.type(), w.data()};
    const bool is_fake_quantized = s != nullptr && s->kind == slot_kind::constant;
    return floats(w.key() + (is_fake_quantized ? "#" : ""), [&] {
      std::vector<float> x = read_constant(w);
      if (is_fake_quantized) fake_quantize<Scheme>(x);
      return x;
    });
  }

 private:
  static bool is_aligned(const weight_source& w) {
    return reinterpret_cast<std::uintptr_t>(w.data()) % static_cast<std::uintptr_t>(bits(w.type()) / 8) == 0;
  }

  template <quantization_scheme Scheme>
  void fake_quantize([[maybe_unused]] std::span<float> x) const {
    if constexpr (Scheme::spec.quantizes_activations()) {
      using format = typename Scheme::activation_format;
      if (quantized_) kernel::fake_quantize(x, x, to_affine<format>(constant_params<format>(x)));
    }
  }

  /// The bits of a number, as part of a key.
  static std::string exact(double value) { return std::to_string(std::bit_cast<std::uint64_t>(value)); }

  template <class F>
  bound_constant floats(const std::string& key, F&& make) {
    auto& stored = floats_[key];
    if (stored.empty()) stored = make();
    return {dtype::f32, stored.data()};
  }

  template <quantization_scheme Scheme>
  bound_constant fill(const node& n, const slot* s) {
    const auto count = static_cast<std::size_t>(n.dims().elements());
    return floats("fill " + std::to_string(count) + " " + exact(n.attr.value) + (s != nullptr ? "#" : ""), [&] {
      std::vector<float> x(count, static_cast<float>(n.attr.value));
      if (s != nullptr) fake_quantize<Scheme>(x);
      return x;
    });
  }

  bound_constant table(const node& n, std::int64_t positions) {
    const std::string key = std::string(qwq::name(n.kind)) + std::string(qwq::name(n.type.type)) + " " +
                            exact(n.attr.value) + " " + std::to_string(n.dims()[1].extent);
    return floats(key, [&] { return rope_rows(n, 0, positions); });
  }

  template <class Format>
  static std::string code_key(const weight_source& w) {
    return (w.key() + '#').append(qwq::name(Format::value.element)) + std::to_string(Format::value.block);
  }

  /// Codes of a matrix: packed for GEMM, or dequantized to floats if no kernel supports the format.
  template <class Format>
  bound_constant codes(const weight_source& w) {
    const std::int64_t rows = w.rows(), cols = w.cols();
    inline_executor here;
    quantized_matrix_reader<Format> made(from_, w, shared_, here);
    if constexpr (blockwise_format<Format>) {
      const kernel::packed_weight<bits(Format::type)> shape{nullptr, rows, cols, Format::block};
      aligned_bytes& bytes = packed_[code_key<Format>(w)];
      if (bytes == nullptr) {
        bytes = allocate_aligned(shape.bytes());
        std::byte* to = bytes.get();
        std::vector<std::uint8_t> flipped;
        made.row_blocks([&](std::span<const std::uint8_t> codes, std::span<const float> scales) {
          const std::int64_t count = static_cast<std::int64_t>(scales.size()) / shape.blocks();
          const std::uint8_t* from = codes.data();
          if (is_signed(Format::type)) {  // packed weights have codes around 8
            flipped.assign(codes.begin(), codes.end());
            for (std::uint8_t& two : flipped) two ^= 0x88;
            from = flipped.data();
          }
          kernel::pack(to, kernel::block_weight<bits(Format::type)>{from, count, cols, Format::block, scales});
          to += count / kernel::panel_n * shape.panel_bytes();
        });
      }
      return {Format::type, bytes.get(), shape.block};
    } else if constexpr (Format::type == dtype::i8 && Format::symmetric) {
      const kernel::packed_weight<8> shape{nullptr, rows, cols, kernel::packed_weight<8>::whole_row(cols)};
      aligned_bytes& bytes = packed_[code_key<Format>(w)];
      if (bytes == nullptr) {
        bytes = allocate_aligned(shape.bytes());
        std::byte* to = bytes.get();
        made.row_blocks([&](std::span<const std::int8_t> codes, std::span<const float> scales) {
          const std::int64_t count = static_cast<std::int64_t>(codes.size()) / cols;
          kernel::pack(to, kernel::int8_weight{codes.data(), count, cols, scales});
          to += count / kernel::panel_n * shape.panel_bytes();
        });
      }
      return {dtype::i8, bytes.get(), shape.block};
    } else {
      return floats(code_key<Format>(w), [&] {
        std::vector<float> x;
        x.reserve(w.size());
        made.values([&x](std::span<const float> rows) { x.insert(x.end(), rows.begin(), rows.end()); });
        return x;
      });
    }
  }

  const checkpoint& from_;
  model_weights weights_;
  bool quantized_;
  granularity shared_;
  std::map<std::string, std::vector<float>> floats_;
  std::map<std::string, aligned_bytes> packed_;
};

}  // namespace qwq
