// SPDX-License-Identifier: Apache-2.0
// The layout of the other targets: one file, whose names genai_config.json gives. The cache grows, or is one buffer for
// `maxSeq` tokens where the config allows it.
import {run} from './engine.mjs';
import {cachedRows, int64, resized, zeros} from '../tensors.mjs';

export class Whole {
  constructor(model, config, maxSeq) {
    const {inputs, outputs, num_hidden_layers: layers} = config.model.decoder;
    const rows = config.search.past_present_share_buffer ? maxSeq ?? 0 : 0;
    Object.assign(this, {model, inputs, outputs, cached: 0});
    this.caches = Array.from({length: layers}, (_, layer) => ['key', 'value'].map((kind) => {
      const name = (pattern) => pattern.replace('%d', layer);
      const past = name(inputs[`past_${kind}_names`]), {dtype, shape} = model.inputs.find(({name}) => name === past);
      return {layer, kind, past, present: name(outputs[`present_${kind}_names`]),
              rows: zeros(dtype, resized(shape, 2, rows))};
    })).flat();
  }

  /// Logits of every token of `ids`, which follow those in the cache.
  async read(ids) {
    this.cached += ids.length;
    const feeds = {[this.inputs.input_ids]: int64(ids)};
    if (this.inputs.attention_mask) feeds[this.inputs.attention_mask] = int64(Array(this.cached).fill(1));
    for (const {past, rows} of this.caches) feeds[past] = rows;
    const results = await run(this.model, feeds);
    for (const cache of this.caches) cache.rows = results[cache.present];
    return results[this.outputs.logits];
  }

  async prompt(ids) { return {logits: await this.read(ids)}; }
  step(id) { return this.read([id]); }

  dumpCache(dump, prefix) {
    for (const {layer, kind, rows} of this.caches) dump[`${prefix}.${layer}.${kind}`] = cachedRows(rows, this.cached);
  }
}
