// SPDX-License-Identifier: Apache-2.0
// Executes a model whose states are inputs and outputs, of any kind, and compares its logits with those of a session.
// Usage: states.mjs FOLDER TOLERANCE SHARE: FOLDER has onnx/*.onnx, tokens.safetensors and session.safetensors; no logit
// may be further off than TOLERANCE of the largest, and SHARE of them must be within 1e-5 of it.
import fs from 'node:fs';
import {load, run} from './engine.mjs';
import {read} from '../safetensors.mjs';
import {int64, zeros} from '../tensors.mjs';

const [folder, tolerance, share] = process.argv.slice(2);
const file = fs.readdirSync(`${folder}/onnx`).find((name) => name.endsWith('.onnx'));
const model = await load(`${folder}/onnx/${file}`, {opt: 'disabled'});
const {ids: {data: ids}, prompt: {data: [prompt]}} = read(`${folder}/tokens.safetensors`);
const {logits: expected} = read(`${folder}/session.safetensors`);

// Caches are empty at first, other states zero.
const states = model.inputs.filter(({name}) => name.startsWith('past_key_values.')).map(({name, dtype, shape}) => ({
  past: name,
  present: name.replace('past_key_values', 'present'),
  value: zeros(dtype, shape.map((extent) => typeof extent === 'number' ? extent : 0)),
}));
const kinds = new Set(states.map(({past}) => past.split('.').at(-1)));
if ([...kinds].sort().join() !== 'key,recurrent,value') throw new Error(`states ${[...kinds]}`);

let cached = 0;
async function step(tokens) {
  cached += tokens.length;
  const feeds = {input_ids: int64(tokens)};
  if (model.inputs.some(({name}) => name === 'attention_mask')) feeds.attention_mask = int64(Array(cached).fill(1));
  for (const {past, value} of states) feeds[past] = value;
  const results = await run(model, feeds);
  for (const state of states) state.value = results[state.present];
  return results.logits.data;
}

const found = [...await step([...ids.slice(0, prompt)])];
for (const id of ids.slice(prompt)) found.push(...await step([id]));
if (found.length !== expected.data.length) throw new Error(`${found.length} logits, expected ${expected.data.length}`);
const largest = expected.data.reduce((max, x) => Math.max(max, Math.abs(x)), 0);
let worst = 0, close = 0;
found.forEach((x, i) => {
  const off = Math.abs(x - expected.data[i]) / largest;
  worst = off > worst || Number.isNaN(off) ? off : worst;
  close += off <= 1e-5 ? 1 : 0;
});
console.log(`${states.length} states; largest difference ${worst.toExponential(2)}, ` +
            `${(100 * close / found.length).toFixed(1)} % within 1e-5`);
if (!(worst <= Number(tolerance)) || close < Number(share) * found.length) process.exit(1);
