// SPDX-License-Identifier: Apache-2.0
// Defines `random_graph`, a generator of well-typed graphs made of fragments that rewrite rules look for.
#pragma once

#include <algorithm>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "interpreter.hpp"
#include "qwq/graph/builder.hpp"

namespace qwq::test {

inline constexpr std::size_t graph_capacity = 320;
using sample_graph = graph<graph_capacity>;

/// What a rule set expects of the graphs that it is given.
struct profile {
  dtype cache = dtype::f32;  ///< Element type of KV caches.
  /// The host keeps the cache and looks up the RoPE rows, as for `circle`: static shapes, one RoPE table, the first
  /// tokens of a text or one token, and no cache that two attentions read.
  bool host_cache = false;
  bool quantized = false;       ///< With quantize, dequantize and fake_quant nodes.
  bool gqa = false;             ///< With gqa nodes.
  bool convolutions = true;     ///< With conv1x1 nodes.
  bool experts = true;          ///< With expert_linear nodes.
  bool embeddings = true;       ///< With embedding nodes.
  bool other_weights = true;    ///< With matrices that are computed, and weights that no product reads.
  bool biases = true;           ///< With products that have a bias.
  std::size_t most_nodes = 90;  ///< No fragment is added to a graph of more nodes.
};

/// A random graph and what it takes to run it.
struct sample {
  sample_graph g{};
  run_setting setting{};
};

inline constexpr std::int64_t cache_length = 8;  ///< Positions of KV caches and RoPE tables.

/// Builds one graph. The same seed and profile give the same one with every compiler, so no two arguments of a call
/// draw random numbers. A value of the stream [1,S,H] goes through a few
/// random fragments. Each fragment has near misses: other attributes, operands in another order, further readers.
class random_graph {
 public:
  static sample make(std::uint64_t seed, const profile& p) {
    sample out;
    random_graph r(seed, p, out);
    r.build();
    return out;
  }

 private:
  random_graph(std::uint64_t seed, const profile& p, sample& out)
      : random_(seed), p_(p), setting_(out.setting), b_(out.g) {
    setting_.seed = seed;
    width_ = 2 * (2 + below(3));
    std::int64_t tokens = 1 + below(5), first = below(3);
    if (p_.host_cache) {
      if (chance(50)) tokens = 1;
      first = tokens == 1 ? below(4) : 0;
    }
    const bool named = !p_.host_cache && chance(50);
    rows_ = named ? dim{5, "sequence_length"} : dim{tokens};
    setting_.extents["sequence_length"] = tokens;
    setting_.last_position = first + tokens - 1;
  }

  // ---- chance

  std::int64_t below(std::int64_t n) { return static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(n)); }
  bool chance(int percent) { return below(100) < percent; }
  template <class T>
  const T& one_of(const std::vector<T>& from) {
    return from[static_cast<std::size_t>(below(static_cast<std::int64_t>(from.size())))];
  }

  // ---- values

  shape hidden() const { return {1, rows_, width_}; }
  /// A value [1,S,H] that was made before, often the last one.
  expr stream() { return chance(60) ? stream_.back() : one_of(stream_); }

  std::string fresh(std::string_view prefix) { return std::string(prefix) + std::to_string(++names_); }

  /// A weight leaf: a new one, or one that other nodes read too. Some are read with a multiplier or an offset.
  expr weight(const shape& dims, role r = role::none) {
    std::vector<expr> known;
    for (const expr w : weights_)
      if (w.dims() == dims && w.definition().weight_role == r) known.push_back(w);
    if (!known.empty() && chance(15)) return one_of(known);
    const expr w = weight_leaf(b_, fresh("w"), {dtype::f32, dims}, r, chance(r == role::norm ? 40 : 10) ? 1 : 0);
    if (chance(15)) b_[w.id].attr.value = 0.75;
    weights_.push_back(w);
    return w;
  }
  expr matrix(std::int64_t rows, std::int64_t cols, role r = role::none) {
    const expr w = weight({rows, cols}, r);
    if (!p_.other_weights || !chance(5)) return w;
    return chance(50) ? w * constant(0.5) : w + weight({cols});
  }
  expr constant(double value) { return leaf(b_, op::splat, "constant", {dtype::f32, {1}}, value); }
  expr position() { return leaf(b_, op::input, "last_position", {dtype::i32, {1, 1}}); }
  double epsilon() { return chance(50) ? 1e-6 : 0.25; }

