// SPDX-License-Identifier: Apache-2.0
// Parts of tensors, and tensors of parts; a tensor is {dtype, shape, data}.
import {floats} from './safetensors.mjs';

export const resized = (shape, axis, extent) => shape.map((was, i) => i === axis ? extent : was);

/// Zeros of a type that caches have.
export function zeros(dtype, shape) {
  const count = shape.reduce((a, b) => a * b, 1);
  return {dtype, shape, data: dtype === 'F16' ? new Uint16Array(count) : new Float32Array(count)};
}

/// Rows [begin, end) of axis `axis`.
export function slice({dtype, shape, data}, axis, begin, end) {
  const inner = shape.slice(axis + 1).reduce((a, b) => a * b, 1), outer = data.length / inner / shape[axis];
  const result = new data.constructor(outer * (end - begin) * inner);
  for (let i = 0; i < outer; ++i) {
    const from = i * shape[axis] * inner;
    result.set(data.subarray(from + begin * inner, from + end * inner), i * (end - begin) * inner);
  }
  return {dtype, shape: resized(shape, axis, end - begin), data: result};
}

/// Joined along axis 1; the axis before it has one row.
export function concat(tensors) {
  const data = new tensors[0].data.constructor(tensors.reduce((sum, {data}) => sum + data.length, 0));
  const rows = tensors.reduce((sum, {shape}) => sum + shape[1], 0);
  let at = 0;
  for (const tensor of tensors) data.set(tensor.data, (at += tensor.data.length) - tensor.data.length);
  return {...tensors[0], shape: resized(tensors[0].shape, 1, rows), data};
}

/// [1, given, width] with zeros behind it, [1, rows, width].
export function pad(tensor, rows) {
  const [, given, width] = tensor.shape, data = new Float32Array(rows * width);
  data.set(tensor.data.subarray(0, given * width));
  return {...tensor, shape: [1, rows, width], data};
}

export const int64 = (values) => ({dtype: 'I64', shape: [1, values.length], data: BigInt64Array.from(values, BigInt)});
export const argmax = (row) => row.reduce((best, value, i) => value > row[best] ? i : best, 0);

/// The first `used` rows of a cache in f32.
export function cachedRows(tensor, used) {
  const rows = slice(tensor, 2, 0, used);
  return {dtype: 'F32', shape: rows.shape, data: floats(rows)};
}
