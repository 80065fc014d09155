// SPDX-License-Identifier: Apache-2.0
// The text-generation pipeline of transformers.js loads an emitted folder, and nothing else, and continues prompts as
// the float model did, up to the first step at which that was undecided.
// Usage: node text.mjs FOLDER GENERATE_JSON [MARGIN]
import {env, pipeline} from '@huggingface/transformers';
import fs from 'node:fs';

import {decided} from '../generate.mjs';
import {guarded} from '../guarded.mjs';

await guarded(async () => {
  const [folder, file, margin = '0.05'] = process.argv.slice(2);
  if (!file) throw new Error('usage: node text.mjs FOLDER GENERATE_JSON [MARGIN]');
  env.allowRemoteModels = false;
  const rows = JSON.parse(fs.readFileSync(file, 'utf8')), generator = await pipeline('text-generation', folder);
  let failed = 0;
  for (const row of rows) {
    const ids = decided(row, Number(margin));
    const expected = generator.tokenizer.decode(ids, {skip_special_tokens: true});
    const [{generated_text: found}] =
        await generator(row.prompt, {max_new_tokens: ids.length, do_sample: false, return_full_text: false});
    if (found === expected) continue;
    console.log(`${JSON.stringify(row.prompt)}: expected ${JSON.stringify(expected)}, found ${JSON.stringify(found)}`);
    ++failed;
  }
  console.log(`${rows.length - failed} of ${rows.length} prompts agree`);
  if (failed || !rows.length) throw new Error('not every prompt is continued as the float model did');
});
