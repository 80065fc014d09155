// SPDX-License-Identifier: Apache-2.0
// The host of an emitted folder in LiteRT: positions, mask and KV cache are its own, the files are static.
import fs from 'node:fs';
import path from 'node:path';

import {cachedRows, concat, slice, zeros} from '../tensors.mjs';
import {load, run} from './engine.mjs';

/// Every way to run a folder that has to give the same.
export const variants = [{layout: 'stages'}, {layout: 'whole'}];

const masked = -120;
const f32 = (shape, data) => ({dtype: 'F32', shape, data: Float32Array.from(data)});
const int32 = (ids) => ({dtype: 'I32', shape: [1, ids.length], data: Int32Array.from(ids)});

/// The files of stages run as the whole model does: {input_ids, ...} -> {logits, new_key_i, ...}.
async function openStages(file, layers) {
  const only = async (name) => Object.values(await load(file(name)))[0];
  const embedding = await only('token_embedding'), head = await only('lm_head');
  const open = async (kind) => {
    const stages = [];
    for (let i = 0; i < layers; ++i) stages.push(await only(`decoder_layer_${kind}_${i}`));
    const {inputs} = stages[0], rows = inputs.find(({name}) => name === 'hidden_states').shape[1];
    return {inputs, rows, run: async ({input_ids: {data: ids}, ...feeds}) => {
      const embedded = [], logits = [], results = {};
      for (const id of ids) embedded.push((await run(embedding, {input_ids: int32([id])})).hidden_states);
      let hidden_states = concat(embedded);
      for (const [i, stage] of stages.entries()) {
        const past = {past_key: feeds[`past_key_${i}`], past_value: feeds[`past_value_${i}`]};
        const made = await run(stage, {...feeds, ...past, hidden_states});
        ({hidden_states, new_key: results[`new_key_${i}`], new_value: results[`new_value_${i}`]} = made);
      }
      for (let i = 0; i < ids.length; ++i)
        logits.push((await run(head, {hidden_states: slice(hidden_states, 1, i, i + 1)})).logits);
      return {...results, logits: concat(logits)};
    }};
  };
  return {prefill: await open('prefill'), decode: await open('decode')};
}

async function openWhole(file) {
  const signatures = await load(file('model'));
  return Object.fromEntries(Object.entries(signatures).map(([key, {inputs, ...model}]) => [key, {
    inputs, rows: inputs.find(({name}) => name === 'input_ids').shape[1],
    run: (feeds) => run({inputs, ...model}, feeds),
  }]));
}

/// `begin` starts a text.
export async function open(folder, {layout = 'whole'} = {}) {
  const config = JSON.parse(fs.readFileSync(path.join(folder, 'config.json'), 'utf8'));
  const names = fs.readdirSync(folder);
  const file = (stage) => path.join(folder, names.find((name) => name.startsWith(`${stage}.`)));
  const model = await (layout === 'stages' ? openStages(file, config.num_hidden_layers) : openWhole(file));
  const quantized = names.some((name) => name.endsWith('.q.tflite'));
  return {begin: () => new Host(model, quantized, config)};
}

class Host {
  constructor(model, quantized, {num_hidden_layers, num_key_value_heads, head_dim, rope_theta, rope_parameters}) {
    const {shape} = model.decode.inputs.find(({name}) => name === 'attention_mask');
    Object.assign(this, {model, quantized, length: shape[3], width: head_dim});
    this.theta = rope_theta ?? rope_parameters.rope_theta;
    this.past = {};
    for (let i = 0; i < num_hidden_layers; ++i)
      for (const kind of ['key', 'value'])
        this.past[`past_${kind}_${i}`] = zeros('F32', [1, num_key_value_heads, this.length - 1, head_dim]);
    this.cached = 0;
  }

  /// Rows of cos and sin, computed in f32 as transformers do.
  positions(first, count) {
    const table = (f) => {
      const values = new Float32Array(count * this.width), half = this.width / 2;
      for (let i = 0; i < count; ++i)
        for (let j = 0; j < this.width; ++j)
          values[i * this.width + j] = f(Math.fround((first + i) * Math.fround(this.theta ** (-(j % half) / half))));
      return {dtype: 'F32', shape: [1, count, this.width], data: values};
    };
    return {cos: table(Math.cos), sin: table(Math.sin)};
  }

  /// Runs `graph` and appends the first `count` of its rows to the cache.
  async run(graph, ids, mask, count) {
    const attention_mask = f32([1, 1, graph.rows, mask.length / graph.rows], mask);
    const results = await graph.run({input_ids: int32(ids), attention_mask, ...this.positions(this.cached, graph.rows),
                                     ...this.past});
    for (const [name, {shape: [, heads, rows, width], data}] of Object.entries(this.past))
      for (let h = 0; h < heads; ++h) {
        const made = results[name.replace('past', 'new')];
        data.set(made.data.subarray(h * made.shape[2] * width, (h * made.shape[2] + count) * width),
                 (h * rows + this.cached) * width);
      }
    this.cached += count;
    return slice(results.logits, 1, 0, count);
  }

  /// The first tokens with the prefill graph, padded behind; the others one by one.
  async prompt(ids) {
    const {prefill} = this.model, {rows} = prefill, first = ids.slice(0, rows);
    const mask = Array.from({length: rows * rows}, (_, at) => at % rows > Math.floor(at / rows) ? masked : 0);
    const padded = [...first, ...Array(rows - first.length).fill(0)];
    const logits = [await this.run(prefill, padded, mask, first.length)];
    for (const id of ids.slice(rows)) logits.push(await this.step(id));
    return {logits: concat(logits)};
  }

  /// One token, which stands behind all rows of the cache.
  step(id) {
    if (this.cached === this.length - 1) throw new Error(`the cache of ${this.length} tokens is full`);
    const mask = Array.from({length: this.length}, (_, at) => at < this.cached || at === this.length - 1 ? 0 : masked);
    return this.run(this.model.decode, [id], mask, 1);
  }

  /// As sessions dump it. Keys hold attention's scale, but sessions in float run the model's own graph.
  dumpCache(dump, prefix) {
    for (const [name, tensor] of Object.entries(this.past)) {
      const [, kind, layer] = /^past_(key|value)_(\d+)$/.exec(name);
      const rows = cachedRows(tensor, this.cached);
      if (kind === 'key' && !this.quantized) rows.data = rows.data.map((x) => x * Math.sqrt(this.width));
      dump[`${prefix}.${layer}.${kind}`] = rows;
    }
  }
}
