// SPDX-License-Identifier: Apache-2.0
// Defines `tensor_source`, which streams the constants of an export from the checkpoint, one row block at a time.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "qwq/emit/options.hpp"
#include "qwq/weights/constant_store.hpp"

namespace qwq::to_file {

/// Receives the bytes of a tensor in order, in pieces of any size.
using byte_sink = std::function<void(std::span<const std::byte>)>;
/// Passes the bytes of a tensor to a sink. Can be called more than once; each call passes the same bytes.
using byte_source = std::function<void(const byte_sink&)>;

/// Key for the bytes of a splat or a table: its kind, followed by its value unless that is 1.
inline std::string leaf_key(const std::string& what, double value) {
  return value == 1.0 ? what : what + '*' + std::to_string(std::bit_cast<std::uint64_t>(value));
}

/// A quantized constant: codes, with scales and zero points for the tensor, for each row, or for each `block` elements
/// of a row. Computed lazily, on first access.
class quantized_source {
 public:
  virtual ~quantized_source() = default;
  virtual std::size_t scale_count() const = 0;  ///< Number of scales, known before they are computed.
  /// Scales: one for the tensor, one per row, or one per block.
  virtual std::span<const float> scales() = 0;
  /// Zero points, one per scale; empty for blockwise formats.
  virtual std::span<const std::int32_t> zero_points() = 0;
  /// Writes the codes to `sink`: one per element of one byte or more, or packed in blocks by `block_quantizer`.
  virtual void codes(const byte_sink& sink) = 0;
  /// Frees what can be computed again.
  virtual void forget() {}
  /// Elements of a row that share a scale; 0 if the format is not blockwise.
  std::int32_t block() const { return block_; }

 protected:
  /// `block`: elements of a row that share a scale, or 0.
  explicit quantized_source(std::int32_t block = 0) : block_(block) {}

 private:
  std::int32_t block_;
};

/// How matrices of a checkpoint are read and quantized.
struct matrix_reading {
  const checkpoint& from;  ///< The checkpoint.
  granularity shared;      ///< What shares a scale in formats without blocks.
  executor& threads;       ///< Runs reading and quantization.
  bool only_sizes;         ///< All scales are 1, and no weights are read to compute them.
};

namespace detail {

template <class Format>
constexpr std::int32_t block_of() {
  if constexpr (blockwise_format<Format>) return Format::block;
  return 0;
}

template <class Format>
class quantized_matrix final : public quantized_source {
 public:
  quantized_matrix(const weight_source& w, const matrix_reading& how)
      : quantized_source(block_of<Format>()),
        codes_(how.from, w, how.shared, how.threads),
        only_sizes_(how.only_sizes) {}
  std::size_t scale_count() const override { return codes_.scale_count(); }
  std::span<const float> scales() override {
    if (only_sizes_) ones_.assign(scale_count(), 1.0f);
    return only_sizes_ ? ones_ : codes_.scales();
  }
  std::span<const std::int32_t> zero_points() override {
    if (only_sizes_) zeros_.assign(block() > 0 ? 0 : scale_count(), 0);
    return only_sizes_ ? zeros_ : codes_.zero_points();
  }
  void codes(const byte_sink& sink) override { codes_.codes(sink); }
  void forget() override {
    codes_.forget();
    ones_ = {};
    zeros_ = {};
  }

 private:
  quantized_matrix_reader<Format> codes_;
  bool only_sizes_;
  std::vector<float> ones_;
  std::vector<std::int32_t> zeros_;
};

template <class Format>
class quantized_vector final : public quantized_source {
 public:
  explicit quantized_vector(std::span<const float> x) : codes_(x.size()) {
    const qparams p = constant_params<Format>(x);
    scale_ = p.scale;
    zero_point_ = p.zero_point;
    kernel::quantize(std::span(codes_), x, to_affine<Format>(p));
  }
  std::size_t scale_count() const override { return 1; }
  std::span<const float> scales() override { return {&scale_, 1}; }
  std::span<const std::int32_t> zero_points() override { return {&zero_point_, 1}; }
  void codes(const byte_sink& sink) override { sink(std::as_bytes(std::span(codes_))); }

 private:
  float scale_;
  std::int32_t zero_point_;
  std::vector<code_t<Format::type>> codes_;
};

}  // namespace detail

/// The weight and constant formats of a scheme, type-erased: emitters are compiled once for all schemes.
class quantizer {
 public:
  /// The quantizer for the schemes of all layers of `Scheme`.
  template <quantization_scheme Scheme>
  static quantizer of() {
    quantizer q;
    qwq::detail::for_each_type(all_weight_formats<Scheme>{}, [&]<class Format>(std::type_identity<Format>) {
      q.matrices_.push_back({Format::value, &make_matrix<Format>});
    });
    qwq::detail::for_each_type(layer_schemes<Scheme>{}, [&]<class Layer>(std::type_identity<Layer>) {
      if constexpr (Layer::spec.quantizes_activations())
        q.constants_.push_back({Layer::spec.activation, &make_vector<typename Layer::activation_format>});
    });
    return q;
  }

  /// Codes of a weight matrix, in the format of slot `s`.
  std::shared_ptr<quantized_source> matrix(const slot& s, const weight_source& w, const matrix_reading& how) const {
    return find(matrices_, s.format)(w, how);
  }
  /// Codes of any other constant, in the format of slot `s`.
  std::shared_ptr<quantized_source> constant(const slot& s, std::span<const float> x) const {
    return find(constants_, s.format)(x);
  }

