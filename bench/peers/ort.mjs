// SPDX-License-Identifier: Apache-2.0
// Times in ONNX Runtime what our kernels were timed on, with its graph optimizations on, as it is used.
// Usage: node ort.mjs ONNXRUNTIME_NODE < rows of JSON > the same rows with {peer, seconds}
//   ONNXRUNTIME_NODE: a folder in whose node_modules onnxruntime-node is.
//   {"quick": bool, "rows": [{"kernel", "shape", "threads"}]}; rows that it has nothing for are left out.
import {createHash} from 'node:crypto';
import fs from 'node:fs';
import {createRequire} from 'node:module';
import os from 'node:os';
import path from 'node:path';

import {constant, external, model, node} from './onnx_model.mjs';

const require = createRequire(path.resolve(process.argv[2], 'package.json'));
const ort = require('onnxruntime-node');
const name = `ONNX Runtime ${require('onnxruntime-node/package.json').version}`;
const {quick, rows} = JSON.parse(fs.readFileSync(0, 'utf8'));

const arrays = {float32: Float32Array, float16: Uint16Array, int32: Int32Array};
function random(type, dims) {
  const data = new arrays[type](dims.reduce((a, b) => a * b, 1));
  let state = 1;
  for (let i = 0; i < data.length; ++i) {
    state = state * 1664525 + 1013904223 | 0;
    // For f16 the bits of numbers from 1 to 2, of both signs.
    data[i] = type === 'float16' ? (state >>> 31 << 15) | 0x3c00 | (state >>> 8 & 0x3ff) : state / 2 ** 31;
  }
  return new ort.Tensor(type, data, dims);
}

/// Where models are written, with the bytes that large weights are made of: as many as no cache holds, and none like
/// the others, as ONNX Runtime keeps equal ones once.
const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'qwq-peer-'));
process.on('exit', () => fs.rmSync(scratch, {recursive: true}));
let weightBytes = 0;
function growWeights(bytes) {
  const piece = random('float32', [1 << 20]).data;
  for (; weightBytes < bytes; weightBytes += piece.byteLength) {
    for (let i = 0; i < piece.length; i += 1 << 14) piece[i] = weightBytes / 2 ** 32 + i / 2 ** 24;
    fs.appendFileSync(path.join(scratch, 'weights'), piece);
  }
}

const measured = new Map();

/// Seconds that one of each of the operators `ops` takes: by ONNX Runtime's own clock, which counts whole microseconds
/// and with them what any node costs (some two of them), as a call from JavaScript costs
/// more than some kernels. As ours: short samples of calls in a row (at least `turns`), the best of them.
async function seconds({graph, feeds, ops, share = {}, turns = 1}, threads) {
  const file = path.join(scratch, 'model.onnx'), bytes = model(graph);
  const same = `${threads} ${createHash('sha1').update(bytes).digest('hex')}`;  // rows may have the same peer
  if (measured.has(same)) return measured.get(same);
  fs.writeFileSync(file, bytes);
  const session = await ort.InferenceSession.create(file, {
    graphOptimizationLevel: 'all', intraOpNumThreads: threads,
    enableProfiling: true, profileFilePrefix: path.join(scratch, 'profile'),
  });
  const fetches = {};
  for (const [output] of graph.outputs) fetches[output] = share[output] ? feeds[share[output]] : null;
  const until = Date.now() + (quick ? 20 : 400);
  for (let i = 0; i < 3 || Date.now() < until; ++i) await session.run(feeds, fetches);
  session.endProfiling();
  await session.release();
  const profile = path.join(scratch, fs.readdirSync(scratch).find((name) => name.startsWith('profile')));
  const events = JSON.parse(fs.readFileSync(profile, 'utf8'));
  fs.rmSync(profile);
  const found = ops.reduce((sum, op) => {
    const times = events.filter(({name, args}) => name.endsWith('_kernel_time') && args.op_name === op).map(({dur}) => dur);
    if (!times.length) throw new Error(`${op}: expected to find it among the operators that were run`);
    let best = Infinity;
    for (let i = 0, from = 0, total = 0; i < times.length; ++i) {
      total += times[i];
      if ((total < 2000 && times.length > 100) || i + 1 - from < turns) continue;
      best = Math.min(best, total / (i + 1 - from));
      [from, total] = [i + 1, 0];
    }
    return sum + (Number.isFinite(best) ? best : Math.min(...times));
  }, 0) * 1e-6;
  measured.set(same, found);
  return found;
}

/// The numbers of a shape; of a product without its rows these are in the name of the kernel (gemm_f32_m64), or one.
function numbers(kernel, shape) {
  const found = shape.match(/^\d+(x\d+)*/)[0].split('x').map(Number);
  return /^gem[mv]_/.test(kernel) && found.length === 2 ? [Number(kernel.match(/_m(\d+)$/)?.[1] ?? 1), ...found] : found;
}

/// A chain of Q/DQ pairs, which stays in the cache that the shape fits into. With nothing between them pairs would be
/// merged.
const fakeQuant = (type, granularity, block = 32) => (rows, columns) => {
  const count = rows * columns < 1 << 24 ? 8 : 1, nodes = [];
  const dims = {tensor: [], row: [rows], column: [columns], group: [rows, columns / block]}[granularity];
  const attributes = {tensor: {}, row: {axis: 0}, column: {axis: 1}, group: {axis: 1, block_size: block}}[granularity];
  const size = dims.reduce((a, b) => a * b, 1), four = type === 'int4';
  const zero = new Uint8Array(four ? size / 2 : size * (type.endsWith('16') ? 2 : 1)).fill(type[0] === 'u' ? 128 : 0);
  for (let i = 0; i < count; ++i)
    nodes.push(node('QuantizeLinear', [i ? `n${i - 1}` : 'x', 'scale', 'zero'], [`q${i}`], attributes),
               node('DequantizeLinear', [`q${i}`, 'scale', 'zero'], [`y${i}`], attributes), node('Neg', [`y${i}`], [`n${i}`]));
  return {
    ops: ['QuantizeLinear', 'DequantizeLinear'], feeds: {x: random('float32', [rows, columns])},
    graph: {nodes, constants: [constant('scale', 'float32', dims, new Float32Array(size).fill(four ? 0.1 : 0.01)),
                               constant('zero', type, dims, zero)],
            inputs: [['x', 'float32', [rows, columns]]], outputs: [[`n${count - 1}`, 'float32', [rows, columns]]]},
  };
};

