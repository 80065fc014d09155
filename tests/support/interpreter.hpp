// SPDX-License-Identifier: Apache-2.0
// Defines `interpret`, which evaluates a run-time graph in f64 with plain loops, one operator after another.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <numeric>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "qwq/graph/builder.hpp"
#include "qwq/kernel/views.hpp"

namespace qwq::test {

/// A value: its extents and its elements, row-major. Indices and integer codes are held as doubles too.
struct tensor {
  std::vector<std::int64_t> dims;
  std::vector<double> data;

  tensor() = default;
  explicit tensor(std::vector<std::int64_t> extents)
      : dims(std::move(extents)),
        data(static_cast<std::size_t>(
            std::accumulate(dims.begin(), dims.end(), std::int64_t{1}, [](auto a, auto b) { return a * b; }))) {}

  std::int64_t size() const { return static_cast<std::int64_t>(data.size()); }
  std::size_t rank() const { return dims.size(); }
  std::int64_t last() const { return dims.back(); }
  /// Rows of the last axis.
  std::int64_t rows() const { return size() / last(); }
  double& operator[](std::int64_t i) { return data[static_cast<std::size_t>(i)]; }
  double operator[](std::int64_t i) const { return data[static_cast<std::size_t>(i)]; }
};

/// Outputs of a graph by their names.
using named_tensors = std::map<std::string, tensor, std::less<>>;

/// What a run is given. Leaves without a value in `given` get random values that depend on `seed`, the leaf's name and
/// the place of the element only: a rule may copy a leaf or reshape it.
struct run_setting {
  std::map<std::string, std::int64_t, std::less<>> extents;  ///< Of named dimensions.
  std::int64_t last_position = 0;                            ///< Position of the run's last token.
  std::vector<kernel::affine> slots;  ///< Parameters of quantization slots; empty: floats pass unchanged.
  /// Rounds each f16 and bf16 value to its type. Without it a cast between floats changes nothing, so that rules which
  /// move casts can be compared exactly.
  bool round_narrow = false;
  std::uint64_t seed = 1;
  named_tensors given;
  std::map<std::string, double, std::less<>> state_factor;  ///< What the stored values of a state are multiplied by.
};

namespace detail {

/// splitmix64
constexpr std::uint64_t mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

/// A random word for an element of a named leaf.
inline std::uint64_t random_word(std::uint64_t seed, std::string_view name, std::int64_t index) {
  std::uint64_t h = mix(seed);
  for (const char c : name) h = mix(h ^ static_cast<unsigned char>(c));
  return mix(h ^ static_cast<std::uint64_t>(index));
}

/// The same, as a number in [-1, 1).
inline double random_number(std::uint64_t seed, std::string_view name, std::int64_t index) {
  return static_cast<double>(random_word(seed, name, index) >> 11) * 0x1p-52 - 1;
}

/// The code of x: clip(round_half_even(x / scale) + zero_point).
inline double code_of(double x, const kernel::affine& p) {
  const double scale = static_cast<double>(p.scale);
  const double scaled = p.by == kernel::scaling::divide ? x / scale : x * (1 / scale);
  return std::clamp(std::nearbyint(scaled) + p.zero_point, static_cast<double>(p.range.min),
                    static_cast<double>(p.range.max));
}
inline double value_of(double code, const kernel::affine& p) {
  return (code - p.zero_point) * static_cast<double>(p.scale);
}

}  // namespace detail

/// Evaluates the nodes of a graph in their order. Throws std::runtime_error, which names the node, when a node cannot
/// be evaluated, or its value does not have the extents of the node's type.
class interpreter {
 public:
  interpreter(std::span<const node> nodes, const run_setting& setting) : nodes_(nodes), setting_(setting) {
    for (at_ = 0; at_ < nodes_.size(); ++at_) {
      const node& n = nodes_[at_];
      for (const node_id a : n.args) require(a < at_, "reads a node that does not precede it");
      made value = compute(n);
      round_to(value.own, n.type.type);
      require(value.own.dims == extents(n.dims()), "computes another shape than its type says");
      // A result is of the node itself, not of what its own value is rounded to.
      if (has_fused_fake_quant(n) && !setting_.slots.empty())
        for (double& v : value.own.data) v = fake(v, parameters(n.slot));
      values_.push_back(std::move(value));
    }
  }

  /// The value of a node.
  const tensor& operator[](node_id id) const { return values_[id].own; }

 private:
  /// The value of a node, and its further results.
  struct made {
    tensor own{};
    std::vector<tensor> results{};
  };