 private:
  template <class Format>
  static std::shared_ptr<quantized_source> make_matrix(const weight_source& w, const matrix_reading& how) {
    return std::make_shared<detail::quantized_matrix<Format>>(w, how);
  }
  template <class Format>
  static std::shared_ptr<quantized_source> make_vector(std::span<const float> x) {
    return std::make_shared<detail::quantized_vector<Format>>(x);
  }

  template <class Key, class F>
  static F find(const std::vector<std::pair<Key, F>>& in, const Key& key) {
    return std::ranges::find(in, key, &std::pair<Key, F>::first)->second;
  }

  using shared_source = std::shared_ptr<quantized_source>;
  std::vector<std::pair<number_format, shared_source (*)(const weight_source&, const matrix_reading&)>> matrices_;
  std::vector<std::pair<number_format, shared_source (*)(std::span<const float>)>> constants_;
};

/// Calls f(T{}) with the C++ type of constants of `type`, f32 or f16. Throws `error` for other types.
template <class F>
void with_float_type(dtype type, F&& f) {
  if (type == dtype::f32) return f(float{});
  if (type == dtype::f16) return f(float16{});
  throw error("emit: expected f32 or f16 constants, found " + std::string(name(type)));
}

/// Writes floats to `sink` as elements of `type`, f32 or f16.
inline void write_floats(std::span<const float> x, dtype type, const byte_sink& sink) {
  with_float_type(type, [&]<class T>(T) {
    if constexpr (std::is_same_v<T, float>) return sink(std::as_bytes(x));
    const std::vector<T> narrow(x.begin(), x.end());
    sink(std::as_bytes(std::span(narrow)));
  });
}

/// The constants of one export. A matrix is read in row blocks when its bytes are requested.
class tensor_source {
 public:
  /// `keep_scales`: keep the scales of all matrices in memory, because the file stores them inline. Otherwise only the
  /// most recent matrix keeps more than 256.
  tensor_source(const checkpoint& from, quantizer how, const emit_options& options, bool keep_scales = false,
                const weight_layout& layout = default_layout)
      : from_(from),
        weights_(from, layout),
        how_(std::move(how)),
        keep_scales_(keep_scales),
        reading_{from, options.weights, options.threads != nullptr ? *options.threads : here_,
                 options.files.use == file_use::count} {}
  tensor_source(const tensor_source&) = delete;
  tensor_source& operator=(const tensor_source&) = delete;

  /// What shares a scale in formats without blocks.
  granularity shared() const { return reading_.shared; }

  /// The stored values of a weight leaf.
  weight_source find(const node& n, const std::string& name) { return weights_.find(n, name); }
  /// Throws `error` if the checkpoint has tensors that no leaf uses and that the layout does not ignore.
  void account() const { weights_.account(); }

  /// Elements of a weight leaf as floats of `type`.
  byte_source floats(weight_source w, dtype type) const {
    return [this, w = std::move(w), type](const byte_sink& sink) {
      const std::int64_t cols = w.cols();
      with_float_type(type, [&]<class T>(T) {
        std::vector<T> block_values;
        const auto begin = [&](std::int64_t count) { block_values.resize(static_cast<std::size_t>(count * cols)); };
        const auto task = [&](std::int64_t row_block, std::int64_t first, matrix_view<const float> block) {
          T* to = block_values.data() + (first - row_block) * cols;
          for (std::int64_t i = 0; i < block.rows * cols; ++i) to[i] = static_cast<T>(block.data[i]);
        };
        for_each_row_block(from_, w, reading_.threads, begin, task,
                           [&] { sink(std::as_bytes(std::span(block_values))); });
      });
    };
  }

  /// Codes of the weight matrix of a GEMM, for slot `s`.
  std::shared_ptr<quantized_source> matrix(const slot& s, const weight_source& w) {
    constexpr std::size_t few = 256;
    std::shared_ptr<quantized_source>& q = matrices_[{w.key(), s.format.element, s.format.block}];
    if (q == nullptr) q = how_.matrix(s, w, reading_);
    if (!keep_scales_ && last_ != nullptr && last_ != q && last_->scale_count() > few) last_->forget();
    return last_ = q;
  }

  /// Codes of any other constant, for slot `s`.
  std::shared_ptr<quantized_source> constant(const slot& s, std::span<const float> x) const {
    return how_.constant(s, x);
  }

  /// A RoPE table: all rows that its leaf declares.
  static byte_source table(const node& n) {
    return [n](const byte_sink& sink) {
      constexpr std::int64_t at_once = 1024;
      const std::int64_t rows = n.dims()[0].extent;
      for (std::int64_t first = 0; first < rows; first += at_once)
        write_floats(rope_rows(n, first, std::min(at_once, rows - first)), n.type.type, sink);
    };
  }

  /// One value, repeated `count` times, as elements of `type`.
  static byte_source fill(double value, std::int64_t count, dtype type) {
    return [=](const byte_sink& sink) {
      write_floats(std::vector<float>(static_cast<std::size_t>(count), static_cast<float>(value)), type, sink);
    };
  }

 private:
  const checkpoint& from_;
  model_weights weights_;
  quantizer how_;
  bool keep_scales_;
  inline_executor here_;
  matrix_reading reading_;
  std::map<std::tuple<std::string, dtype, std::int32_t>, std::shared_ptr<quantized_source>> matrices_;
  std::shared_ptr<quantized_source> last_;
};

}  // namespace qwq::to_file
