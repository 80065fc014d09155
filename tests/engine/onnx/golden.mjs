// SPDX-License-Identifier: Apache-2.0
// The installed engine computes what the goldens recorded: prefill and decode, float and quantized.
// Usage: node golden.mjs TESTS_DATA/ort_quant
import path from 'node:path';

import {guarded} from '../guarded.mjs';
import {load, run} from './engine.mjs';
import {difference, read} from '../safetensors.mjs';

// Float sums may be ordered differently on another CPU; a quantized output then moves by a few steps of 1/65535.
const relative = {fp32: 1e-5, qdq_minmax: 1e-4};

await guarded(async () => {
  const folder = process.argv[2];
  let compared = 0, failed = 0;
  for (const part of ['conv_ctx', 'conv_iter', 'matmul_ctx', 'matmul_iter']) {
    const all = read(path.join(folder, `feeds_${part.split('_')[1]}.safetensors`)), feeds = {};
    for (const [name, tensor] of Object.entries(all))
      if (name.startsWith('sample.0.')) feeds[name.slice('sample.0.'.length)] = tensor;
    const golden = read(path.join(folder, part, 'outputs_sample0.safetensors'));
    for (const [file, opt, prefix] of [['fp32', 'all', 'fp32'], ['qdq_minmax', 'disabled', 'qdq_noopt'],
                                       ['qdq_minmax', 'all', 'qdq_opt']]) {
      const results = await run(await load(path.join(folder, part, `${file}.onnx`), {opt}), feeds);
      for (const [name, tensor] of Object.entries(results)) {
        const {worst, largest} = difference(tensor, golden[`${prefix}.${name}`]);
        ++compared;
        if (!(worst <= relative[file] * largest)) {
          console.log(`${part}/${file} (${opt}) ${name}: max|diff| ${worst}, allowed ${relative[file] * largest}`);
          ++failed;
        }
      }
    }
  }
  console.log(`${compared - failed} of ${compared} outputs agree`);
  if (failed || !compared) throw new Error('the engine does not agree with the goldens');
});
