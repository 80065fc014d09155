// SPDX-License-Identifier: Apache-2.0
// The bytes of a model's constants, as files hold them: streamed from the checkpoint, one block at a time.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "qwq/runtime/constants.hpp"

namespace qwq::to_file {

/// Takes the bytes of a tensor, front to back, in as many pieces as its source likes.
using byte_sink = std::function<void(std::span<const std::byte>)>;
/// Hands the bytes of a tensor to a sink. It may be called more than once, and gives the same bytes each time.
using byte_source = std::function<void(const byte_sink&)>;

/// Key of a leaf's bytes: what it holds, and the factor that it is read with.
inline std::string leaf_key(const std::string& what, double value) {
  return value == 1.0 ? what : what + '*' + std::to_string(std::bit_cast<std::uint64_t>(value));
}

/// A quantized constant: scales and zero points (one, or one per row), and its codes whenever they are asked for. With
/// `block` > 0 there is a scale for so many elements of a row, and codes are packed as `block_quantizer` does.
struct quantized_source {
  std::vector<float> scales;
  std::vector<std::int32_t> zero_points;
  byte_source codes;
  std::int32_t block = 0;
};

/// What a scheme does to constants, behind pointers: emitters compile once for all schemes.
class quantizer {
 public:
  /// Of the schemes of all layers.
  template <quantization_scheme Scheme>
  static quantizer of() {
    quantizer q;
    qwq::detail::for_each_type(all_weight_formats<Scheme>{}, [&]<class Format>(std::type_identity<Format>) {
      q.matrices_.push_back({type_of_format<Format>(), &quantize_matrix<Format>});
    });
    qwq::detail::for_each_type(layer_schemes<Scheme>{}, [&]<class Layer>(std::type_identity<Layer>) {
      if constexpr (Layer::types.quantizes_activations())
        q.constants_.push_back({Layer::types.activation, &quantize_constant<typename Layer::activation_format>});
    });
    return q;
  }

  /// Codes of a matrix, and of any other constant, for slot `s`.
  quantized_source matrix(const slot& s, const tensor_info& t, granularity shared) const {
    return find(matrices_, weight_type{s.type, s.block})(t, shared);
  }
  /// Codes of a constant of a slot.
  quantized_source constant(const slot& s, std::vector<float> x) const { return find(constants_, s.type)(std::move(x)); }

 private:
  template <class Format>
  static quantized_source quantize_matrix(const tensor_info& t, [[maybe_unused]] granularity shared) {
    if constexpr (blockwise_format<Format>) {
      quantized_source q{{}, {}, [&t](const byte_sink& sink) {
                           for_each_packed_block<Format>(t, [&](auto packed, auto) { sink(std::as_bytes(packed)); });
                         },
                         Format::block};
      for_each_packed_block<Format>(
          t, [&](auto, auto scales) { q.scales.insert(q.scales.end(), scales.begin(), scales.end()); });
      return q;
    } else {
      weight_params<Format> params = measure_weight<Format>(t, shared);
      return {params.scales, params.zero_points, [&t, params](const byte_sink& sink) {
                for_each_code_block(t, params, [&](auto codes) { sink(std::as_bytes(codes)); });
              }};
    }
  }

  template <class Format>
  static quantized_source quantize_constant(std::vector<float> x) {
    const qparams p = constant_params<Format>(x);
    std::vector<code_t<Format::type>> codes(x.size());
    kernel::quantize(std::span(codes), std::span<const float>(x), to_affine<Format>(p));
    return {{p.scale}, {p.zero_point}, [codes = std::move(codes)](const byte_sink& sink) {
              sink(std::as_bytes(std::span(codes)));
            }};
  }

  template <class Key, class F>
  static F find(const std::vector<std::pair<Key, F>>& in, const Key& key) {
    return std::ranges::find(in, key, &std::pair<Key, F>::first)->second;
  }

  std::vector<std::pair<weight_type, quantized_source (*)(const tensor_info&, granularity)>> matrices_;
  std::vector<std::pair<dtype, quantized_source (*)(std::vector<float>)>> constants_;
};

/// Floats as elements of `type`, f32 or f16.
inline void write_floats(std::span<const float> x, dtype type, const byte_sink& sink) {
  if (type == dtype::f32) return sink(std::as_bytes(x));
  if (type != dtype::f16) throw error("emit: expected f32 or f16 constants, found " + std::string(name(type)));
  std::vector<float16> narrow;
  narrow.reserve(x.size());
  for (const float v : x) narrow.emplace_back(v);
  sink(std::as_bytes(std::span(narrow)));
}

/// Constants of one export. Matrices are measured once, however many graphs read them.
class tensor_source {
 public:
  /// Reads `from`, which must outlive it; `how` and `shared` say what weights become.
  tensor_source(const checkpoint& from, quantizer how, granularity shared)
      : from_(from), how_(std::move(how)), shared_(shared) {}

  granularity shared() const { return shared_; }

  /// The checkpoint tensor behind a weight leaf.
  const tensor_info& find(const node& n, const std::string& name) const { return find_weight(from_, n, name); }

  /// Float elements of a weight leaf: `multiplier` times the stored ones.
  byte_source floats(const tensor_info& t, double multiplier, dtype type) const {
    return [this, &t, multiplier, type](const byte_sink& sink) {
      const bool matrix = t.shape.size() == 2;
      const auto size = static_cast<std::int64_t>(t.size());
      std::vector<float> block;
      from_.sequential(t);
      for_each_block(t, matrix ? t.shape[0] : 1, matrix ? t.shape[1] : size, block, [&](std::int64_t, auto rows) {
        const auto x = std::span(block).first(static_cast<std::size_t>(rows.rows * rows.cols));
        multiply(x, multiplier);
        write_floats(x, type, sink);
      });
      from_.release(t);
    };
  }

  /// Codes of the matrix of a product, for slot `s`.
  const quantized_source& matrix(const slot& s, const tensor_info& t) {
    const auto [at, added] = matrices_.try_emplace({t.name, s.type, s.block});
    if (added) {
      at->second = how_.matrix(s, t, shared_);
      at->second.codes = [this, &t, codes = std::move(at->second.codes)](const byte_sink& sink) {
        codes(sink);
        from_.release(t);
      };
    }
    return at->second;
  }

  /// Codes of any other constant.
  quantized_source constant(const slot& s, std::vector<float> x) const { return how_.constant(s, std::move(x)); }

  /// A RoPE table, all rows that its leaf declares.
  static byte_source table(const node& n) {
    return [n](const byte_sink& sink) {
      constexpr std::int64_t at_once = 1024;
      const std::int64_t rows = n.dims()[0].extent;
      for (std::int64_t first = 0; first < rows; first += at_once)
        write_floats(rope_rows(n, first, std::min(at_once, rows - first)), n.type.type, sink);
    };
  }

  /// `count` times one value.
  static byte_source fill(double value, std::int64_t count, dtype type) {
    return [=](const byte_sink& sink) {
      write_floats(std::vector<float>(static_cast<std::size_t>(count), static_cast<float>(value)), type, sink);
    };
  }

 private:
  const checkpoint& from_;
  quantizer how_;
  granularity shared_;
  std::map<std::tuple<std::string, dtype, std::int32_t>, quantized_source> matrices_;
};

}  // namespace qwq::to_file