  expr with_slot(expr x, std::int16_t slot) {
    b_[x.id].slot = slot;
    return x;
  }

  // ---- quantization

  /// The first of `count` new slots, or a slot that has other values already.
  std::int16_t slot(std::int16_t count = 1) {
    if (count == 1 && !slots_.empty() && chance(20)) return one_of(slots_);
    const auto first = static_cast<std::int16_t>(setting_.slots.size());
    const dtype t = one_of(std::vector{dtype::u8, dtype::i8, dtype::u16, dtype::i16, dtype::i4});
    for (std::int16_t i = 0; i < count; ++i) {
      // An irregular scale: no value that is made of values on another grid is half-way between two codes.
      const kernel::code_range range = kernel::full_range(t);
      const double wide = 4 + static_cast<double>(below(1 << 20)) * 0x1p-18;
      const auto scale = static_cast<float>(wide / (range.max - range.min));
      setting_.slots.push_back({scale, (range.min + range.max) / 2 + static_cast<std::int32_t>(below(3)), range,
                                chance(50) ? kernel::scaling::divide : kernel::scaling::multiply});
      types_.push_back(t);
    }
    if (count == 1) slots_.push_back(first);
    return first;
  }
  expr fake_quant(expr x, std::int16_t s, expr experts = {}) {
    const attributes codes{.value = 0, .ints = {}, .type = {types_[static_cast<std::size_t>(s)], {}}};
    const auto add = [&](op kind, const attributes& attr, expr of) {
      return with_slot(experts.ok() ? apply(kind, attr, of, experts) : apply(kind, attr, of), s);
    };
    if (chance(50)) return add(op::fake_quant, {}, x);
    const expr made = add(op::dequantize, {}, add(op::quantize, codes, x));
    if (chance(10)) with_slot(made, slot(experts.ok() ? 3 : 1));  // codes that are read on another grid
    return made;
  }
  expr fake_quant(expr x) { return fake_quant(x, slot()); }
  /// The value, or in graphs with quantization sometimes what it is on a grid; sometimes it is read as a float too.
  expr maybe_quantized(expr x, int percent = 30) {
    if (!p_.quantized || !chance(percent)) return x;
    const std::int16_t s = slot();
    expr q = fake_quant(x, s);
    if (chance(10)) values_.push_back(x);
    if (chance(20)) {  // rearranged, then put on the same grid again, or on another
      const shape d = x.dims();
      expr moved = q;
      switch (below(3)) {
        case 0:
          moved = reshape(moved, wider(d));
          break;
        case 1:
          moved = neg(moved);  // not the same grid: zero points are not in the middle
          break;
        default:
          break;
      }
      q = reshape(fake_quant(moved, chance(70) ? s : slot()), d);
    }
    return q;
  }
  /// [1,...] as [1,1,...], where there is room for one more axis.
  static shape wider(const shape& d) {
    shape out{1};
    for (const dim& x : d) (void)out.try_push_back(x);
    return d.size() == max_rank ? d : out;
  }

  // ---- fragments; each takes values of the stream and makes one

  expr silu_of(expr x) {
    switch (below(4)) {
      case 0:
        return x * sigmoid(x);
      case 1:
        return sigmoid(x) * x;
      case 2:
        return sigmoid(x) * sigmoid(x);  // not silu
      default:
        return silu(x);
    }
  }
  /// A gated product, or something near it.
  expr gated(expr gate, expr up) {
    switch (below(5)) {
      case 0:
        return swiglu(gate, up);
      case 1:
        return silu_of(up) * gate;
      case 2:
        return up * silu_of(gate);
      case 3: {
        const expr other_shape = weight({gate.dims().last()}, role::norm);
        return silu_of(gate) * other_shape;
      }
      default:
        return silu_of(gate) * up;
    }
  }

