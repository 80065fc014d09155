// SPDX-License-Identifier: Apache-2.0
// An emitted folder computes what qwq's own session computes, and in float what transformers computes: final norm
// (where a file has it), logits and cache of a prefill, and the decode steps that follow, in every way that the engine
// can run it. ENGINE: a folder here.
// Usage: node agree.mjs ENGINE EXPORTER CHECKPOINT FOLDER TOLERANCE SHARE [option of the exporter's run ...]
// TOLERANCE: of a tensor's largest value, for every difference. SHARE: of the tensors that agree to an f16 or two.
import {spawnSync} from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

import {generate} from './generate.mjs';
import {guarded} from './guarded.mjs';
import {difference, read} from './safetensors.mjs';

const steps = 8;           // as many as in golden.safetensors
const f16_step = 2 ** -9;  // two steps of an f16 at the lower end of its binade

/// Fails or not: every tensor of `names` within `tolerance`, and `share` of them within f16_step.
class Comparison {
  constructor(tolerance, share) {
    Object.assign(this, {tolerance, share, compared: 0, close: 0, most: 0, where: '', failed: 0});
  }
  add(what, found, wanted, names) {
    for (const name of names) {
      const {worst, largest} = difference(found[name], wanted[name]), part = worst / largest;
      ++this.compared;
      this.close += part <= f16_step;
      if (!(part <= this.most)) [this.most, this.where] = [part, `${name} of ${what}`];
      if (part <= this.tolerance) continue;
      console.log(`${what}, ${name}: max|diff| ${worst}, allowed ${this.tolerance * largest}`);
      ++this.failed;
    }
  }
  ok(title) {
    const share = this.close / this.compared;
    console.log(`${title}: ${this.compared} tensors, at most ${this.most.toExponential(1)} apart (${this.where}), ` +
                `${(100 * share).toFixed(0)} % closer than ${f16_step.toExponential(1)}`);
    return this.compared > 0 && this.failed === 0 && share >= this.share;
  }
}

/// How much the largest of a row of logits is above the second.
function gap(row) {
  const [first, second] = Array.from(row).sort((a, b) => b - a);
  return first - second;
}

await guarded(async () => {
  const [engine, exporter, checkpoint, folder, tolerance, share, ...options] = process.argv.slice(2);
  const {open, variants} = await import(`./${engine}/generator.mjs`);
  const golden = Object.fromEntries(Object.entries(read(path.join(checkpoint, 'golden.safetensors')))
    .filter(([name]) => name.startsWith('base.')).map(([name, tensor]) => [name.slice('base.'.length), tensor]));
  const names = Object.keys(golden).filter((name) => /^(logits|final_norm|decode\.logits|kv\..*)$/.test(name));
  const rows = JSON.parse(fs.readFileSync(path.join(checkpoint, 'generate.json'), 'utf8'));
  const prompts = [Array.from(golden.input_ids.data, Number), ...rows.slice(-3).map(({prompt_ids}) => prompt_ids)];
  // A choice of the session that was closer than this may fall otherwise.
  const margin = options.includes('w8a8') ? 1 : 0.05;
  const isFloat = options.includes('f32');

  const session = new Comparison(Number(tolerance), Number(share));
  const transformers = new Comparison(Number(tolerance), Number(share));
  let said = 0, decided = 0, otherwise = 0;
  for (const [at, prompt] of prompts.entries()) {
    const file = `${folder}.${at}.safetensors`;
    const {status, stderr} = spawnSync(exporter, ['run', '--quiet', '--checkpoint', checkpoint, '--ids', prompt.join(),
                                                  '--decode', steps, '--dump', file, ...options], {encoding: 'utf8'});
    if (status !== 0) throw new Error(`${exporter}: status ${status}: ${stderr}`);
    const dump = read(file), forced = Array.from(dump['decode.input_ids'].data, Number);
    const vocabulary = dump.logits.shape[2];
    const chosenFrom = [...dump.logits.data.subarray(-vocabulary), ...dump['decode.logits'].data];
    for (const how of variants) {
      const {ids, dump: found} = await generate(await open(folder, how), prompt, {forced});
      const what = ['prompt', at, ...Object.values(how)].join(' ');
      const shown = names.filter((name) => name !== 'final_norm' || name in found);
      session.add(what, found, dump, shown);
      if (at === 0 && isFloat) transformers.add(what, found, golden, shown);
      for (const [i, id] of ids.entries()) {
        ++said;
        if (gap(chosenFrom.slice(i * vocabulary, (i + 1) * vocabulary)) < margin) continue;
        ++decided;
        if (id === forced[i]) continue;
        console.log(`${what}: token ${i} is ${id}, the session said ${forced[i]}`);
        ++otherwise;
      }
    }
  }
  console.log(`${decided - otherwise} of ${decided} decided tokens agree, ${said - decided} were undecided`);
  const agree = [session.ok('session'), !isFloat || transformers.ok('transformers')];
  const close = Number(tolerance) < 1e-4;  // then tokens have no more to say than the logits that they follow from
  if (agree.includes(false) || otherwise || !(decided || close)) throw new Error('the engine does not agree');
});
