// SPDX-License-Identifier: Apache-2.0
// Defines `op`, the kinds of operators in a graph, and `state_update`. `op_table` (op_schema.hpp) has their properties.
#pragma once

#include <cstddef>
#include <cstdint>

namespace qwq {

/// Operator kinds. `x` is an activation, `w` a weight stored [out, in], S the sequence length, D head_dim. An operator
/// with several results computes its first value as the node itself; a `get_tuple_element` node projects "result k".
enum class op : std::uint8_t {
  // leaves
  input,     ///< An argument of a run; its type is declared.
  state,     ///< A value that persists between runs (KV cache, recurrent matrix); ints = {state_update}.
  weight,    ///< A checkpoint tensor; the graph reads value * (stored + offset).
  splat,     ///< A constant tensor whose elements all equal attributes.value.
  rope_cos,  ///< Table [positions, R/2] of cos(position * value^(-2j/R)); attributes.value = theta.
  rope_sin,  ///< The same table of sines.
  // elementwise, with broadcasting
  add,        ///< x + y.
  mul,        ///< x * y, elementwise.
  neg,        ///< -x.
  exp,        ///< e^x.
  tanh,       ///< Hyperbolic tangent.
  rsqrt,      ///< 1 / sqrt(x).
  sigmoid,    ///< 1 / (1 + e^-x).
  softplus,   ///< log(1 + e^x).
  silu,       ///< x * sigmoid(x).
  gelu,       ///< x * (1 + erf(x / sqrt(2))) / 2.
  gelu_tanh,  ///< Approximation of gelu: x * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))) / 2.
  select,     ///< (mask [1,S] i32, a, b): rows of a where the mask is not 0, else rows of b.
  // over the last axis
  mean,        ///< Mean; the axis stays, with extent 1.
  softmax,     ///< e^x / sum(e^x).
  rms_norm,    ///< (x, w): w * x / sqrt(mean(x^2) + eps).
  layer_norm,  ///< (x, w, b): w * (x - mean(x)) / sqrt(var(x) + eps) + b.
  lp_norm,     ///< x / ||x||_2.
  top_k,       ///< ints = {k}: the k largest values, descending; result 0: their indices, i32.
  // GEMMs, and fusions with them
  linear,         ///< (x [...,K], w [N,K]) or (x, w, bias [N]) -> [...,N]: x w^T + bias.
  matmul,         ///< (x [...,M,K], y [...,K,N]) -> [...,M,N].
  conv1x1,        ///< (x [1,K,1,S], w [N,K,1,1]) -> [1,N,1,S].
  swiglu,         ///< (gate, up): silu(gate) * up.
  linear_add,     ///< (x, w, residual [...,N]): linear(x, w) + residual.
  linear_swiglu,  ///< (x, gate [N,K], up [N,K]): swiglu(linear(x, gate), linear(x, up)).
  /// (x, gain [K], w...): n = rms_norm(x, gain), the node's own value; result i: linear(n, w_i); value = eps.
  norm_linear,
  norm_linear_swiglu,  ///< (x, gain, gate, up): n as in norm_linear; result 0: linear_swiglu(n, gate, up).
  add_norm,            ///< (a, b, gain): a + b; result 0: rms_norm(a + b, gain); value = eps.
  /// (x [1,S,K] or [1,S,k,K], experts [1,S,k] i32, w [E,N,K]) -> [1,S,k,N]: each row times the matrix of its expert.
  expert_linear,
  weighted_sum,  ///< (x [1,S,k,H], weights [1,S,k]) -> [1,S,H]: sum over k.
  // layout: the values stay, their positions change
  reshape,    ///< The same elements in row-major order, with another shape.
  transpose,  ///< ints = permutation: axis i of the result is axis ints[i] of x.
  concat,     ///< ints = {axis}: concatenation of 2 to 4 values.
  slice,      ///< ints = {begin, end, axis}: elements [begin, end) of the axis.
  cast,       ///< Conversion to another element type.
  // language model
  embedding,   ///< (table [V,H], ids [1,S]) -> [1,S,H].
  table_rows,  ///< (table [T,C], last_position [1,1] i32) -> [1,S,C]: rows last_position - S + 1 to last_position.
  rope,        ///< (x [1,S,heads,D], cos [1,S,R/2], sin): half-split rotation of the first R channels of each head.
  norm_rope,   ///< (x [1,S,heads,D], w [D], cos, sin): rope(rms_norm(x, w), cos, sin); value = eps.
  kv_cache_update,  ///< (state [1,heads,max,D], x [1,S,heads,D], last_position) -> the cache with the new rows.
  attention,        ///< (q [1,S,Hq,D], key cache, value cache, last_position): causal GQA; value = scale.
  /// (q, k, v [1,S,heads,D], segments [1,S] i32): attention among rows of the same segment; value = scale.
  full_attention,
  gqa,            ///< com.microsoft GroupQueryAttention, which includes RoPE; ints = {heads, kv_heads}; value = scale.
  causal_conv1d,  ///< (u [1,S,C], w [C,K], state [1,C,K-1]): depthwise convolution; result 0: the state after the run.
  /// (q, k [1,S,Hk,Dk], v [1,S,Hv,Dv], decay, beta [1,S,Hv], state [1,Hv,Dk,Dv]) -> [1,S,Hv,Dv]; result 0: the state
  /// after the run. Gated delta rule; per row M <- e^decay M, then M <- M + k (beta (v - k^T M)), out = q^T M.
  delta_rule,
  get_tuple_element,  ///< ints = {index}: one result of a node that has several.
  custom,             ///< An operator defined outside the library; the node points to its schema.
  // Quantization. The node's slot has the parameters. A second argument, experts [1,S,k], selects the slot's parameter
  // for each row of a value [1,S,k,N].
  quantize,    ///< f32 -> integer codes.
  dequantize,  ///< Integer codes -> f32.
  fake_quant,  ///< dequantize(quantize(x)) as one operator.
};

/// Number of operator kinds.
inline constexpr std::size_t op_count = static_cast<std::size_t>(op::fake_quant) + 1;

/// How a run updates a state.
enum class state_update : std::uint8_t {
  append,   ///< Writes rows at the positions of the run's tokens and keeps the others: a KV cache. It can be truncated.
  replace,  ///< Replaces the whole value: a convolution window, a recurrent matrix.
  host,     ///< The graph outputs the new rows; the host writes them into the state that the next run reads.
};

}  // namespace qwq
