// SPDX-License-Identifier: Apache-2.0
// An emitted folder in ONNX Runtime, whatever files it is made of.
import fs from 'node:fs';
import path from 'node:path';

import {load} from './engine.mjs';
import {openStages, Pipeline} from './stages.mjs';
import {Whole} from './whole.mjs';

/// Every way to run a folder that has to give the same.
export const variants = [{opt: 'disabled'}, {opt: 'all'}];

/// The model of genai_config.json; `begin` starts a text.
export async function open(folder, options) {
  const config = JSON.parse(fs.readFileSync(path.join(folder, 'genai_config.json'), 'utf8'));
  if (config.model.decoder.pipeline) {
    const stages = await openStages(folder, config, options);
    return {begin: (maxSeq) => new Pipeline(stages, config, maxSeq)};
  }
  const model = await load(path.join(folder, config.model.decoder.filename), options);
  return {begin: (maxSeq) => new Whole(model, config, maxSeq)};
}
