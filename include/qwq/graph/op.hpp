// SPDX-License-Identifier: Apache-2.0
// The operators that a graph is made of. Their rows (arity, attributes, shape and dtype rule) are in op_table.hpp.
#pragma once

#include <cstddef>
#include <cstdint>

namespace qwq {

/// Operator kinds. `x` is an activation, `w` a weight stored [out, in], S the sequence, D head_dim.
enum class op : std::uint8_t {
  // leaves
  input,       // a value from outside; its type is given
  weight,      // a checkpoint tensor; the graph reads attributes.value * stored
  fill,        // a constant tensor: every element is attributes.value
  rope_cos,    // [positions, D/2] table of cos(position * value^(-2j/D)); attributes.value = theta
  rope_sin,
  // elementwise, with broadcasting
  add,
  mul,
  neg,
  rsqrt,
  sigmoid,
  silu,
  // over the last axis
  mean,        // keeps the axis with extent 1
  softmax,
  rms_norm,    // (x, w): w * x / sqrt(mean(x^2) + eps)
  lp_norm,     // x / ||x||_2
  // products
  linear,      // (x [...,K], w [N,K]) -> [...,N]
  matmul,      // (x [...,M,K], y [...,K,N]) -> [...,M,N]
  conv1x1,     // (x [1,K,1,S], w [N,K,1,1]) -> [1,N,1,S]
  swiglu,      // (gate, up): silu(gate) * up
  linear_add,  // (x, w, residual [...,N]): linear(x, w) + residual
  gated_linear,  // (x, gate [N,K], up [N,K]): swiglu(linear(x, gate), linear(x, up))
  norm_linear,   // (x, gain [K], w...): n = rms_norm(x, gain), for itself; result i: linear(n, the i-th w); value = eps
  norm_gated_linear,  // (x, gain, gate, up): the same n; result 0: gated_linear(n, gate, up)
  add_norm,      // (a, b, gain): a + b; result 0: rms_norm of it; value = eps
  // layout: the values stay, their places change
  reshape,
  transpose,   // ints = permutation
  concat,      // ints = {axis}
  slice,       // ints = {begin, end, axis}
  cast,
  // language model
  embedding,   // (table [V,H], ids [1,S]) -> [1,S,H]
  rope,        // (x [1,S,heads,D], cos, sin, last_position): half-split rotation
  norm_rope,   // (x [1,S,heads,D], w [D], cos, sin, last_position): rope(rms_norm(x, w)); value = eps
  kv_append,   // (past [1,heads,max,D], x [1,S,heads,D], last_position) -> present, the cache with the new rows
  attention,   // (q [1,S,Hq,D], key cache, value cache, last_position): causal GQA; value = scale
  gqa,         // com.microsoft GroupQueryAttention with rotary inside; ints = {heads, kv_heads}
  result,      // ints = {index}: one result of a node that has several
  custom,      // an operator from outside of the library; the node points to its row
  // quantization; the node's slot says with which parameters
  quantize,    // f32 -> integer codes
  dequantize,  // integer codes -> f32
  fake_quant,  // dequantize(quantize(x)) in one step
};

inline constexpr std::size_t op_count = static_cast<std::size_t>(op::fake_quant) + 1;

}  // namespace qwq
