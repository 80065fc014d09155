// SPDX-License-Identifier: Apache-2.0
// Tests run.mjs itself, on the float goldens: one chunk is what HF computes, and however a text is split into prompt and
// decode steps, the same tokens give the same logits and cache. Usage: node pipeline.mjs TESTS_DATA/ort_quant SCRATCH
import {spawnSync} from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

import {read, write} from '../safetensors.mjs';

const [data, scratch] = process.argv.slice(2);
const here = import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname);

// Just enough of protobuf to write the two small graphs that the goldens lack: fields are [number, value] pairs, and a
// value is an integer, a string, bytes, or the fields of a message.
function message(...fields) {
  const varint = (value) => value < 128 ? [value] : [value & 127 | 128, ...varint(Math.floor(value / 128))];
  return Buffer.concat(fields.map(([number, value]) => {
    if (typeof value === 'number') return Buffer.from([...varint(number << 3), ...varint(value)]);
    const bytes = Array.isArray(value) ? message(...value) : Buffer.from(value);
    return Buffer.concat([Buffer.from([...varint(number << 3 | 2), ...varint(bytes.length)]), bytes]);
  }));
}
const float = 1, int64 = 7;
const port = (name, type, ...dims) => [[1, name], [2, [[1, [
  [1, type], [2, dims.map((dim) => [1, [typeof dim === 'number' ? [1, dim] : [2, dim]]])]
]]]]];
const node = (op, inputs, output) => [1, [...inputs.map((input) => [1, input]), [2, output], [4, op]]];
const model = (nodes, {shape, data}, input, output) => message([1, 10], [7, [
  ...nodes, [2, 'graph'], [5, [...shape.map((dim) => [1, dim]), [2, float], [8, 'weight'], [9, Buffer.from(data.buffer)]]],
  [11, input], [12, output]
]], [8, [[1, ''], [2, 21]]]);

const folder = path.join(scratch, 'model');
fs.mkdirSync(folder, {recursive: true});
const weight = read(path.join(data, 'tiny_qwen3.safetensors'))['model.embed_tokens.weight'];
const hidden = ['hidden', float, 1, 'sequence', 32];
fs.writeFileSync(path.join(folder, 'embeddings.onnx'),
                 model([node('Gather', ['weight', 'input_ids'], 'hidden')], weight,
                       port('input_ids', int64, 1, 'sequence'), port(...hidden)));
fs.writeFileSync(path.join(folder, 'lm_head.onnx'),
                 model([node('Transpose', ['weight'], 'columns'), node('MatMul', ['hidden', 'columns'], 'logits')], weight,
                       port(...hidden), port('logits', float, 1, 'sequence', 64)));
fs.copyFileSync(path.join(data, 'conv_ctx/fp32.onnx'), path.join(folder, 'ctx.onnx'));
fs.copyFileSync(path.join(data, 'conv_iter/fp32.onnx'), path.join(folder, 'iter.onnx'));
const transformer = {inputs: ['input_hidden_states'], outputs: ['output_hidden_states']};
fs.writeFileSync(path.join(folder, 'genai_config.json'), JSON.stringify({model: {decoder: {pipeline: [{
  embeddings: {filename: 'embeddings.onnx', inputs: ['input_ids'], outputs: ['hidden']},
  context: {filename: 'ctx.onnx', ...transformer, run_on_token_gen: false},
  iterator: {filename: 'iter.onnx', ...transformer, run_on_prompt: false},
  lm_head: {filename: 'lm_head.onnx', inputs: ['hidden'], outputs: ['logits'], is_lm_head: true},
}]}}}));

let failures = 0;
function script(name, ...args) {
  const {status, stdout, stderr} = spawnSync(process.execPath, [path.join(here, name), ...args], {encoding: 'utf8'});
  if (status !== 0) console.log(`${name} ${args.join(' ')}:\n${stdout}${stderr}`);
  failures += status !== 0;
  return status === 0 && stdout.startsWith('{') ? JSON.parse(stdout) : {};
}
function refuses(expected, ...args) {
  const {status, stderr} = spawnSync(process.execPath, [path.join(here, 'run.mjs'), ...args], {encoding: 'utf8'});
  if (status === 0 || !stderr.includes(expected)) {
    console.log(`${args.join(' ')}: expected '${expected}', got status ${status}: ${stderr}`);
    ++failures;
  }
}
const file = (name) => path.join(scratch, `${name}.safetensors`);
const run = (name, ...args) => script('run.mjs', '--model', folder, '--dump', file(name), ...args);

// One whole chunk against HF. These graphs attend in f16 and have no epsilon, hence the tolerance.
const reference = read(path.join(data, 'hf_reference.safetensors'));
const prompt = Array.from(reference.token_ids.data, Number);
run('chunk', '--ids', prompt.join());
write(file('hf'), {final_norm: reference.last_hidden_state});
script('compare.mjs', file('chunk'), file('hf'), '--rtol', '1e-3', '--require', 'final_norm');

// 18 tokens: as one prompt of three chunks (the last one padded), and as prompts of 3 and 11 and decode steps.
const greedy = run('greedy', '--ids', prompt.join(), '--max-new', '10').ids ?? [];
const all = [...prompt, ...greedy];
run('all', '--ids', all.join(), '--max-new', '1');
for (const split of [3, 11]) {
  const given = all.slice(split).map(BigInt);
  write(file('given'), {'decode.input_ids': {dtype: 'I64', shape: [1, given.length], data: BigInt64Array.from(given)}});
  run(`split${split}`, '--ids', all.slice(0, split).join(), '--feed-from', file('given'));
  const whole = read(file('all')), parts = read(file(`split${split}`));
  const joined = {...parts['logits'], data: Float32Array.of(...parts.logits.data, ...parts['decode.logits'].data)};
  write(file('joined'), {logits: {...joined, shape: whole.logits.shape}, ...Object.fromEntries(
    Object.entries(parts).filter(([name]) => name.startsWith('kv.final')).map(([name, t]) => [name.replace('final', 'prefill'), t]))});
  script('compare.mjs', file('joined'), file('all'), '--rtol', '1e-4',
         '--require', 'logits,kv.prefill.0.key,kv.prefill.0.value,kv.prefill.1.key,kv.prefill.1.value');
}

// An end token ends it; what does not fit is refused.
const ended = run('ended', '--ids', prompt.join(), '--max-new', '10', '--eos', `${greedy[2]}`).ids ?? [];
if (ended.join() !== greedy.slice(0, greedy.indexOf(greedy[2]) + 1).join()) {
  console.log(`stopped at [${ended}] of [${greedy}]`);
  ++failures;
}
refuses('do not fit in a cache of 24', '--model', folder, '--ids', Array(25).fill(1).join());
refuses('the cache of 24 tokens is full', '--model', folder, '--ids', Array(24).fill(1).join(), '--max-new', '1');
refuses('usage:', '--model', folder);
console.log(failures ? `${failures} checks failed` : 'all checks passed');
process.exit(failures ? 1 : 0);
