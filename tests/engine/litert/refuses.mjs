// SPDX-License-Identifier: Apache-2.0
// What LiteRT only says on its console is found: a token id outside of the table, which makes a kernel fail.
// Usage: node refuses.mjs FOLDER
import fs from 'node:fs';
import path from 'node:path';

import {guarded} from '../guarded.mjs';
import {load, run} from './engine.mjs';

await guarded(async () => {
  const [folder] = process.argv.slice(2);
  const file = fs.readdirSync(folder).find((name) => /^token_embedding\..*tflite$/.test(name));
  const {token_embedding: stage} = await load(path.join(folder, file));
  const embed = (id) => run(stage, {input_ids: {dtype: 'I32', shape: [1, 1], data: Int32Array.of(id)}});
  const {hidden_states: {data}} = await embed(5);
  if (!data.some((x) => x !== 0)) throw new Error('an embedding of zeros');
  let said = '';
  await embed(1 << 30).catch(({message}) => said = message);
  if (!said) throw new Error('an id outside of the table was taken');
  console.log(`refused: ${said.replace(/error/gi, '*')}`);
});
