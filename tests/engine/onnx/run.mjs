// SPDX-License-Identifier: Apache-2.0
// Generates greedily with an emitted folder in ONNX Runtime, and dumps what it saw.
import {parseArgs} from 'node:util';

import {guarded} from '../guarded.mjs';
import {version} from './engine.mjs';
import {generate} from '../generate.mjs';
import {open} from './generator.mjs';
import {read, write} from '../safetensors.mjs';

const usage = `usage: node run.mjs --model DIR (--ids 5,17,3 | --feed-from FILE) [--max-new N] [--eos 1216,1214]
         [--dump FILE] [--feed-from FILE] [--opt disabled|basic|extended|all] [--threads N] [--max-seq N]
--feed-from takes the prompt, unless --ids is given, and the tokens to feed (instead of greedy ones) from the tensors
input_ids and decode.input_ids of a dump. Writes {"ids": new tokens, ...} to standard output.`;

await guarded(async () => {
  const {values} = parseArgs({options: Object.fromEntries([
    'model', 'ids', 'max-new', 'eos', 'dump', 'feed-from', 'opt', 'threads', 'max-seq'
  ].map((name) => [name, {type: 'string'}]))});
  if (!values.model || !(values.ids || values['feed-from'])) throw new Error(usage);
  const list = (text) => (text ?? '').split(',').filter(Boolean).map(Number);
  const given = values['feed-from'] ? read(values['feed-from']) : {};
  const prompt = values.ids ? list(values.ids) : Array.from(given.input_ids.data, Number);
  const forced = given['decode.input_ids'] && Array.from(given['decode.input_ids'].data, Number);
  const wanted = forced ? forced.length : Number(values['max-new'] ?? 0), stop = list(values.eos);

  const pipeline = await open(values.model, {opt: values.opt, threads: Number(values.threads ?? 2)});
  const started = performance.now();
  const {ids, dump} = await generate(
      pipeline, prompt, {forced, wanted, stop, maxSeq: values['max-seq'] && Number(values['max-seq'])});
  if (values.dump) write(values.dump, dump);
  const seconds = (performance.now() - started) / 1000;
  console.log(JSON.stringify({ids, onnxruntime: version, seconds}));
});