  [[noreturn]] void fail(const std::string& what) const {
    const node& n = nodes_[at_];
    throw std::runtime_error("node %" + std::to_string(at_) + " " + std::string(name(n)) + " (" +
                             std::string(n.name.view()) + ", by " + std::string(n.made_by.view()) + "): " + what);
  }
  void require(bool holds, const char* what) const {
    if (!holds) fail(what);
  }

  std::int64_t extent(const dim& d) const {
    if (!d.named()) return d.extent;
    const auto found = setting_.extents.find(d.symbol);
    require(found != setting_.extents.end(), "has a named extent of unknown value");
    return found->second + d.plus;
  }
  std::vector<std::int64_t> extents(const shape& s) const {
    std::vector<std::int64_t> out;
    for (const dim& d : s) out.push_back(extent(d));
    return out;
  }

  static double rounded(double x, dtype t) {
    if (t == dtype::f16) return static_cast<double>(static_cast<float>(float16(static_cast<float>(x))));
    if (t == dtype::bf16) return static_cast<double>(static_cast<float>(bfloat16(static_cast<float>(x))));
    return x;
  }
  void round_to(tensor& x, dtype t) const {
    if (setting_.round_narrow)
      for (double& v : x.data) v = rounded(v, t);
  }

  const kernel::affine& parameters(std::int64_t slot) const {
    require(slot >= 0 && static_cast<std::size_t>(slot) < setting_.slots.size(), "has no such slot");
    return setting_.slots[static_cast<std::size_t>(slot)];
  }
  static double fake(double x, const kernel::affine& p) { return detail::value_of(detail::code_of(x, p), p); }

  const tensor& arg(const node& n, std::size_t i) const { return values_[n.args[i]].own; }

  // ---- leaves

  tensor leaf(const node& n) const {
    tensor out(extents(n.dims()));
    if (const auto given = setting_.given.find(n.name.view()); given != setting_.given.end()) {
      require(given->second.dims == out.dims, "is given a value of another shape");
      return given->second;
    }
    const auto random = [&](std::int64_t i) { return detail::random_number(setting_.seed, n.name.view(), i); };
    switch (n.kind) {
      case op::input:
        for (std::int64_t i = 0; i < out.size(); ++i)
          out[i] = is_plain_float(n.type.type) ? 2 * random(i) : integer(n, i);
        break;
      case op::state: {
        require(n.type.type != dtype::i8, "is a cache of codes, which the interpreter cannot read");
        const auto factor = setting_.state_factor.find(n.name.view());
        const bool rows = n.dims().size() == 4;  // [1,heads,positions,D]: the same rows for any number of positions
        const std::int64_t positions = rows ? out.dims[2] : 1, width = out.last();
        for (std::int64_t i = 0; i < out.size(); ++i) {
          const std::int64_t head = i / width / positions, position = i / width % positions;
          out[i] = random((head * 4096 + position) * 4096 + i % width) *
                   (factor == setting_.state_factor.end() ? 1 : factor->second);
        }
        break;
      }
      case op::weight:
        for (std::int64_t i = 0; i < out.size(); ++i) out[i] = n.attr.value * (random(i) + n.attr.offset);
        break;
      case op::splat:
        std::fill(out.data.begin(), out.data.end(), n.attr.value);
        break;
      default:  // rope_cos, rope_sin
        for (std::int64_t i = 0; i < out.size(); ++i) {
          const auto half = static_cast<double>(out.last());
          const double angle =
              static_cast<double>(i / out.last()) * std::pow(n.attr.value, -static_cast<double>(i % out.last()) / half);
          out[i] = n.kind == op::rope_cos ? std::cos(angle) : std::sin(angle);
        }
    }
    if (!is_plain_float(n.type.type) && n.kind != op::input && !setting_.slots.empty()) {
      const kernel::affine& p = parameters(slot_of_codes());
      for (double& v : out.data) v = detail::code_of(v, p);
    }
    return out;
  }

  /// Elements of integer inputs: positions, token ids, masks and segments.
  double integer(const node& n, std::int64_t i) const {
    if (n.name == "total_seq_len") return static_cast<double>(setting_.last_position + 1);
    if (n.type.type == dtype::i32 && n.dims() == shape{1, 1}) return static_cast<double>(setting_.last_position);
    return static_cast<double>(detail::random_word(setting_.seed, n.name.view(), i) %
                               (n.type.type == dtype::i64 ? 7u : 2u));
  }