  expr norm(expr x) {
    const std::int64_t n = x.dims().last().extent;
    switch (below(8)) {
      case 0: {
        // x * rsqrt(mean(x * x) + e) * w, in any order of its operands
        const expr square = x * (chance(85) ? x : tanh(x));
        const expr e = chance(85) ? constant(epsilon()) : exp(weight({1}, role::bias));
        const expr power = chance(50) ? mean(square) + e : e + mean(square);
        const expr root = chance(90) ? rsqrt(power) : rsqrt(exp(tanh(power)));
        const expr unit = chance(50) ? x * root : root * x, w = weight({chance(85) ? n : 1}, role::norm);
        return chance(50) ? unit * w : w * unit;
      }
      case 1: {
        const expr gain = weight({n}, role::norm), bias = weight({n}, role::bias);
        return layer_norm(x, gain, bias, 1e-6);
      }
      default: {
        const expr w = weight({n}, role::norm), gain = p_.other_weights && chance(10) ? w * constant(0.5) : w;
        return rms_norm(x, gain, epsilon());
      }
    }
  }
  expr product(expr x, std::int64_t n, role r = role::none) {
    const std::int64_t k = x.dims().last().extent;
    const expr w = matrix(n, k, r);
    const expr y = p_.biases && chance(10) ? linear(x, w, weight({n}, role::bias)) : linear(x, w);
    return maybe_quantized(y);
  }

  expr residual(expr branch, expr x) {
    switch (below(4)) {
      case 0:
        return x + branch;
      case 1:
        return branch + weight({width_}, role::bias);
      default:
        return maybe_quantized(branch + x);
    }
  }

  expr norm_products() {
    const expr a = stream(), b = stream(), x = chance(30) ? a + b : a, n = maybe_quantized(norm(x));
    if (chance(15)) stream_.push_back(n);
    const std::int64_t count = 1 + below(5);
    expr joined = product(n, width_);
    for (std::int64_t i = 1; i < count; ++i) {
      const expr y = product(n, width_);
      joined = chance(50) ? joined + y : joined * tanh(y);
    }
    return chance(70) ? residual(joined, x) : joined;
  }

  expr mlp() {
    const expr x = stream(), n = chance(60) ? maybe_quantized(norm(x)) : x;
    const std::int64_t wide = width_ + 2 * below(3);
    const role r = chance(40) ? role::gate : role::none;  // schemes leave such products in float
    const bool plain = chance(50);
    const auto branch = [&] { return plain ? linear(n, weight({wide, width_}, r)) : product(n, wide, r); };
    const expr gate = branch(), up = chance(85) ? branch() : gate;
    if (chance(10)) values_.push_back(gate);
    return residual(product(maybe_quantized(gated(gate, up), 60), width_), x);
  }

  /// The rows of the tables of cos and sin that belong to the run's tokens.
  struct rotation {
    expr cos, sin;
  };
  struct tables {
    expr cos, sin;
  };
  tables rope_tables(std::int64_t half) {
    tensor_type type{dtype::f32, {cache_length, half}};
    const bool other = !p_.host_cache && chance(20);
    if (other && chance(50)) return {weight(type.dims, role::position), weight(type.dims, role::position)};
    const double theta = other ? 500 : 10000;
    return {leaf(b_, op::rope_cos, "rope_cos", type, theta), leaf(b_, op::rope_sin, "rope_sin", type, theta)};
  }
  rotation rows_at(const tables& t, expr at) { return {table_rows(t.cos, at, rows_), table_rows(t.sin, at, rows_)}; }

  expr attention_block() {
    const expr x = stream(), n = chance(80) ? maybe_quantized(norm(x)) : x;
    if (caches_ == 3) return n;
    const std::int64_t kv_heads = 1 + below(2), heads = kv_heads * (1 + below(2)), depth = 4;
    if (rotated_ == 0 || !p_.host_cache) rotated_ = chance(30) ? depth / 2 : depth;
    const expr last = position();
    const tables t = rope_tables(rotated_ / 2);
    const rotation at = rows_at(t, last);
    const auto split = [&](std::int64_t count) { return reshape(product(n, count * depth), {1, rows_, count, depth}); };
    const auto normed = [&](expr y, int percent) { return chance(percent) ? norm(y) : y; };
    const auto queries = [&] {
      const expr q = normed(split(heads), 60);
      return chance(90) ? rope(q, at.cos, at.sin) : q;
    };
    expr k = normed(split(kv_heads), 80);
    if (chance(90)) {
      const rotation other = chance(10) && !p_.host_cache ? rows_at(rope_tables(rotated_ / 2), last) : at;
      k = rope(k, other.cos, other.sin);
    }
    const expr v = split(kv_heads);
    // Another leaf, and no pattern may take it for the same, although its value is.
    const expr last_of_v = chance(10) ? leaf(b_, op::input, "other_position", {dtype::i32, {1, 1}}) : last;
    tensor_type cache{p_.cache, {1, kv_heads, cache_length, depth}};
    const std::string number = std::to_string(caches_++);
    const std::string key_name = "key" + number, value_name = "value" + number;
    const expr keys = kv_cache_update(state(b_, key_name, cache, state_update::append), k, last);
    const expr values = kv_cache_update(state(b_, value_name, cache, state_update::append), v, last_of_v);
    if (chance(80)) b_.output(key_name, keys.id);
    if (chance(80)) b_.output(value_name, values.id);
    const auto attend = [&] {
      const expr q = queries(), y = attention(q, keys, values, last, chance(20) ? 1 : 0.4);
      return reshape(y, {1, rows_, heads * depth});
    };
    expr y = maybe_quantized(attend());
    // Its queries do not depend on the first attention: see the known problems in rewrite/random_graphs.cpp.
    if (!p_.host_cache && chance(15)) y = y + attend();
    return residual(product(y, width_), x);
  }

