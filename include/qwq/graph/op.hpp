// SPDX-License-Identifier: Apache-2.0
// Defines `op`, the kinds of operators that a graph is made of; op_table.hpp has what is true of each.
#pragma once

#include <cstddef>
#include <cstdint>

namespace qwq {

/// Operator kinds. `x` is an activation, `w` a weight stored [out, in], S the sequence, D head_dim. "result k" is read
/// by a `result` node; an operator with several results computes its first value as the node itself.
enum class op : std::uint8_t {
  // leaves
  input,     // a value from outside; its type is given
  state,     // a value that lasts from run to run (KV cache, recurrent matrix); ints = {state_update}
  weight,    // a checkpoint tensor; the graph reads value * (stored + offset)
  splat,     // a constant tensor: every element is attributes.value
  rope_cos,  // [positions, R/2] table of cos(position * value^(-2j/R)); attributes.value = theta
  rope_sin,
  // elementwise, with broadcasting
  add,
  mul,
  neg,
  exp,
  tanh,
  rsqrt,
  sigmoid,
  softplus,   // log(1 + e^x)
  silu,       // x * sigmoid(x)
  gelu,       // x * (1 + erf(x / sqrt(2))) / 2
  gelu_tanh,  // its approximation x * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))) / 2
  select,     // (mask [1,S] i32, a, b): rows of a where the mask is not 0, else of b
  // over the last axis
  mean,  // keeps the axis with extent 1
  softmax,
  rms_norm,    // (x, w): w * x / sqrt(mean(x^2) + eps)
  layer_norm,  // (x, w, b): w * (x - mean(x)) / sqrt(var(x) + eps) + b
  lp_norm,     // x / ||x||_2
  top_k,       // ints = {k}: the k largest values, descending; result 0: their indices, i32
  // products
  linear,         // (x [...,K], w [N,K]) or (x, w, bias [N]) -> [...,N]
  matmul,         // (x [...,M,K], y [...,K,N]) -> [...,M,N]
  conv1x1,        // (x [1,K,1,S], w [N,K,1,1]) -> [1,N,1,S]
  swiglu,         // (gate, up): silu(gate) * up
  linear_add,     // (x, w, residual [...,N]): linear(x, w) + residual
  linear_swiglu,  // (x, gate [N,K], up [N,K]): swiglu(linear(x, gate), linear(x, up))
  norm_linear,  // (x, gain [K], w...): n = rms_norm(x, gain), for itself; result i: linear(n, the i-th w); value = eps
  norm_linear_swiglu,  // (x, gain, gate, up): the same n; result 0: linear_swiglu(n, gate, up)
  add_norm,            // (a, b, gain): a + b; result 0: rms_norm of it; value = eps
  expert_linear,  // (x [1,S,K] or [1,S,k,K], experts [1,S,k] i32, w [E,N,K]) -> [1,S,k,N]: each row times its expert
  weighted_sum,   // (x [1,S,k,H], weights [1,S,k]) -> [1,S,H]
  // layout: the values stay, their places change
  reshape,
  transpose,  // ints = permutation
  concat,     // ints = {axis}
  slice,      // ints = {begin, end, axis}
  cast,
  // language model
  embedding,        // (table [V,H], ids [1,S]) -> [1,S,H]
  table_rows,       // (table [T,C], last_position [1,1] i32) -> [1,S,C]: rows last_position - S + 1 to last_position
  rope,             // (x [1,S,heads,D], cos [1,S,R/2], sin): half-split rotation of the first R channels of each head
  norm_rope,        // (x [1,S,heads,D], w [D], cos, sin): rope(rms_norm(x, w)); value = eps
  kv_cache_update,  // (state [1,heads,max,D], x [1,S,heads,D], last_position) -> the cache with the new rows
  attention,        // (q [1,S,Hq,D], key cache, value cache, last_position): causal GQA; value = scale
  full_attention,   // (q, k, v [1,S,heads,D], segments [1,S] i32): rows of a segment see each other; value = scale
  gqa,              // com.microsoft GroupQueryAttention with rotary inside; ints = {heads, kv_heads}
  causal_conv1d,    // (u [1,S,C], w [C,K], state [1,C,K-1]): depthwise; result 0: the state after
  delta_rule,       // (q, k [1,S,Hk,Dk], v [1,S,Hv,Dv], decay, beta [1,S,Hv], state [1,Hv,Dk,Dv]) -> [1,S,Hv,Dv];
  // result 0: the state after. Per row M <- e^decay M, then M <- M + k (beta (v - k^T M)), out = q^T M
  get_tuple_element,  // ints = {index}: one result of a node that has several
  custom,             // an operator from outside of the library; the node points to its row
  // quantization; the node's slot says with which parameters; a second argument, experts [1,S,k], says for each row of
  // a value [1,S,k,N] which of the slot's parameters
  quantize,    // f32 -> integer codes
  dequantize,  // integer codes -> f32
  fake_quant,  // dequantize(quantize(x)) in one step
};

inline constexpr std::size_t op_count = static_cast<std::size_t>(op::fake_quant) + 1;

/// How a run changes a state.
enum class state_update : std::uint8_t {
  append,   ///< Rows at the positions of the run's tokens are written, others stay: a KV cache. It can be truncated.
  replace,  ///< The value after the run takes the place of the one before: a conv window, a recurrent matrix.
  host,     ///< The graph hands out the new rows, and the host puts them into the state that the next run reads.
};

}  // namespace qwq
