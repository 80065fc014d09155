// SPDX-License-Identifier: Apache-2.0
// Two folders compute the same: prefill and decode steps of a prompt, tensor by tensor.
// Usage: node forms.mjs FOLDER OTHER_FOLDER GENERATE_JSON TOLERANCE   (of a tensor's largest value; 0: bit for bit)
import fs from 'node:fs';

import {generate} from '../generate.mjs';
import {guarded} from '../guarded.mjs';
import {difference} from '../safetensors.mjs';
import {open} from './generator.mjs';

await guarded(async () => {
  const [folder, other, file, tolerance] = process.argv.slice(2);
  const {prompt_ids, new_ids: forced} = JSON.parse(fs.readFileSync(file, 'utf8')).at(-1);
  const found = await generate(await open(folder), prompt_ids, {forced});
  const wanted = await generate(await open(other), prompt_ids, {forced});
  let most = 0, where = '', compared = 0;
  for (const [name, tensor] of Object.entries(wanted.dump)) {
    if (tensor.dtype !== 'F32') continue;
    const {worst, largest} = difference(found.dump[name], tensor);
    ++compared;
    if (!(worst / largest <= most)) [most, where] = [worst / largest, name];
  }
  console.log(`${compared} tensors, at most ${most.toExponential(1)} apart (${where}); ` +
              `${found.ids.filter((id, i) => id === wanted.ids[i]).length} of ${wanted.ids.length} tokens agree`);
  if (!compared || !(most <= Number(tolerance)) || found.ids.join() !== wanted.ids.join())
    throw new Error('the folders do not agree');
});
