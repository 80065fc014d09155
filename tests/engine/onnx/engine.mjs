// SPDX-License-Identifier: Apache-2.0
// ONNX Runtime sessions whose tensors are those of ../safetensors.mjs.
import {createRequire} from 'node:module';

const require = createRequire(import.meta.url);
const ort = require('onnxruntime-node');
export const version = require('onnxruntime-node/package.json').version;

const types = {float32: 'F32', float16: 'F16', int64: 'I64', int32: 'I32', uint8: 'U8', int8: 'I8', uint16: 'U16'};
const names = Object.fromEntries(Object.entries(types).map(([ort, ours]) => [ours, ort]));

/// Loads a model; `opt` is disabled, basic, extended or all.
export async function load(path, {opt = 'all', threads = 2} = {}) {
  const session = await ort.InferenceSession.create(path, {
    graphOptimizationLevel: opt,
    intraOpNumThreads: threads,
    // By default (4) weight-only int8 and int4 compute with int8 activations that the file does not ask for.
    extra: {session: {qdq_matmulnbits_accuracy_level: process.env.QWQ_ACCURACY_LEVEL ?? '0'}},
  });
  const describe = (list) => list.map(({name, type, shape}) => ({name, dtype: types[type], shape}));
  return {path, session, inputs: describe(session.inputMetadata), outputs: describe(session.outputMetadata)};
}

/// Runs a loaded model on {name: {dtype, shape, data}}.
export async function run(model, feeds) {
  const inputs = {};
  for (const [name, {dtype, shape, data}] of Object.entries(feeds)) {
    // Where the engine has a Float16Array, it takes that instead of the bits.
    const native = dtype === 'F16' && globalThis.Float16Array;
    inputs[name] = new ort.Tensor(
        names[dtype], native ? new native(data.buffer, data.byteOffset, data.length) : data, shape);
  }
  const results = {};
  for (const [name, tensor] of Object.entries(await model.session.run(inputs))) {
    const {data, dims} = tensor, dtype = types[tensor.type];
    const bits = dtype === 'F16' ? new Uint16Array(data.buffer, data.byteOffset, data.length) : data;
    results[name] = {dtype, shape: [...dims], data: bits};
  }
  return results;
}
