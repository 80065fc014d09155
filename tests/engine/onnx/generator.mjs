// SPDX-License-Identifier: Apache-2.0
// Greedy generation with an emitted folder in ONNX Runtime, whatever files it is made of.
import fs from 'node:fs';
import path from 'node:path';

import {load} from './engine.mjs';
import {openStages, Pipeline} from './stages.mjs';
import {argmax, concat, int64} from './tensors.mjs';
import {Whole} from './whole.mjs';

/// The model of genai_config.json; `begin` starts a text.
export async function open(folder, options) {
  const config = JSON.parse(fs.readFileSync(path.join(folder, 'genai_config.json'), 'utf8'));
  if (config.model.decoder.pipeline) {
    const stages = await openStages(folder, config, options);
    return {begin: (maxSeq) => new Pipeline(stages, config, maxSeq)};
  }
  const model = await load(path.join(folder, config.model.decoder.filename), options);
  return {begin: () => new Whole(model, config)};
}

/// Feeds `prompt`, then the tokens `forced`, or else greedy ones: `wanted` of them or until one of `stop`. Returns the
/// greedy choices, and as `dump` the tensors on the way.
export async function generate(model, prompt, {forced, wanted = forced?.length ?? 0, stop = [], maxSeq} = {}) {
  const generator = model.begin(maxSeq);
  const dump = {input_ids: int64(prompt), ...await generator.prompt(prompt)};
  generator.dumpCache(dump, 'kv.prefill');
  let {logits} = dump;

  const ids = [], fed = [], steps = [];
  while (ids.length < wanted) {
    const greedy = argmax(logits.data.subarray(-logits.shape[2]));
    ids.push(greedy);
    if (!forced && stop.includes(greedy)) break;
    fed.push(forced ? forced[fed.length] : greedy);
    logits = await generator.step(fed.at(-1));
    steps.push(logits);
  }
  if (fed.length > 0) {
    dump['decode.input_ids'] = int64(fed);
    dump['decode.logits'] = concat(steps);
    generator.dumpCache(dump, 'kv.final');
  }
  return {ids, dump};
}
