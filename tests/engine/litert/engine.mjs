// SPDX-License-Identifier: Apache-2.0
// LiteRT in Node: XNNPACK and TFLite's kernels, compiled to wasm for browsers.
import fs from 'node:fs';
import {createRequire} from 'node:module';
import path from 'node:path';
import {format} from 'node:util';
import vm from 'node:vm';

// A kernel that fails says so and goes on: run() then returns what was in memory.
const complaints = [];
const noise = /^(INFO|WARNING|VERBOSE): |^Failed to create default WebGPU device/;
for (const level of ['debug', 'error', 'info', 'log', 'warn']) {
  const print = console[level].bind(console);
  console[level] = (...args) => {
    const line = format(...args);
    if (line.includes('ERROR'))
      complaints.push(line);
    else if (!noise.test(line))
      print(line);
  };
}
function refuseComplaints(what) {
  if (complaints.length) throw new Error(`${what}: ${complaints.splice(0).join('; ')}`);
}

process.on('exit', () => {
  if (complaints.length) process.stderr.write(`${complaints.join('\n')}\n`);
});

// What the loader takes for granted in a browser.
const require = createRequire(import.meta.url);
const wasm = path.join(path.dirname(require.resolve('@litertjs/core/package.json')), 'wasm');
Object.assign(globalThis, {
  self: globalThis, require, __dirname: wasm, __filename: path.join(wasm, 'loader.js'),
  importScripts: (file) => vm.runInThisContext(fs.readFileSync(file, 'utf8')),
});
const {loadAndCompile, loadLiteRt, Tensor} = await import('@litertjs/core');
await loadLiteRt(path.join(wasm, 'litert_wasm_compat_internal.js'));  // needs no flags of node

const types = {float32: 'F32', int32: 'I32', uint8: 'U8'};
const describe = (list) => list.map(({name, dtype, shape}) => ({name, dtype: types[dtype], shape: [...shape]}));

/// Loads a file; {key: {path, inputs, outputs}} for each of its signatures.
export async function load(file) {
  const model = await loadAndCompile(new Uint8Array(fs.readFileSync(file)), {accelerator: 'wasm'});
  refuseComplaints(file);
  return Object.fromEntries(Object.values(model.signatures).map((runner) => [runner.key, {
    path: file, runner, inputs: describe(runner.getInputDetails()), outputs: describe(runner.getOutputDetails()),
  }]));
}

/// Runs a signature on {name: {dtype, shape, data}}.
export async function run({path: file, runner, inputs}, feeds) {
  const given = Object.fromEntries(inputs.map(({name, shape}) => {
    if (feeds[name]?.shape.join() !== shape.join())
      throw new Error(`${file}: ${name}: expected shape [${shape}], found [${feeds[name]?.shape}]`);
    return [name, new Tensor(feeds[name].data, shape)];
  }));
  const made = await runner.run(given), results = {};
  refuseComplaints(file);
  for (const [name, tensor] of Object.entries(made)) {
    const {dtype, layout: {dimensions}} = tensor.type;
    results[name] = {dtype: types[dtype], shape: [...dimensions], data: (await tensor.data()).slice()};
  }
  for (const tensor of [...Object.values(given), ...Object.values(made)]) tensor.delete();
  return results;
}
