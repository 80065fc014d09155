// SPDX-License-Identifier: Apache-2.0
// Greedy generation with an emitted folder (embeddings, prefill, decode, lm_head) in ONNX Runtime.
import fs from 'node:fs';
import path from 'node:path';

import {load, run} from './engine.mjs';
import {floats} from './safetensors.mjs';

/// The four sessions of the pipeline in genai_config.json, told apart by what the config says of each.
export async function open(folder, options) {
  const config = JSON.parse(fs.readFileSync(path.join(folder, 'genai_config.json'), 'utf8'));
  const stages = config.model.decoder.pipeline.flatMap(Object.values);
  const pick = (what, test) => {
    const found = stages.filter(test);
    if (found.length !== 1) throw new Error(`${folder}/genai_config.json: expected one ${what}, found ${found.length}`);
    return load(path.join(folder, found[0].filename), options);
  };
  const prompt = (stage) => stage.run_on_prompt ?? true, step = (stage) => stage.run_on_token_gen ?? true;
  const pipeline = {
    embeddings: await pick('stage that reads input_ids', (stage) => stage.inputs.includes('input_ids')),
    prefill: await pick('prefill stage', (stage) => prompt(stage) && !step(stage)),
    decode: await pick('decode stage', (stage) => !prompt(stage) && step(stage)),
    head: await pick('lm_head stage', (stage) => stage.is_lm_head),
  };
  return {config, ...pipeline};
}

const one = (list, what, model) => {
  if (list.length !== 1) throw new Error(`${model.path}: expected one ${what}, found ${list.length}`);
  return list[0];
};
const rename = (past) => past.replace(/^past_/, 'present_');
const isCache = ({name, shape}) => name.startsWith('past_') && shape.length === 4;
const hiddenInput = (model) => one(model.inputs.filter(({dtype}) => dtype === 'F32'), 'f32 input', model).name;
const hiddenOutput = (model) => one(model.outputs.filter(({name}) => !name.startsWith('present_')), 'output', model).name;

const resized = (shape, axis, extent) => shape.map((was, i) => i === axis ? extent : was);

/// Rows [begin, end) of axis `axis`.
function slice({dtype, shape, data}, axis, begin, end) {
  const inner = shape.slice(axis + 1).reduce((a, b) => a * b, 1), outer = data.length / inner / shape[axis];
  const result = new data.constructor(outer * (end - begin) * inner);
  for (let i = 0; i < outer; ++i) {
    const from = i * shape[axis] * inner;
    result.set(data.subarray(from + begin * inner, from + end * inner), i * (end - begin) * inner);
  }
  return {dtype, shape: resized(shape, axis, end - begin), data: result};
}

/// Joined along axis 1; the axis before it has one row.
function concat(tensors) {
  const data = new tensors[0].data.constructor(tensors.reduce((sum, {data}) => sum + data.length, 0));
  const rows = tensors.reduce((sum, {shape}) => sum + shape[1], 0);
  let at = 0;
  for (const tensor of tensors) data.set(tensor.data, (at += tensor.data.length) - tensor.data.length);
  return {...tensors[0], shape: resized(tensors[0].shape, 1, rows), data};
}

const int64 = (values) => ({dtype: 'I64', shape: [1, values.length], data: BigInt64Array.from(values, BigInt)});
const argmax = (row) => row.reduce((best, value, i) => value > row[best] ? i : best, 0);

class Generator {
  constructor(pipeline, maxSeq) {
    Object.assign(this, pipeline);
    const caches = this.decode.inputs.filter(isCache);
    const fixed = caches.map(({shape}) => shape[2]).find((extent) => typeof extent === 'number');
    this.maxSeq = fixed ?? maxSeq ?? this.config.search?.max_length ?? this.config.model.context_length;
    this.chunk = this.prefill.inputs.find(({name}) => name === hiddenInput(this.prefill)).shape[1];
    if (typeof this.chunk !== 'number') throw new Error(`${this.prefill.path}: the prefill length is not static`);
    this.cached = 0;
    this.cache = Object.fromEntries(caches.map(({name, dtype, shape}) => {
      const full = resized(shape, 2, this.maxSeq), count = full.reduce((a, b) => a * b, 1);
      return [name, {dtype, shape: full, data: dtype === 'F16' ? new Uint16Array(count) : new Float32Array(count)}];
    }));
  }