  /// The slot of a leaf that is stored as codes: that of the dequantize nodes that read it.
  std::int16_t slot_of_codes() const {
    std::int16_t slot = -1;
    for (const node& reader : nodes_)
      for (const node_id a : reader.args)
        if (a == at_) {
          require(reader.kind == op::dequantize && (slot < 0 || slot == reader.slot), "is read with several slots");
          slot = reader.slot;
        }
    return slot;
  }

  // ---- elementwise

  template <class F>
  static tensor map(tensor x, F f) {
    for (double& v : x.data) v = f(v);
    return x;
  }

  /// f of all pairs of elements, with broadcasting as in numpy.
  template <class F>
  tensor pairs(const tensor& a, const tensor& b, F f) const {
    const std::size_t rank = std::max(a.rank(), b.rank());
    const auto extent_of = [&](const tensor& x, std::size_t axis) {
      const std::size_t lead = rank - x.rank();
      return axis < lead ? 1 : x.dims[axis - lead];
    };
    std::vector<std::int64_t> dims(rank);
    for (std::size_t axis = 0; axis < rank; ++axis) dims[axis] = std::max(extent_of(a, axis), extent_of(b, axis));
    tensor out(dims);
    for (std::int64_t i = 0; i < out.size(); ++i) {
      std::int64_t rest = i, at_a = 0, at_b = 0, stride_a = 1, stride_b = 1;
      for (std::size_t axis = rank; axis-- > 0;) {
        const std::int64_t index = rest % dims[axis], of_a = extent_of(a, axis), of_b = extent_of(b, axis);
        require((of_a == 1 || of_a == dims[axis]) && (of_b == 1 || of_b == dims[axis]), "does not broadcast");
        rest /= dims[axis];
        at_a += of_a == 1 ? 0 : index * stride_a;
        at_b += of_b == 1 ? 0 : index * stride_b;
        stride_a *= of_a;
        stride_b *= of_b;
      }
      out[i] = f(a[at_a], b[at_b]);
    }
    return out;
  }

  static double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
  static double silu(double x) { return x * sigmoid(x); }
  static tensor swiglu(tensor gate, const tensor& up) {
    for (std::int64_t i = 0; i < gate.size(); ++i) gate[i] = silu(gate[i]) * up[i];
    return gate;
  }

  // ---- over the last axis

  static tensor rms_norm(tensor x, const tensor& gain, double eps) {
    const std::int64_t n = x.last();
    for (std::int64_t row = 0; row < x.rows(); ++row) {
      double sum = 0;
      for (std::int64_t j = 0; j < n; ++j) sum += x[row * n + j] * x[row * n + j];
      const double root = std::sqrt(sum / static_cast<double>(n) + eps);
      for (std::int64_t j = 0; j < n; ++j) x[row * n + j] = gain[j] * x[row * n + j] / root;
    }
    return x;
  }

  static tensor layer_norm(tensor x, const tensor& gain, const tensor& bias, double eps) {
    const std::int64_t n = x.last();
    for (std::int64_t row = 0; row < x.rows(); ++row) {
      double mean = 0, variance = 0;
      for (std::int64_t j = 0; j < n; ++j) mean += x[row * n + j] / static_cast<double>(n);
      for (std::int64_t j = 0; j < n; ++j)
        variance += (x[row * n + j] - mean) * (x[row * n + j] - mean) / static_cast<double>(n);
      for (std::int64_t j = 0; j < n; ++j)
        x[row * n + j] = gain[j] * (x[row * n + j] - mean) / std::sqrt(variance + eps) + bias[j];
    }
    return x;
  }

  static tensor lp_norm(tensor x) {
    const std::int64_t n = x.last();
    for (std::int64_t row = 0; row < x.rows(); ++row) {
      double sum = 0;
      for (std::int64_t j = 0; j < n; ++j) sum += x[row * n + j] * x[row * n + j];
      for (std::int64_t j = 0; j < n; ++j) x[row * n + j] = sum == 0 ? 0 : x[row * n + j] / std::sqrt(sum);
    }
    return x;
  }

  static tensor softmax(tensor x) {
    const std::int64_t n = x.last();
    for (std::int64_t row = 0; row < x.rows(); ++row) {
      double most = -std::numeric_limits<double>::infinity(), sum = 0;
      for (std::int64_t j = 0; j < n; ++j) most = std::max(most, x[row * n + j]);
      for (std::int64_t j = 0; j < n; ++j) sum += x[row * n + j] = std::exp(x[row * n + j] - most);
      for (std::int64_t j = 0; j < n; ++j) x[row * n + j] /= sum;
    }
    return x;
  }