const minMax = (rows, columns) => ({
  ops: ['ReduceMin', 'ReduceMax'], feeds: {x: random('float32', [rows, columns])},
  graph: {nodes: [node('ReduceMin', ['x'], ['min'], {keepdims: 0}), node('ReduceMax', ['x'], ['max'], {keepdims: 0})],
          inputs: [['x', 'float32', [rows, columns]]], outputs: [['min', 'float32', []], ['max', 'float32', []]]},
});

/// A cache that is read and written in place.
const attention = (type, prompt) => (total, heads, kvHeads, headDim) => {
  const tokens = prompt ? total : 1;
  const cache = [1, kvHeads, total, headDim], query = [1, tokens, heads * headDim], key = [1, tokens, kvHeads * headDim];
  const inputs = [['q', type, query], ['k', type, key], ['v', type, key], ['past_k', type, cache], ['past_v', type, cache],
                  ['last', 'int32', [1, 1]], ['total', 'int32', []]];
  const feeds = Object.fromEntries(inputs.slice(0, 5).map(([name, , dims]) => [name, random(type, dims)]));
  feeds.last = new ort.Tensor('int32', Int32Array.of(total - 1), [1, 1]);
  feeds.total = new ort.Tensor('int32', Int32Array.of(total), []);
  return {
    ops: ['GroupQueryAttention'], feeds, share: {present_k: 'past_k', present_v: 'past_v'},
    graph: {nodes: [node('GroupQueryAttention', inputs.map(([name]) => name), ['y', 'present_k', 'present_v'],
                         {num_heads: heads, kv_num_heads: kvHeads}, 'com.microsoft')],
            inputs, outputs: [['y', type, query], ['present_k', type, cache], ['present_v', type, cache]]},
  };
};

/// Products of one input with as many matrices as no cache holds; `level`: accuracy of MatMulNBits.
const product = (bits, level) => (m, k, n) => {
  const size = n * k * bits / 8, scales = bits === 32 ? 0 : n * k / 8, each = size + scales;
  const count = m > 1 || quick ? 1 : Math.ceil((384 << 20) / each);
  const op = bits === 32 ? 'MatMul' : 'MatMulNBits', nodes = [], constants = [], results = [];
  growWeights(count * each);
  for (let i = 0; i < count; ++i) {
    results.push(`y${i}`);
    const [type, dims] = bits === 32 ? ['float32', [k, n]] : ['uint8', [n, k / 32, 4 * bits]];
    constants.push(external(`w${i}`, type, dims, 'weights', i * each, size));
    if (scales) constants.push(external(`s${i}`, 'float32', [n, k / 32], 'weights', i * each + size, scales));
    nodes.push(bits === 32 ? node(op, ['x', `w${i}`], [`y${i}`])
                           : node(op, ['x', `w${i}`, `s${i}`], [`y${i}`],
                                  {K: k, N: n, bits, block_size: 32, accuracy_level: level}, 'com.microsoft'));
  }
  return {ops: [op], feeds: {x: random('float32', [m, k])}, turns: count,
          graph: {nodes: [...nodes, node('Sum', results, ['sum'])], constants, inputs: [['x', 'float32', [m, k]]],
                  outputs: [['sum', 'float32', [m, n]]]}};
};

const types = {u8: 'uint8', u16: 'uint16', i8: 'int8', i16: 'int16'}, floats = {f32: 'float32', f16: 'float16'};
/// [kernel, its peers: a name, and a graph for the numbers of a shape]
const known = [
  [/^fake_quant_(u8|u16|i8|i16)$/, ([, type]) => [['', fakeQuant(types[type], 'tensor')]]],
  [/^fake_quant_(u8|u16|i8|i16)_(row|column)$/, ([, type, axis]) => [['', fakeQuant(types[type], axis)]]],
  [/^group_int4(_128)?$/, ([, block]) => [['', fakeQuant('int4', 'group', block ? 128 : 32)]]],
  [/^observer_minmax$/, () => [['', minMax]]],
  [/^attention_decode_(f32|f16)$/, ([, type]) => [['', attention(floats[type], false)]]],
  [/^attention_prefill_\d+_(f32|f16)$/, ([, type]) => [['', attention(floats[type], true)]]],
  [/^gem[mv]_f32(_m\d+)?$/, () => [['', product(32)]]],
  [/^gem[mv]_(?:f32_)?int([48])(?:_g32)?(?:_int8_activations)?(?:_m\d+)?$/, ([, bits]) => [[' (f32)', product(Number(bits), 0)], [' (int8)', product(Number(bits), 4)]]],
];

const found = [];
for (const {kernel, shape, threads} of rows)
  for (const [pattern, peers] of known) {
    const match = kernel.match(pattern);
    for (const [how, build] of match ? peers(match) : [])
      found.push({kernel, shape, threads, peer: name + how, seconds: await seconds(build(...numbers(kernel, shape)), threads)});
  }
console.log(JSON.stringify(found));