  expr gqa_block() {
    if (caches_ == 3) return stream();
    const expr x = stream();
    const std::int64_t kv_heads = 1 + below(2), heads = kv_heads * (1 + below(2)), depth = 4;
    const dtype narrow = chance(50) ? dtype::f16 : p_.cache;
    const auto as_narrow = [&](expr y) { return narrow == dtype::f32 ? y : cast(y, narrow); };
    tensor_type cache{narrow, {1, kv_heads, cache_length, depth}}, table{narrow, {cache_length, depth / 2}};
    const std::string number = std::to_string(caches_++);
    const std::string key_name = "key" + number, value_name = "value" + number;
    const expr q = as_narrow(product(x, heads * depth)), k = as_narrow(product(x, kv_heads * depth)),
               v = as_narrow(product(x, kv_heads * depth));
    const expr total = leaf(b_, op::input, "total_seq_len", {dtype::i32, {1}});
    const attributes attr{.value = 0.5,
                          .ints = {{static_cast<std::int32_t>(heads), static_cast<std::int32_t>(kv_heads)}, 2}};
    const expr g =
        apply(op::gqa, attr, q, k, v, state(b_, key_name, cache, state_update::append),
              state(b_, value_name, cache, state_update::append), position(), total,
              leaf(b_, op::rope_cos, "rope_cos", table, 10000), leaf(b_, op::rope_sin, "rope_sin", table, 10000));
    if (chance(70)) b_.output(key_name, get_tuple_element(g, 1, cache).id);
    if (chance(70)) b_.output(value_name, get_tuple_element(g, 2, cache).id);
    const expr made = chance(80) ? get_tuple_element(g, 0, g.definition().type) : g;
    return product(narrow == dtype::f32 ? made : cast(made, dtype::f32), width_);
  }

  expr unary(expr x) {
    switch (below(10)) {
      case 0:
        return neg(x);
      case 1:
        return tanh(x);
      case 2:
        return sigmoid(x);
      case 3:
        return silu(x);
      case 4:
        return gelu(x);
      case 5:
        return gelu_tanh(x);
      case 6:
        return softplus(x);
      case 7:
        return softmax(x);
      case 8:
        return rsqrt(exp(tanh(x)));
      default:
        return lp_norm(x);
    }
  }

  expr glue() {
    const expr x = stream(), y = stream();
    switch (below(10)) {
      case 0:
      case 1:
        return x + y;
      case 2:
        return x * y;
      case 3:
        return x * (p_.other_weights ? weight({width_}, role::norm) : constant(0.75));
      case 4:
        return x * mean(y) + constant(0.5);
      case 5:
        return select(leaf(b_, op::input, "mask", {dtype::i32, {1, rows_}}), x, y);
      case 6: {
        const auto half = static_cast<std::int32_t>(width_ / 2);
        return concat(slice(x, half, 2 * half), slice(y, 0, half));
      }
      case 7:
        return cast(cast(x, dtype::f16), dtype::f32);
      case 8:
        return silu_of(x);
      default:
        return unary(x);
    }
  }