  tensor mean(const node& n) const {
    const tensor& x = arg(n, 0);
    tensor out(extents(n.dims()));
    for (std::int64_t row = 0; row < out.size(); ++row)
      for (std::int64_t j = 0; j < x.last(); ++j) out[row] += x[row * x.last() + j] / static_cast<double>(x.last());
    return out;
  }

  /// The k largest of each row; of equal ones the first.
  made top_k(const node& n) const {
    const tensor& x = arg(n, 0);
    made out{tensor(extents(n.dims())), {tensor(extents(n.dims()))}};
    const std::int64_t k = out.own.last();
    std::vector<std::int64_t> order(static_cast<std::size_t>(x.last()));
    for (std::int64_t row = 0; row < out.own.rows(); ++row) {
      std::iota(order.begin(), order.end(), 0);
      std::sort(order.begin(), order.end(), [&](auto a, auto b) {
        const double of_a = x[row * x.last() + a], of_b = x[row * x.last() + b];
        return of_a != of_b ? of_a > of_b : a < b;
      });
      for (std::int64_t j = 0; j < k; ++j) {
        out.results[0][row * k + j] = static_cast<double>(order[static_cast<std::size_t>(j)]);
        out.own[row * k + j] = x[row * x.last() + order[static_cast<std::size_t>(j)]];
      }
    }
    return out;
  }

  // ---- products

  tensor linear(const tensor& x, const tensor& w) const {
    require(w.rank() == 2 && x.last() == w.last(), "multiplies what does not fit");
    std::vector<std::int64_t> dims = x.dims;
    dims.back() = w.dims[0];
    tensor out(dims);
    for (std::int64_t row = 0; row < x.rows(); ++row)
      for (std::int64_t j = 0; j < w.dims[0]; ++j)
        for (std::int64_t k = 0; k < x.last(); ++k)
          out[row * w.dims[0] + j] += x[row * x.last() + k] * w[j * x.last() + k];
    return out;
  }

  tensor matmul(const node& n) const {
    const tensor &x = arg(n, 0), &y = arg(n, 1);
    const std::int64_t rows = x.dims[x.rank() - 2], inner = x.last(), cols = y.last(), batch = x.size() / rows / inner;
    require(y.size() == batch * inner * cols && y.dims[y.rank() - 2] == inner, "multiplies what does not fit");
    std::vector<std::int64_t> dims = x.dims;
    dims.back() = cols;
    tensor out(dims);
    for (std::int64_t b = 0; b < batch; ++b)
      for (std::int64_t i = 0; i < rows; ++i)
        for (std::int64_t j = 0; j < cols; ++j)
          for (std::int64_t k = 0; k < inner; ++k)
            out[(b * rows + i) * cols + j] += x[(b * rows + i) * inner + k] * y[(b * inner + k) * cols + j];
    return out;
  }

  /// x [B,K,A,S], w [N,K,1,1]: a product over axis 1.
  tensor conv1x1(const node& n) const {
    const tensor &x = arg(n, 0), &w = arg(n, 1);
    require(x.rank() == 4 && w.rank() == 4 && w.dims[2] * w.dims[3] == 1 && w.dims[1] == x.dims[1],
            "is no 1x1 convolution");
    const std::int64_t channels = x.dims[1], made_channels = w.dims[0], places = x.dims[2] * x.dims[3];
    tensor out({x.dims[0], made_channels, x.dims[2], x.dims[3]});
    for (std::int64_t b = 0; b < x.dims[0]; ++b)
      for (std::int64_t i = 0; i < places; ++i)
        for (std::int64_t j = 0; j < made_channels; ++j)
          for (std::int64_t k = 0; k < channels; ++k)
            out[(b * made_channels + j) * places + i] += x[(b * channels + k) * places + i] * w[j * channels + k];
    return out;
  }

  /// x [1,S,K] or [1,S,k,K], experts [1,S,k], w [E,N,K]
  tensor expert_linear(const node& n) const {
    const tensor &x = arg(n, 0), &experts = arg(n, 1), &w = arg(n, 2);
    const std::int64_t k = experts.dims[2], width = w.last(), made_width = w.dims[1];
    tensor out({1, experts.dims[1], k, made_width});
    for (std::int64_t i = 0; i < experts.size(); ++i) {
      const std::int64_t row = x.rank() == 3 ? i / k : i, expert = static_cast<std::int64_t>(experts[i]);
      require(0 <= expert && expert < w.dims[0], "reads an expert that is not there");
      for (std::int64_t j = 0; j < made_width; ++j)
        for (std::int64_t c = 0; c < width; ++c)
          out[i * made_width + j] += x[row * width + c] * w[(expert * made_width + j) * width + c];
    }
    return out;
  }

