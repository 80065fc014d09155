// SPDX-License-Identifier: Apache-2.0
// An emitted folder continues prompts as the float model did, up to the first step at which that was undecided.
// Usage: node greedy.mjs FOLDER GENERATE_JSON [MARGIN]   (default 0.05: the logit gap below which a step is undecided)
import {spawnSync} from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

const [folder, file, margin = '0.05'] = process.argv.slice(2);
if (!file) {
  console.error('usage: node greedy.mjs FOLDER GENERATE_JSON [MARGIN]');
  process.exit(2);
}
const here = import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname);
const rows = JSON.parse(fs.readFileSync(file, 'utf8'));
let failed = 0, compared = 0;
for (const {prompt, prompt_ids, new_ids, margins} of rows) {
  const undecided = margins.findIndex((gap) => gap < Number(margin));
  const expected = undecided < 0 ? new_ids : new_ids.slice(0, undecided);
  const {status, stdout, stderr} = spawnSync(process.execPath, [
    path.join(here, 'run.mjs'), '--model', folder, '--ids', prompt_ids.join(), '--max-new', `${expected.length}`
  ], {encoding: 'utf8'});
  const found = status === 0 ? JSON.parse(stdout).ids : [];
  compared += expected.length;
  if (expected.length > 0 && found.join() === expected.join()) continue;
  console.log(`${JSON.stringify(prompt)}: expected [${expected}], found [${found}] ${stderr}`);
  ++failed;
}
console.log(`${rows.length - failed} of ${rows.length} prompts agree, ${compared} tokens`);
process.exit(failed || !rows.length ? 1 : 0);
