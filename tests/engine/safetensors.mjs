// SPDX-License-Identifier: Apache-2.0
// Reads and writes safetensors files: f32, f16 (as its bits), i64, i32 and bytes.
import fs from 'node:fs';

const arrays = {F32: Float32Array, F16: Uint16Array, I64: BigInt64Array, I32: Int32Array, U8: Uint8Array, I8: Int8Array,
                U16: Uint16Array};

/// {name: {dtype, shape, data}}
export function read(path) {
  const file = fs.readFileSync(path);
  const start = 8 + Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString('utf8', 8, start));
  delete header.__metadata__;
  const tensors = {};
  for (const [name, {dtype, shape, data_offsets: [begin, end]}] of Object.entries(header)) {
    if (!(dtype in arrays)) throw new Error(`${path}: ${name}: dtype ${dtype} is not read here`);
    const bytes = new Uint8Array(file.subarray(start + begin, start + end));  // a copy, hence aligned
    tensors[name] = {dtype, shape, data: new arrays[dtype](bytes.buffer)};
  }
  return tensors;
}

export function write(path, tensors) {
  const header = {}, parts = [];
  let end = 0;
  for (const [name, {dtype, shape, data}] of Object.entries(tensors)) {
    if (shape.reduce((a, b) => a * b, 1) !== data.length) throw new Error(`${name}: shape and data disagree`);
    parts.push(Buffer.from(data.buffer, data.byteOffset, data.byteLength));
    header[name] = {dtype, shape, data_offsets: [end, end += data.byteLength]};
  }
  let text = JSON.stringify(header);
  text += ' '.repeat(-Buffer.byteLength(text) & 7);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(Buffer.byteLength(text)));
  fs.writeFileSync(path, Buffer.concat([length, Buffer.from(text), ...parts]));
}

/// The floats of a tensor of type F32 or F16.
export function floats({dtype, data}) {
  if (dtype === 'F32') return data;
  if (dtype !== 'F16') throw new Error(`${dtype} holds no floats`);
  return Float32Array.from(data, (bits) => {
    const sign = bits & 0x8000 ? -1 : 1, exponent = bits >> 10 & 31, mantissa = bits & 1023;
    if (exponent === 31) return mantissa ? NaN : sign * Infinity;
    return sign * (exponent ? (1 + mantissa / 1024) * 2 ** (exponent - 15) : mantissa * 2 ** -24);
  });
}

/// How far the tensor `found` is from `expected`: the largest |difference| (NaN stays) and the largest |expected|.
export function difference(found, expected) {
  if (found.shape.join() !== expected.shape.join())
    throw new Error(`shape [${found.shape}], expected [${expected.shape}]`);
  const x = floats(found), y = floats(expected);
  return {
    worst: x.reduce((max, value, i) => Math.max(max, Math.abs(value - y[i])), 0),
    largest: y.reduce((max, value) => Math.max(max, Math.abs(value)), 0),
  };
}
