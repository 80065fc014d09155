// SPDX-License-Identifier: Apache-2.0
// The layout of onnx_winml: embeddings, prefill, decode and lm_head, which genai_config.json joins.
import path from 'node:path';

import {load, run} from './engine.mjs';
import {cachedRows, concat, int64, pad, resized, slice, zeros} from '../tensors.mjs';

/// The four sessions of the pipeline in genai_config.json, told apart by what the config says of each.
export async function openStages(folder, config, options) {
  const stages = config.model.decoder.pipeline.flatMap(Object.values);
  const pick = (what, test) => {
    const found = stages.filter(test);
    if (found.length !== 1) throw new Error(`${folder}/genai_config.json: expected one ${what}, found ${found.length}`);
    return load(path.join(folder, found[0].filename), options);
  };
  const prompt = (stage) => stage.run_on_prompt ?? true, step = (stage) => stage.run_on_token_gen ?? true;
  return {
    embeddings: await pick('stage that reads input_ids', (stage) => stage.inputs.includes('input_ids')),
    prefill: await pick('prefill stage', (stage) => prompt(stage) && !step(stage)),
    decode: await pick('decode stage', (stage) => !prompt(stage) && step(stage)),
    head: await pick('lm_head stage', (stage) => stage.is_lm_head),
  };
}

const one = (list, what, model) => {
  if (list.length !== 1) throw new Error(`${model.path}: expected one ${what}, found ${list.length}`);
  return list[0];
};
const rename = (past) => past.replace(/^past_/, 'present_');
const isCache = ({name, shape}) => name.startsWith('past_') && shape.length === 4;
const hiddenInput = (model) => one(model.inputs.filter(({dtype}) => dtype === 'F32'), 'f32 input', model).name;
const hiddenOutput = (model) => one(model.outputs.filter(({name}) => !name.startsWith('present_')), 'output', model).name;

/// Runs a folder of embeddings, prefill, decode and lm_head.
export class Pipeline {
  constructor(stages, config, maxSeq) {
    Object.assign(this, stages);
    const caches = this.decode.inputs.filter(isCache);
    const fixed = caches.map(({shape}) => shape[2]).find((extent) => typeof extent === 'number');
    this.maxSeq = fixed ?? maxSeq ?? config.search?.max_length ?? config.model.context_length;
    this.chunk = this.prefill.inputs.find(({name}) => name === hiddenInput(this.prefill)).shape[1];
    if (typeof this.chunk !== 'number') throw new Error(`${this.prefill.path}: the prefill length is not static`);
    this.cached = 0;
    this.cache = Object.fromEntries(
        caches.map(({name, dtype, shape}) => [name, zeros(dtype, resized(shape, 2, this.maxSeq))]));
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

  /// Final norm and logits of a prompt. Prefill in chunks. The last one is padded at the end; what the padding leaves in the cache is behind the last token,
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
    const hidden = concat(parts);
    return {final_norm: hidden, logits: await this.logits(hidden)};
  }

  /// Logits after one more token.
  async step(id) {
    if (this.cached === this.maxSeq) throw new Error(`the cache of ${this.maxSeq} tokens is full`);
    return this.logits(await this.transform(this.decode, await this.embed([id]), this.cached++));
  }

  dumpCache(dump, prefix) {
    for (const [name, tensor] of Object.entries(this.cache)) {
      const [, kind, layer] = /^past_(key|value)s?_(\d+)$/.exec(name) ?? [];
      if (!kind) throw new Error(`${this.decode.path}: unexpected cache input ${name}`);
      dump[`${prefix}.${layer}.${kind}`] = cachedRows(tensor, this.cached);
    }
  }
}
