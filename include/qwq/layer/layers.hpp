// SPDX-License-Identifier: Apache-2.0
// Defines the typed layers of the Qwen3 family: class templates whose call appends nodes to a graph.
#pragma once

#include <string_view>

#include "qwq/layer/value.hpp"

namespace qwq::layer {

namespace detail {
template <class X>
constexpr void require_float() {
  static_assert(
      float_value<X>,
      "qwq::layer: this layer computes in float, and x holds integer codes; put qwq::dequantize(x) before it");
}
}  // namespace detail

/// y = x W^T, with W stored as [Out, In]. `Weight` is the element type of the stored weight: f32 for checkpoint tensors
/// of any float type, or an integer type, whose scales are in the weight's own slot.
template <std::int64_t In, std::int64_t Out, dtype Weight = dtype::f32>
struct linear {
  std::string_view name;  ///< Name in the checkpoint.
  role use = role::none;  ///< Role of the weight; schemes exclude some roles.

  /// Applies the layer to x [..., In] with its own weight, a new leaf.
  template <class X>
  constexpr value<dtype::f32> operator()(X x) const {
    const in_module scope{*x.b, name};
    return (*this)(x, parameter<Weight, Out, In>{weight_leaf(*x.b, scope.tensor("weight"), {Weight, {Out, In}}, use)});
  }

  /// Applies the layer with a weight that another layer owns, such as a tied embedding.
  template <class X, dtype T, std::int64_t Rows, std::int64_t Cols>
  constexpr value<dtype::f32> operator()(X x, parameter<T, Rows, Cols> w) const {
    detail::require_float<X>();
    static_assert(T == Weight,
                  "qwq::layer::linear(x, w) requires w to have the element type that the layer was declared with");
    static_assert(Rows == Out && Cols == In, "qwq::layer::linear<In, Out>(x, w) requires w to be [Out, In]");
    if constexpr (is_plain_float(T)) {
      return value<dtype::f32>{qwq::linear(x, w)};
    } else {
      return value<dtype::f32>{qwq::linear(x, apply(op::dequantize, {}, w))};
    }
  }
};

/// Gain of a norm: the stored weight, or 1 + the stored weight (Qwen3.5).
enum class gain : std::uint8_t { as_stored, one_plus };

/// y = g * x / sqrt(mean(x^2) + eps) over the last axis, of N channels, with gain g as `Gain` specifies.
template <std::int64_t N, gain Gain = gain::as_stored>
struct rms_norm {
  std::string_view name;  ///< Name in the checkpoint.
  double eps;             ///< Added to the mean square.

  /// Applies the norm to x [..., N].
  template <class X>
  constexpr value<dtype::f32> operator()(X x) const {
    detail::require_float<X>();
    const in_module scope{*x.b, name};
    const double offset = Gain == gain::one_plus ? 1 : 0;
    const expr g = weight_leaf(*x.b, scope.tensor("weight"), {dtype::f32, {N}}, role::norm, offset);
    return value<dtype::f32>{qwq::rms_norm(x, g, eps)};
  }
};

/// h + x: adds the output of a block to the residual stream.
struct residual {
  std::string_view name;  ///< Module of the addition in traces and messages.

  /// Appends the addition; h and x have the same shape.
  template <class H, class X>
  constexpr value<dtype::f32> operator()(H h, X x) const {
    detail::require_float<H>();
    detail::require_float<X>();
    const in_module scope{*h.b, name};
    return value<dtype::f32>{h + x};
  }
};

/// RoPE of the tokens of a run: cos and sin of their angles, [1, S, R/2] each, for the first R channels of each head.
struct rotation {
  value<dtype::f32> cos;  ///< Cosines.
  value<dtype::f32> sin;  ///< Sines.

  /// Half-split rotary embedding of x [1, S, heads, head_dim].
  template <class X>
  constexpr value<dtype::f32> operator()(X x) const {
    detail::require_float<X>();
    return value<dtype::f32>{qwq::rope(x, cos, sin)};
  }
};

/// RoPE by token position, from tables with `Positions` rows that are computed once, when a session is bound. `Rotary`
/// is the number of rotated channels per head (R).
template <std::int64_t Rotary, std::int64_t Positions>
struct rope_table {
  static_assert(Rotary % 2 == 0, "qwq::layer::rope_table requires an even number of rotated channels");
  double theta;  ///< Base of the angles: pair j turns by position * theta^(-2j/R).

