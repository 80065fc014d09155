// SPDX-License-Identifier: Apache-2.0
// Stands in for sharp, which needs a newer Node than Debian 12 has. Text needs no images: any use is an error.
function refuse() {
  throw new Error('no_images: expected no use of an image library, found one');
}

export default new Proxy(refuse, {apply: refuse, construct: refuse, get: refuse, has: refuse, set: refuse});