  tensor weighted_sum(const node& n) const {
    const tensor &x = arg(n, 0), &weights = arg(n, 1);
    const std::int64_t k = x.dims[2], width = x.last();
    tensor out({1, x.dims[1], width});
    for (std::int64_t i = 0; i < weights.size(); ++i)
      for (std::int64_t j = 0; j < width; ++j) out[i / k * width + j] += weights[i] * x[i * width + j];
    return out;
  }

  // ---- layout

  tensor transpose(const node& n) const {
    const tensor& x = arg(n, 0);
    tensor out(extents(n.dims()));
    for (std::int64_t i = 0; i < out.size(); ++i) {
      std::int64_t rest = i, at = 0;
      for (std::size_t axis = out.rank(); axis-- > 0;) {
        const auto from = static_cast<std::size_t>(n.attr.ints[axis]);
        std::int64_t stride = 1;
        for (std::size_t inner = from + 1; inner < x.rank(); ++inner) stride *= x.dims[inner];
        at += rest % x.dims[from] * stride;
        rest /= x.dims[from];
      }
      require(at < x.size() && rest == 0, "permutes what does not fit");
      out[i] = x[at];
    }
    return out;
  }

  /// Elements [begin, begin + count) of an axis of `from` go to those from `to` on of `out`.
  static void copy_along(const tensor& from, std::int64_t begin, std::int64_t count, std::size_t axis, tensor& out,
                         std::int64_t to) {
    std::int64_t inner = 1, outer = 1;
    for (std::size_t i = 0; i < axis; ++i) outer *= from.dims[i];
    for (std::size_t i = axis + 1; i < from.rank(); ++i) inner *= from.dims[i];
    for (std::int64_t o = 0; o < outer; ++o)
      for (std::int64_t j = 0; j < count * inner; ++j)
        out[(o * out.dims[axis] + to) * inner + j] = from[(o * from.dims[axis] + begin) * inner + j];
  }

  tensor concat(const node& n) const {
    const auto axis = static_cast<std::size_t>(n.attr.ints[0]);
    std::vector<std::int64_t> dims = arg(n, 0).dims;
    for (std::size_t i = 1; i < n.args.size(); ++i) dims[axis] += arg(n, i).dims[axis];
    tensor out(dims);
    std::int64_t to = 0;
    for (std::size_t i = 0; i < n.args.size(); ++i) {
      copy_along(arg(n, i), 0, arg(n, i).dims[axis], axis, out, to);
      to += arg(n, i).dims[axis];
    }
    return out;
  }

  tensor slice(const node& n) const {
    const auto axis = static_cast<std::size_t>(n.attr.ints[2]);
    std::vector<std::int64_t> dims = arg(n, 0).dims;
    require(n.attr.ints[1] <= dims[axis], "slices beyond the end");
    dims[axis] = n.attr.ints[1] - n.attr.ints[0];
    tensor out(dims);
    copy_along(arg(n, 0), n.attr.ints[0], dims[axis], axis, out, 0);
    return out;
  }

  // ---- language model

  /// Rows `index(i)` of a matrix, in the shape of `n`.
  template <class Index>
  tensor rows_of(const node& n, const tensor& table, Index index) const {
    tensor out(extents(n.dims()));
    const std::int64_t width = table.last();
    for (std::int64_t i = 0; i < out.size(); ++i) {
      const std::int64_t row = index(i / width);
      require(0 <= row && row < table.dims[0], "reads a row that is not in the table");
      out[i] = table[row * width + i % width];
    }
    return out;
  }

  /// x [1,S,heads,D]; row i of cos and sin is that of token i.
  static tensor rope(tensor x, const tensor& cos, const tensor& sin) {
    const std::int64_t half = cos.last(), width = x.last(), heads = x.dims[2];
    for (std::int64_t row = 0; row < x.rows(); ++row)
      for (std::int64_t j = 0; j < half; ++j) {
        const std::int64_t at = row / heads * half + j;
        const double a = x[row * width + j], b = x[row * width + half + j];
        x[row * width + j] = a * cos[at] - b * sin[at];
        x[row * width + half + j] = b * cos[at] + a * sin[at];
      }
    return x;
  }

