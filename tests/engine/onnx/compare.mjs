// SPDX-License-Identifier: Apache-2.0
// Compares the tensors that two safetensors files have in common; fails when one differs by more than the tolerance.
import {parseArgs} from 'node:util';

import {difference, read} from '../safetensors.mjs';

const {values, positionals: [actual, expected]} = parseArgs({
  allowPositionals: true,
  options: {
    rtol: {type: 'string', default: '1e-4'},
    atol: {type: 'string', default: '1e-5'},
    prefix: {type: 'string', default: ''},
    names: {type: 'string', default: '.'},
    require: {type: 'string', default: ''},
  },
});
if (!expected) {
  console.error(`usage: node compare.mjs ACTUAL EXPECTED [--rtol 1e-4] [--atol 1e-5] [--prefix base.] [--names REGEX] [--require a,b]
A tensor differs when max|a - e| > rtol * max|e| + atol; integers must be equal. --prefix: of the names in EXPECTED.`);
  process.exit(2);
}
const found = read(actual), wanted = read(expected);
let compared = 0, failed = 0;
for (const name of values.require.split(',').filter((name) => name && !(name in found && values.prefix + name in wanted))) {
  console.log(`${name}: missing`);
  ++failed;
}
for (const [name, a] of Object.entries(found)) {
  const e = wanted[values.prefix + name];
  if (!e || !new RegExp(values.names).test(name)) continue;
  ++compared;
  let verdict;
  if (a.data.length !== e.data.length || a.shape.join() !== e.shape.join()) {
    verdict = `shape [${a.shape}], expected [${e.shape}]`;
  } else if (a.dtype.startsWith('I')) {
    if (a.data.some((value, i) => value !== e.data[i])) verdict = 'integers differ';
  } else {
    const {worst, largest} = difference(a, e), limit = Number(values.rtol) * largest + Number(values.atol);
    console.log(`${name}: max|diff| ${worst.toExponential(2)}, allowed ${limit.toExponential(2)}`);
    if (!(worst <= limit)) verdict = 'differs too much';
  }
  if (verdict) {
    console.log(`${name}: ${verdict}`);
    ++failed;
  }
}
console.log(`${compared - failed} of ${compared} tensors agree`);
process.exit(failed || !compared ? 1 : 0);