  async embed(ids) {
    const model = this.embeddings, results = await run(model, {[model.inputs[0].name]: int64(ids)});
    return results[model.outputs[0].name];
  }

  /// Runs prefill or decode on the embedded tokens; `last` is the index in the cache of the last one.
  async transform(model, embedded, last) {
    const results = await run(model, {
      [hiddenInput(model)]: embedded,
      past_seq_len: {dtype: 'I32', shape: [1, 1], data: Int32Array.of(last)},
      total_seq_len: {dtype: 'I32', shape: [1], data: Int32Array.of(this.maxSeq)},
      ...this.cache,
    });
    for (const name of Object.keys(this.cache)) this.cache[name] = results[rename(name)];
    return results[hiddenOutput(model)];
  }

  /// The head over every row of `hidden`, as many rows at a time as it takes.
  async logits(hidden) {
    const model = this.head, [input] = model.inputs, rows = hidden.shape[1];
    const at_once = typeof input.shape[1] === 'number' ? input.shape[1] : rows;
    const parts = [];
    for (let i = 0; i < rows; i += at_once) {
      const end = Math.min(i + at_once, rows), padded = pad(slice(hidden, 1, i, end), at_once);
      const results = await run(model, {[input.name]: padded});
      parts.push(slice(results[model.outputs[0].name], 1, 0, end - i));
    }
    return concat(parts);
  }

  /// Prefill in chunks. The last one is padded at the end; what the padding leaves in the cache is behind the last token,
  /// where attention does not look, and is overwritten by the tokens that follow.
  async prompt(ids) {
    const padded = Math.ceil(ids.length / this.chunk) * this.chunk;
    if (ids.length === 0 || padded > this.maxSeq)
      throw new Error(`${ids.length} prompt tokens (${padded} with padding) do not fit in a cache of ${this.maxSeq}`);
    const parts = [];
    for (let i = 0; i < ids.length; i += this.chunk) {
      const some = ids.slice(i, i + this.chunk);
      const embedded = pad(await this.embed(some), this.chunk);
      const hidden = await this.transform(this.prefill, embedded, i + this.chunk - 1);
      parts.push(slice(hidden, 1, 0, some.length));
    }
    this.cached = ids.length;
    return concat(parts);
  }

  async step(id) {
    if (this.cached === this.maxSeq) throw new Error(`the cache of ${this.maxSeq} tokens is full`);
    return this.transform(this.decode, await this.embed([id]), this.cached++);
  }

  dumpCache(dump, prefix) {
    for (const [name, tensor] of Object.entries(this.cache)) {
      const [, kind, layer] = /^past_(key|value)s?_(\d+)$/.exec(name) ?? [];
      if (!kind) throw new Error(`${this.decode.path}: unexpected cache input ${name}`);
      const used = slice(tensor, 2, 0, this.cached);
      dump[`${prefix}.${layer}.${kind}`] = {dtype: 'F32', shape: used.shape, data: floats(used)};
    }
  }
}

function pad(tensor, rows) {
  const [, given, width] = tensor.shape, data = new Float32Array(rows * width);
  data.set(tensor.data.subarray(0, given * width));
  return {...tensor, shape: [1, rows, width], data};
}

/// Feeds `prompt`, then the tokens `forced`, or else greedy ones: `wanted` of them or until one of `stop`. Returns the
/// greedy choices, and as `dump` the tensors on the way.
export async function generate(pipeline, prompt, {forced, wanted = forced?.length ?? 0, stop = [], maxSeq} = {}) {
  const generator = new Generator(pipeline, maxSeq);
  const hidden = await generator.prompt(prompt);
  let logits = await generator.logits(hidden);
  const dump = {input_ids: int64(prompt), final_norm: hidden, logits};
  generator.dumpCache(dump, 'kv.prefill');

  const ids = [], fed = [], steps = [];
  while (ids.length < wanted) {
    const greedy = argmax(logits.data.subarray(-logits.shape[2]));
    ids.push(greedy);
    if (!forced && stop.includes(greedy)) break;
    fed.push(forced ? forced[fed.length] : greedy);
    logits = await generator.logits(await generator.step(fed.at(-1)));
    steps.push(logits);
  }
  if (fed.length > 0) {
    dump['decode.input_ids'] = int64(fed);
    dump['decode.logits'] = concat(steps);
    generator.dumpCache(dump, 'kv.final');
  }
  return {ids, dump};
}