  /// The cache [1,heads,max,D] with the rows x [1,S,heads,D], the last of them at position `last`.
  tensor kv_cache_update(tensor cache, const tensor& x, std::int64_t last) const {
    const std::int64_t heads = cache.dims[1], positions = cache.dims[2], width = cache.dims[3], rows = x.dims[1];
    require(x.dims[2] == heads && x.dims[3] == width, "appends what does not fit");
    require(last - rows + 1 >= 0 && last < positions, "appends at a position that the cache has not");
    for (std::int64_t i = 0; i < x.size(); ++i) {
      const std::int64_t token = i / width / heads, head = i / width % heads;
      cache[(head * positions + last - rows + 1 + token) * width + i % width] = x[i];
    }
    return cache;
  }

  tensor attention(const tensor& q, const tensor& keys, const tensor& values, std::int64_t last, double scale) const {
    const std::int64_t rows = q.dims[1], heads = q.dims[2], width = q.dims[3], kv_heads = keys.dims[1],
                       positions = keys.dims[2];
    require(last - rows + 1 >= 0 && last < positions, "attends to positions that the cache has not");
    tensor out(q.dims);
    for (std::int64_t i = 0; i < rows * heads; ++i) {
      const std::int64_t seen = last - rows + 1 + i / heads + 1, head = i % heads / (heads / kv_heads);
      tensor scores({seen});
      for (std::int64_t j = 0; j < seen; ++j) {
        for (std::int64_t d = 0; d < width; ++d)
          scores[j] += q[i * width + d] * keys[(head * positions + j) * width + d];
        scores[j] *= scale;
      }
      scores = softmax(scores);
      for (std::int64_t j = 0; j < seen; ++j)
        for (std::int64_t d = 0; d < width; ++d)
          out[i * width + d] += scores[j] * values[(head * positions + j) * width + d];
    }
    return out;
  }

  /// Rows of a segment see each other.
  static tensor full_attention(const tensor& q, const tensor& k, const tensor& v, const tensor& segments,
                               double scale) {
    const std::int64_t rows = q.dims[1], heads = q.dims[2], width = q.dims[3];
    tensor out(q.dims);
    for (std::int64_t i = 0; i < rows * heads; ++i) {
      tensor scores({rows});
      for (std::int64_t j = 0; j < rows; ++j) {
        const std::int64_t key = j * heads + i % heads;
        for (std::int64_t d = 0; d < width; ++d) scores[j] += q[i * width + d] * k[key * width + d];
        scores[j] = segments[i / heads] == segments[j] ? scores[j] * scale : -std::numeric_limits<double>::infinity();
      }
      scores = softmax(scores);
      for (std::int64_t j = 0; j < rows; ++j)
        for (std::int64_t d = 0; d < width; ++d)
          out[i * width + d] += scores[j] * v[(j * heads + i % heads) * width + d];
    }
    return out;
  }

  /// GroupQueryAttention with rotary inside: values are rounded to the type of the cache where they enter it, queries
  /// after their rotation.
  made gqa(const node& n) const {
    const dtype narrow = n.type.type;
    const tensor &keys = arg(n, 3), &values = arg(n, 4);
    const auto last = static_cast<std::int64_t>(arg(n, 5)[0]);
    require(arg(n, 6)[0] == static_cast<double>(last + 1), "has a total_seq_len that is not last_position + 1");
    require(arg(n, 0).dims[1] == arg(n, 1).dims[1] && arg(n, 0).dims[1] == arg(n, 2).dims[1],
            "has queries, keys and values of different tokens");
    const auto split = [&](const tensor& x, std::int64_t heads) {
      tensor out({1, x.dims[1], heads, keys.last()});
      require(out.size() == x.size(), "splits what does not fit");
      out.data = x.data;
      return out;
    };
    const auto rotated = [&](const tensor& x, std::int64_t heads) {
      const auto rows = [&](const tensor& table) {
        tensor out({1, x.dims[1], table.last()});
        const std::int64_t first = last - x.dims[1] + 1;
        require(first >= 0 && last < table.dims[0], "reads a row that is not in the table");
        for (std::int64_t i = 0; i < out.size(); ++i) out[i] = table[first * table.last() + i];
        return out;
      };
      return rope(split(x, heads), rows(arg(n, 7)), rows(arg(n, 8)));
    };
    tensor present_key = kv_cache_update(keys, rotated(arg(n, 1), n.attr.ints[1]), last);
    tensor present_value = kv_cache_update(values, split(arg(n, 2), n.attr.ints[1]), last);
    tensor q = rotated(arg(n, 0), n.attr.ints[0]);
    round_to(present_key, narrow);
    round_to(present_value, narrow);
    round_to(q, narrow);
    tensor out = attention(q, present_key, present_value, last, n.attr.value);
    out.dims = arg(n, 0).dims;
    round_to(out, narrow);
    return {out, {out, present_key, present_value}};
  }

