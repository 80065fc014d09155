// SPDX-License-Identifier: Apache-2.0
// A cache that is one buffer for the whole text, as onnxruntime-genai keeps it, gives what a cache that grows gives.
// Usage: node buffer.mjs FOLDER
import {generate} from '../generate.mjs';
import {guarded} from '../guarded.mjs';
import {open} from './generator.mjs';

await guarded(async () => {
  const model = await open(process.argv[2]), prompt = [278, 295, 268, 944], forced = [270, 387, 13];
  const {dump: grown} = await generate(model, prompt, {forced});
  const {dump: fixed} = await generate(model, prompt, {forced, maxSeq: 32});
  const bytes = ({data}) => Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  const differing = Object.keys(grown).filter((name) => !bytes(grown[name]).equals(bytes(fixed[name])));
  if (differing.length || !('decode.logits' in grown)) throw new Error(`these differ: ${differing}`);
  console.log(`${Object.keys(grown).length} tensors are equal`);
});