  /// Reshapes and transposes that cancel, or nearly.
  expr layout_chain() {
    expr x = stream();
    const std::int64_t half = width_ / 2;
    for (std::int64_t i = 1 + below(3); i > 0; --i) {
      switch (below(4)) {
        case 0:
          x = reshape(reshape(x, {1, rows_, 2, half}), hidden());
          break;
        case 1:
          x = transpose(reshape(x, {1, rows_, 2, half}), {{0, 2, 1, 3}, 4});
          if (chance(40)) x = unary(x);
          x = reshape(transpose(x, {{0, 2, 1, 3}, 4}), hidden());
          break;
        case 2:
          x = reshape(x, hidden());
          break;
        default:
          x = reshape(x, {1, 1, rows_, width_});
          if (chance(40)) x = unary(x);
          if (chance(20)) values_.push_back(x);
          x = reshape(x, hidden());
      }
    }
    return x;
  }

  /// An operator that reads a squeeze [1,1,S,H] -> [1,S,H], or a reshape that is none.
  expr squeezed() {
    expr u = unary(reshape(stream(), {1, 1, rows_, width_}));
    if (chance(15)) u = unary(reshape(stream(), {1, rows_, 1, width_}));
    const expr s = reshape(u, hidden()), y = stream();
    if (chance(20)) stream_.push_back(s);
    const auto wide = static_cast<std::int32_t>(width_);
    switch (below(9)) {
      case 0:
        return s + y;
      case 1:
        return y + (chance(50) ? s : constant(0.5)) * s;
      case 2:
        return s * y;
      case 3:
        return p_.other_weights ? weight({width_}, role::norm) * s : s * constant(2);
      case 4:
        return sigmoid(s);
      case 5:
        return lp_norm(s);
      case 6:
        return product(slice(s, 1, wide - 1), width_);
      case 7:  // along the other axes
        if (chance(50)) return slice(concat(s, y, 0), 0, 1, 0);
        if (rows_.named()) return y * slice(s, 0, 1, 1);
        return slice(concat(s, y, 1), 0, static_cast<std::int32_t>(rows_.extent), 1);
      default:
        return product(chance(70) ? concat(s, y) : concat(y, s), width_);
    }
  }

  /// Transpose - 1x1 convolution - transpose, of [1,1,S,H] or [1,S,1,H].
  expr convolution() {
    const bool unusual = chance(15);
    const expr x = reshape(stream(), unusual ? shape{1, rows_, 1, width_} : shape{1, 1, rows_, width_});
    const fixed_vector<std::int32_t, 5> in[] = {{{0, 3, 1, 2}, 4}, {{0, 3, 2, 1}, 4}};
    const fixed_vector<std::int32_t, 5> out[] = {{{0, 2, 3, 1}, 4}, {{0, 3, 2, 1}, 4}};
    expr t = transpose(x, in[chance(15) ? 1 : 0]);
    if (chance(10)) values_.push_back(t);
    if (p_.quantized && chance(50)) t = fake_quant(t);
    const auto convolved = [&] {
      tensor_type kernel{dtype::f32, {width_, width_, 1, 1}};
      const bool tied = p_.other_weights && chance(20);  // the same tensor is the matrix of a product elsewhere
      expr w = tied ? leaf_like(b_, weight({width_, width_}).definition(), kernel) : weight(kernel.dims);
      if (p_.quantized && chance(30)) {  // stored as codes
        const std::int16_t s = slot();
        const dtype codes = types_[static_cast<std::size_t>(s)];
        w = with_slot(apply(op::dequantize, {}, leaf(b_, op::weight, fresh("w"), {codes, kernel.dims})), s);
      }
      expr y = conv1x1(t, w);
      if (chance(5)) values_.push_back(y);
      if (p_.quantized && chance(50)) y = fake_quant(y);
      return reshape(transpose(y, out[chance(15) ? 1 : 0]), hidden());
    };
    const expr y = convolved();
    return chance(30) ? y + convolved() : y;
  }

  expr experts() {
    const expr x = stream();
    const std::int64_t count = 3, k = 2;
    const expr router = linear(x, weight({count, width_}, role::router));
    const expr best = top_k(softmax(router), k);
    const expr chosen = get_tuple_element(best, 0, {dtype::i32, best.dims()});
    std::vector<std::int16_t> used;
    const auto maybe = [&](expr y) {
      if (!p_.quantized || !chance(50)) return y;
      used.push_back(!used.empty() && chance(30) ? used.back() : slot(static_cast<std::int16_t>(count)));
      return fake_quant(y, used.back(), chance(90) ? chosen : expr{});
    };
    const auto by_expert = [&](expr y) {
      return maybe(expert_linear(y, chosen, weight({count, width_, width_}, role::expert)));
    };
    const expr gate = by_expert(x), up = by_expert(x);
    return weighted_sum(by_expert(maybe(gated(gate, up))), best);
  }