  /// u [1,S,C], w [C,K], state [1,C,K-1]
  made causal_conv1d(const node& n) const {
    const tensor &u = arg(n, 0), &w = arg(n, 1), &state = arg(n, 2);
    const std::int64_t rows = u.dims[1], channels = u.dims[2], taps = w.dims[1];
    made out{tensor(u.dims), {tensor(state.dims)}};
    const auto at = [&](std::int64_t channel, std::int64_t row) {
      return row < 0 ? state[channel * (taps - 1) + taps - 1 + row] : u[row * channels + channel];
    };
    for (std::int64_t c = 0; c < channels; ++c) {
      for (std::int64_t i = 0; i < rows; ++i)
        for (std::int64_t k = 0; k < taps; ++k) out.own[i * channels + c] += w[c * taps + k] * at(c, i - taps + 1 + k);
      for (std::int64_t k = 0; k < taps - 1; ++k) out.results[0][c * (taps - 1) + k] = at(c, rows - taps + 1 + k);
    }
    return out;
  }

  made delta_rule(const node& n) const {
    const tensor &q = arg(n, 0), &k = arg(n, 1), &v = arg(n, 2), &decay = arg(n, 3), &beta = arg(n, 4);
    made out{tensor(v.dims), {arg(n, 5)}};
    tensor& state = out.results[0];
    const std::int64_t rows = v.dims[1], heads = v.dims[2], wide = v.dims[3], deep = k.dims[3];
    const std::int64_t group = heads / k.dims[2];
    for (std::int64_t i = 0; i < rows; ++i)
      for (std::int64_t h = 0; h < heads; ++h) {
        const std::int64_t key = (i * k.dims[2] + h / group) * deep, row = (i * heads + h) * wide;
        const auto m = [&](std::int64_t a, std::int64_t b) -> double& { return state[(h * deep + a) * wide + b]; };
        for (std::int64_t b = 0; b < wide; ++b) {
          double stored = 0;
          for (std::int64_t a = 0; a < deep; ++a) stored += k[key + a] * (m(a, b) *= std::exp(decay[i * heads + h]));
          for (std::int64_t a = 0; a < deep; ++a) {
            m(a, b) += k[key + a] * beta[i * heads + h] * (v[row + b] - stored);
            out.own[row + b] += q[key + a] * m(a, b);
          }
        }
      }
    return out;
  }

  // ---- quantization

  /// Each element with the parameters of the node's slot, or of its row's expert.
  template <class F>
  tensor with_slot(const node& n, F f) const {
    tensor x = arg(n, 0);
    if (setting_.slots.empty()) return x;
    for (std::int64_t i = 0; i < x.size(); ++i) {
      const std::int64_t expert = n.args.size() < 2 ? 0 : static_cast<std::int64_t>(arg(n, 1)[i / x.last()]);
      x[i] = f(x[i], parameters(n.slot + expert));
    }
    return x;
  }

