// SPDX-License-Identifier: Apache-2.0
// What the emitted files say of themselves: a symbolic cache axis, the operator sets that are used, one data file.
// Usage: node interface.mjs FOLDER
import fs from 'node:fs';
import path from 'node:path';

import {guarded} from '../guarded.mjs';
import {load} from './engine.mjs';

/// Fields of a protobuf message: [number, value], where a value is an integer or bytes.
function fields(bytes) {
  const result = [];
  let at = 0;
  const varint = () => {
    for (let value = 0, place = 1;; place *= 128) {
      const byte = bytes[at++];
      value += (byte & 127) * place;
      if (byte < 128) return value;
    }
  };
  while (at < bytes.length) {
    const key = varint(), length = key & 7 ? varint() : 0;
    if (![0, 2].includes(key & 7)) throw new Error(`unexpected wire type ${key & 7}`);
    result.push([Math.floor(key / 8), key & 7 ? bytes.subarray(at, at += length) : varint()]);
  }
  return result;
}
const all = (message, number) => fields(message).filter(([n]) => n === number).map(([, value]) => value);
const text = (message, number) => all(message, number).map(String)[0] ?? '';

await guarded(async () => {
  const folder = process.argv[2];
  let failed = 0;
  const expect = (what, found, expected) => {
    if (JSON.stringify(found) === JSON.stringify(expected)) return;
    console.log(`${what}: expected ${JSON.stringify(expected)}, found ${JSON.stringify(found)}`);
    ++failed;
  };
  for (const [name, tokens, domains] of [
         ['embeddings', 'sequence_length', ['']], ['prefill', 64, ['', 'com.microsoft']],
         ['decode', 1, ['', 'com.microsoft']], ['lm_head', 'sequence_length', ['']]]) {
    const file = path.join(folder, `${name}.onnx`), [graph] = all(fs.readFileSync(file), 7);
    // Operator sets: those of the nodes and no others.
    const used = [...new Set(all(graph, 1).map((node) => text(node, 7)))].sort();
    expect(`${name}: domains of nodes`, used, domains);
    expect(`${name}: opset_import`, all(fs.readFileSync(file), 8).map((set) => [text(set, 1), all(set, 2)[0]]).sort(),
           domains.map((domain) => [domain, domain ? 1 : 21]));
    // External data: one file for all.
    const places = all(graph, 5).flatMap((tensor) => all(tensor, 13)).filter((entry) => text(entry, 1) === 'location');
    expect(`${name}: data files`, [...new Set(places.map((entry) => text(entry, 2)))], ['model.data']);

    const {inputs, outputs} = await load(file);
    for (const {name: port, dtype, shape} of [...inputs, ...outputs]) {
      if (/^(past|present)_(keys|values)_\d+$/.test(port))
        expect(`${name}: ${port}`, [dtype, shape[0], shape[2]], ['F16', 1, 'max_seq_len']);
      else if (port.endsWith('hidden_states'))
        expect(`${name}: ${port}`, [dtype, ...shape.slice(0, 2)], ['F32', 1, tokens]);
    }
    const named = (list, pattern) => list.filter(({name}) => pattern.test(name)).length;
    const layers = domains.length > 1 ? named(inputs, /^past_keys_/) : 0;
    if (domains.length > 1 && layers === 0) throw new Error(`${name}: no cache`);
    expect(`${name}: caches`, [named(inputs, /^past_values_/), named(outputs, /^present_keys_/),
                               named(outputs, /^present_values_/)], [layers, layers, layers]);
  }
  if (failed) throw new Error(`${failed} checks failed`);
  console.log('the files say what they should');
});
