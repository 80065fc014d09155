// SPDX-License-Identifier: Apache-2.0
// Times a whole emitted model in ONNX Runtime. Its caches are buffers that it writes in place.
// Usage: node ort_model.mjs ONNXRUNTIME_NODE FOLDER THREADS TOKENS,... [quick] > {"peer", "tokens_per_second": {64: ...}}
//   TOKENS: of prompts; 1 is a token behind others
import fs from 'node:fs';
import {createRequire} from 'node:module';
import os from 'node:os';
import path from 'node:path';

const [modules, folder, threads, tokens, quick] = process.argv.slice(2);
const require = createRequire(path.resolve(modules, 'package.json'));
const ort = require('onnxruntime-node');
const {model: {decoder}} = JSON.parse(fs.readFileSync(path.join(folder, 'genai_config.json'), 'utf8'));
const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'qwq-peer-'));
const session = await ort.InferenceSession.create(path.join(folder, decoder.filename),
                                                  {graphOptimizationLevel: 'all', intraOpNumThreads: Number(threads),
                                                   enableProfiling: true, profileFilePrefix: path.join(scratch, 'profile')});
const capacity = 576;  // a prompt of 512 tokens, and some that follow
const int64 = (values) => new ort.Tensor('int64', BigInt64Array.from(values, BigInt), [1, values.length]);

const caches = {}, kept = {};
for (const {name, type, shape} of session.inputMetadata) {
  if (!name.startsWith('past')) continue;
  const dims = [1, shape[1], capacity, shape[3]];
  caches[name] = new ort.Tensor(type, new Float32Array(dims.reduce((a, b) => a * b)), dims);
  kept[name.replace('past_key_values', 'present')] = caches[name];
}
const known = session.outputMetadata.map(({name}) => name).filter((name) => name !== decoder.outputs.logits);
if (known.some((name) => !kept[name])) throw new Error(`expected a cache for each of ${known}`);

/// Reads `count` tokens behind `past` others.
async function read(past, count) {
  const feeds = {...caches, [decoder.inputs.input_ids]: int64(Array.from({length: count}, (_, i) => i * 7919 % 1000)),
                 [decoder.inputs.attention_mask]: int64(Array(past + count).fill(1))};
  await session.run(feeds, {...kept, [decoder.outputs.logits]: null});
}
const jobs = tokens.split(',').map((count) => ({count: Number(count), rounds: 0}));
for (const job of jobs)
  for (const until = Date.now() + (quick ? 0 : 3000); job.rounds < (quick ? 1 : 2) || Date.now() < until; ++job.rounds)
    await read(job.count === 1 ? 96 : 0, job.count);
// By its own clock: what a call from JavaScript copies is not of the model.
session.endProfiling();
const events = JSON.parse(fs.readFileSync(path.join(scratch, fs.readdirSync(scratch)[0]), 'utf8'));
fs.rmSync(scratch, {recursive: true});
const runs = events.filter(({name}) => name === 'model_run').map(({dur}) => dur * 1e-6);
const speeds = jobs.map(({count, rounds}) => [count, count / Math.min(...runs.splice(0, rounds))]);
console.log(JSON.stringify({peer: `ONNX Runtime ${require('onnxruntime-node/package.json').version}`,
                            tokens_per_second: Object.fromEntries(speeds)}));
