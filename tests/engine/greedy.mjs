// SPDX-License-Identifier: Apache-2.0
// An emitted folder continues prompts as the float model did, up to the first step at which that was undecided.
// Usage: node greedy.mjs ENGINE FOLDER GENERATE_JSON [MARGIN]
// MARGIN: the logit gap below which a step is undecided, 0.05 unless given.
import fs from 'node:fs';

import {decided, generate} from './generate.mjs';
import {guarded} from './guarded.mjs';

await guarded(async () => {
  const [engine, folder, file, margin = '0.05'] = process.argv.slice(2);
  if (!file) throw new Error('usage: node greedy.mjs ENGINE FOLDER GENERATE_JSON [MARGIN]');
  const {open} = await import(`./${engine}/generator.mjs`);
  const rows = JSON.parse(fs.readFileSync(file, 'utf8')), pipeline = await open(folder);
  let failed = 0, compared = 0;
  for (const row of rows) {
    const expected = decided(row, Number(margin));
    const {ids} = await generate(pipeline, row.prompt_ids, {wanted: expected.length});
    compared += expected.length;
    if (expected.length > 0 && ids.join() === expected.join()) continue;
    console.log(`${JSON.stringify(row.prompt)}: expected [${expected}], found [${ids}]`);
    ++failed;
  }
  console.log(`${rows.length - failed} of ${rows.length} prompts agree, ${compared} tokens`);
  if (failed || !rows.length) throw new Error('not every prompt is continued as the float model did');
});