  /// RoPE of `rows` tokens, of which the last one is at `last_position`.
  constexpr rotation operator()(value<dtype::i32> last_position, const dim& rows) const {
    tensor_type table{dtype::f32, {Positions, Rotary / 2}};
    builder& b = *last_position.b;
    const expr cos = leaf(b, op::rope_cos, "rope.cos", table, theta);
    const expr sin = leaf(b, op::rope_sin, "rope.sin", table, theta);
    return {value<dtype::f32>{table_rows(cos, last_position, rows)},
            value<dtype::f32>{table_rows(sin, last_position, rows)}};
  }
};

/// Cached keys and values of previous tokens, [1, kv_heads, max_seq_len, head_dim] each: states of the part.
/// `last_position` is the position of the last row of the current chunk (tokens cached before it + rows - 1).
template <dtype T>
struct kv_cache {
  value<T> keys;                    ///< Key cache.
  value<T> values;                  ///< Value cache.
  value<dtype::i32> last_position;  ///< Position of the last token of the run.
};

/// Results of attention: its output and the caches with the new rows.
template <dtype T>
struct attention_result {
  value<dtype::f32> out;  ///< Output, [1, S, hidden].
  value<T> keys;          ///< Updated key cache, [1, kv_heads, max_seq_len, head_dim].
  value<T> values;        ///< Updated value cache, [1, kv_heads, max_seq_len, head_dim].
};

/// Grouped-query attention with RMSNorm on q and k (Qwen3): `Heads` query heads share `KvHeads` key/value heads.
/// `Positions` is the maximum length of a text.
template <std::int64_t Hidden, std::int64_t Heads, std::int64_t KvHeads, std::int64_t HeadDim, std::int64_t Positions>
struct attention {
  static_assert(KvHeads > 0 && Heads % KvHeads == 0,
                "qwq::layer::attention requires Heads to be a multiple of KvHeads");
  static_assert(HeadDim % 2 == 0, "qwq::layer::attention requires an even HeadDim: RoPE rotates pairs");
  double eps;    ///< Epsilon of q_norm and k_norm.
  double theta;  ///< Base of RoPE.
  double scale;  ///< Scale of the logits, 1 / sqrt(HeadDim).

  /// Applies attention to x [1, S, Hidden] and the cached keys and values.
  template <class X, dtype Kv>
  constexpr attention_result<Kv> operator()(X x, const kv_cache<Kv>& past) const {
    const in_module scope{*x.b, "self_attn"};
    const dim rows = x.dims()[1];
    const auto heads = [&](expr y, std::int64_t n) { return value<dtype::f32>{reshape(y, {1, rows, n, HeadDim})}; };
    const rotation rotate = rope_table<HeadDim, Positions>{theta}(past.last_position, rows);
    const rms_norm<HeadDim> q_norm{"q_norm", eps};
    const rms_norm<HeadDim> k_norm{"k_norm", eps};

    const auto q = rotate(q_norm(heads(linear<Hidden, Heads * HeadDim>{"q_proj"}(x), Heads)));
    const auto k = rotate(k_norm(heads(linear<Hidden, KvHeads * HeadDim>{"k_proj"}(x), KvHeads)));
    const auto v = heads(linear<Hidden, KvHeads * HeadDim>{"v_proj"}(x), KvHeads);
    const value<Kv> keys{kv_cache_update(past.keys, k, past.last_position)};
    const value<Kv> values{kv_cache_update(past.values, v, past.last_position)};
    const value<dtype::f32> mixed{
        reshape(qwq::attention(q, keys, values, past.last_position, scale), {1, rows, Heads * HeadDim})};
    return {linear<Heads * HeadDim, Hidden>{"o_proj"}(mixed), keys, values};
  }
};

/// down(silu(gate(x)) * up(x)).
template <std::int64_t Hidden, std::int64_t Intermediate>
struct mlp {
  /// Adds the MLP to the graph of `x`: [1,S,H] to [1,S,H].
  template <class X>
  constexpr value<dtype::f32> operator()(X x) const {
    const in_module scope{*x.b, "mlp"};
    const auto gate = linear<Hidden, Intermediate>{"gate_proj"}(x);
    const auto up = linear<Hidden, Intermediate>{"up_proj"}(x);
    return linear<Intermediate, Hidden>{"down_proj"}(value<dtype::f32>{silu(gate) * up});
  }
};

}  // namespace qwq::layer
