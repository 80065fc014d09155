// SPDX-License-Identifier: Apache-2.0
// transformers.js has loaded the stand-in of no_images/, and an image that it is given is an error.
import {RawImage} from '@huggingface/transformers';
import sharp from 'sharp';

import {guarded} from '../guarded.mjs';

await guarded(async () => {
  const refused = /no_images: expected no use of an image library, found one/;
  const uses = {
    'a blob': () => RawImage.fromBlob(new Blob([new Uint8Array(8)])),
    'a call': () => sharp(new Uint8Array(8)),
    'an object': () => new sharp(),
    'a member': () => sharp.cache,
  };
  for (const [name, use] of Object.entries(uses)) {
    let message = 'no error';
    try {
      await use();
    } catch (error) {
      message = error.message;
    }
    if (!refused.test(message)) throw new Error(`${name}: expected that images are refused, found: ${message}`);
  }
  console.log('no image library is used');
});