  /// Operators that no rule looks for.
  expr rare() {
    const expr x = stream();
    const shape heads{1, rows_, 2, width_ / 2};
    if (chance(40)) {
      const auto split = [&] { return reshape(product(x, width_), heads); };
      const expr segments = leaf(b_, op::input, "segments", {dtype::i32, {1, rows_}});
      const expr q = split(), k = split(), v = split();
      return reshape(full_attention(q, k, v, segments, 0.5), hidden());
    }
    if (chance(50)) {
      const std::string name = fresh("window");
      const expr y = causal_conv1d(x, weight({width_, 3}, role::conv),
                                   state(b_, name, {dtype::f32, {1, width_, 2}}, state_update::replace));
      b_.output(name, get_tuple_element(y, 0, {dtype::f32, {1, width_, 2}}).id);
      return y;
    }
    const std::string name = fresh("memory");
    tensor_type memory{dtype::f32, {1, 2, width_ / 2, width_ / 2}};
    const auto split = [&] { return lp_norm(reshape(product(x, width_), heads)); };
    const expr q = split(), k = split(), v = split();
    const expr decay = neg(softplus(product(x, 2))), beta = sigmoid(product(x, 2));
    const expr y = delta_rule(q, k, v, decay, beta, state(b_, name, memory, state_update::replace));
    b_.output(name, get_tuple_element(y, 0, memory).id);
    return reshape(y, hidden());
  }

  expr matrix_product() {
    const expr x = reshape(stream(), {1, rows_, 2, width_ / 2}), y = reshape(stream(), {1, rows_, 2, width_ / 2});
    return reshape(matmul(x, matmul(transpose(y, {{0, 1, 3, 2}, 4}), y)), hidden());
  }

  // ---- the whole

  void build() {
    if (p_.embeddings && chance(20))
      stream_.push_back(
          embedding(weight({7, width_}, role::embedding), leaf(b_, op::input, "ids", {dtype::i64, {1, rows_}})));
    else
      stream_.push_back(leaf(b_, op::input, "x", {dtype::f32, hidden()}));
    if (chance(40)) stream_.push_back(leaf(b_, op::input, "z", {dtype::f32, hidden()}));
    for (std::int64_t i = 2 + below(5); i > 0 && b_.target().size() < p_.most_nodes; --i) {
      b_.module = std::string_view(fresh("block"));
      const expr made = fragment();
      if (!made.ok()) return;  // the graph has the problem
      stream_.push_back(maybe_quantized(made));
    }
    b_.output("y", stream_.back().id);
    for (const expr v : values_)
      if (chance(70) && b_.target().outputs->size() < max_outputs) b_.output(fresh("inner"), v.id);
    for (const expr v : stream_)
      if (chance(15) && b_.target().outputs->size() < max_outputs) b_.output(fresh("stream"), v.id);
  }

  expr fragment() {
    for (;;) {
      const std::int64_t kind = below(100);
      if (kind < 15) return norm_products();
      if (kind < 30) return mlp();
      if (kind < 45) return attention_block();
      if (kind < 55 && p_.gqa) return gqa_block();
      if (kind < 65) return glue();
      if (kind < 72) return layout_chain();
      if (kind < 82) return squeezed();
      if (kind < 90 && p_.convolutions) return convolution();
      if (kind < 95 && p_.experts) return experts();
      if (kind < 97 && p_.other_weights) return rare();
      if (kind >= 97) return matrix_product();
    }
  }

  std::mt19937_64 random_;
  const profile& p_;
  run_setting& setting_;
  builder b_;
  std::int64_t width_ = 0, rotated_ = 0;
  dim rows_{};
  int names_ = 0, caches_ = 0;
  std::vector<expr> stream_{}, weights_{}, values_{};
  std::vector<std::int16_t> slots_{};
  std::vector<dtype> types_{};
};

}  // namespace qwq::test