  made compute(const node& n) const {
    const auto in = [&](std::size_t i) -> const tensor& { return arg(n, i); };
    switch (n.kind) {
      case op::input:
      case op::state:
      case op::weight:
      case op::splat:
      case op::rope_cos:
      case op::rope_sin:
        return {leaf(n)};
      case op::add:
        return {pairs(in(0), in(1), [](double a, double b) { return a + b; })};
      case op::mul:
        return {pairs(in(0), in(1), [](double a, double b) { return a * b; })};
      case op::neg:
        return {map(in(0), [](double x) { return -x; })};
      case op::exp:
        return {map(in(0), [](double x) { return std::exp(x); })};
      case op::tanh:
        return {map(in(0), [](double x) { return std::tanh(x); })};
      case op::rsqrt:
        return {map(in(0), [](double x) { return 1 / std::sqrt(x); })};
      case op::sigmoid:
        return {map(in(0), sigmoid)};
      case op::softplus:
        return {map(in(0), [](double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); })};
      case op::silu:
        return {map(in(0), silu)};
      case op::gelu:
        return {map(in(0), [](double x) { return x * (1 + std::erf(x / std::sqrt(2.0))) / 2; })};
      case op::gelu_tanh:
        return {map(in(0), [](double x) {
          return x * (1 + std::tanh(std::sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x))) / 2;
        })};
      case op::select: {
        tensor out = in(2);
        const std::int64_t row = out.size() / out.dims[0] / out.dims[1];
        for (std::int64_t i = 0; i < out.size(); ++i)
          if (in(0)[i / row % out.dims[1]] != 0) out[i] = in(1)[i];
        return {out};
      }
      case op::mean:
        return {mean(n)};
      case op::softmax:
        return {softmax(in(0))};
      case op::rms_norm:
        return {rms_norm(in(0), in(1), n.attr.value)};
      case op::layer_norm:
        return {layer_norm(in(0), in(1), in(2), n.attr.value)};
      case op::lp_norm:
        return {lp_norm(in(0))};
      case op::top_k:
        return top_k(n);
      case op::linear: {
        const tensor y = linear(in(0), in(1));
        return {n.args.size() == 2 ? y : pairs(y, in(2), [](double a, double b) { return a + b; })};
      }
      case op::matmul:
        return {matmul(n)};
      case op::conv1x1:
        return {conv1x1(n)};
      case op::swiglu:
        return {swiglu(in(0), in(1))};
      case op::linear_add:
        return {pairs(linear(in(0), in(1)), in(2), [](double a, double b) { return a + b; })};
      case op::linear_swiglu:
        return {swiglu(linear(in(0), in(1)), linear(in(0), in(2)))};
      case op::norm_linear: {
        made out{rms_norm(in(0), in(1), n.attr.value)};
        for (std::size_t i = 2; i < n.args.size(); ++i) out.results.push_back(linear(out.own, in(i)));
        return out;
      }
      case op::norm_linear_swiglu: {
        made out{rms_norm(in(0), in(1), n.attr.value)};
        out.results.push_back(swiglu(linear(out.own, in(2)), linear(out.own, in(3))));
        return out;
      }
      case op::add_norm: {
        made out{pairs(in(0), in(1), [](double a, double b) { return a + b; })};
        out.results.push_back(rms_norm(out.own, in(2), n.attr.value));
        return out;
      }
      case op::expert_linear:
        return {expert_linear(n)};
      case op::weighted_sum:
        return {weighted_sum(n)};
      case op::reshape: {
        tensor out(extents(n.dims()));
        require(out.size() == in(0).size(), "changes the number of elements");
        out.data = in(0).data;
        return {out};
      }
      case op::transpose:
        return {transpose(n)};
      case op::concat:
        return {concat(n)};
      case op::slice:
        return {slice(n)};
      case op::cast:
        require(is_plain_float(n.type.type) && is_plain_float(nodes_[n.args[0]].type.type), "casts integers");
        return {in(0)};
      case op::embedding:
        return {rows_of(n, in(0), [&](std::int64_t i) { return static_cast<std::int64_t>(in(1)[i]); })};
      case op::table_rows: {
        const std::int64_t first = static_cast<std::int64_t>(in(1)[0]) + 1 - extent(n.dims()[1]);
        return {rows_of(n, in(0), [&](std::int64_t i) { return first + i; })};
      }
      case op::rope:
        return {rope(in(0), in(1), in(2))};
      case op::norm_rope:
        return {rope(rms_norm(in(0), in(1), n.attr.value), in(2), in(3))};
      case op::kv_cache_update:
        return {kv_cache_update(in(0), in(1), static_cast<std::int64_t>(in(2)[0]))};
      case op::attention:
        return {attention(in(0), in(1), in(2), static_cast<std::int64_t>(in(3)[0]), n.attr.value)};
      case op::full_attention:
        return {full_attention(in(0), in(1), in(2), in(3), n.attr.value)};
      case op::gqa:
        return gqa(n);
      case op::causal_conv1d:
        return causal_conv1d(n);
      case op::delta_rule:
        return delta_rule(n);
      case op::get_tuple_element: {
        const std::vector<tensor>& results = values_[n.args[0]].results;
        const auto index = static_cast<std::size_t>(n.attr.ints[0]);
        require(index < results.size(), "is a result that its node does not have");
        return {results[index]};
      }
      case op::quantize:
        return {with_slot(n, detail::code_of)};
      case op::dequantize:
        return {with_slot(n, detail::value_of)};
      case op::fake_quant:
        return {with_slot(n, fake)};
      case op::custom:
        break;
    }
    fail("is an operator that the interpreter does not have");
  }

  std::span<const node> nodes_;
  const run_setting& setting_;
  std::size_t at_ = 0;
  std::vector<made> values_{};
};

/// The outputs of a graph.
template <std::size_t N>
named_tensors interpret(const graph<N>& g, const run_setting& setting) {
  const interpreter values(std::span<const node>(g.nodes.begin(), g.size()), setting);
  named_tensors out;
  for (const graph_output& o : g.outputs) out[std::string(o.name.view())] = values[o.id];
  return out;
}

}  // namespace qwq::test
