// SPDX-License-Identifier: Apache-2.0
// Greedy generation with a folder that an engine has opened.
import {argmax, concat, int64} from './tensors.mjs';

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

/// The tokens of a row of generate.json before the first at which the float model was undecided: its logits were closer
/// than `margin`.
export function decided({new_ids, margins}, margin) {
  const end = margins.findIndex((gap) => gap < margin);
  return end < 0 ? new_ids : new_ids.slice(0, end);
}
