// SPDX-License-Identifier: Apache-2.0
// Small ONNX models as bytes: just enough of protobuf for one graph.

const varint = (value) => {
  const bytes = [];
  for (let v = BigInt.asUintN(64, BigInt(value)); ; v >>= 7n) {
    if (v < 128n) return Buffer.from([...bytes, Number(v)]);
    bytes.push(Number(v & 127n) | 128);
  }
};
const number = (field, value) => Buffer.concat([varint(field << 3), varint(value)]);
const bytes = (field, data) => Buffer.concat([varint(field << 3 | 2), varint(data.length), data]);
const text = (field, string) => bytes(field, Buffer.from(string));
const message = (field, ...parts) => bytes(field, Buffer.concat(parts));
const float = (field, value) => {
  const data = Buffer.alloc(4);
  data.writeFloatLE(value);
  return Buffer.concat([varint(field << 3 | 5), data]);
};

const types = {float32: 1, uint8: 2, int8: 3, uint16: 4, int16: 5, int32: 6, int64: 7, float16: 10, uint4: 21, int4: 22};

const attribute = ([name, value]) =>
    message(5, text(1, name), ...(Number.isInteger(value) ? [number(3, value), number(20, 2)]
                                                          : [float(2, value.f), number(20, 1)]));

/// A node; `attributes` are integers, or {f: number} for floats.
export const node = (op, inputs, outputs, attributes = {}, domain = '') =>
    message(1, ...inputs.map((name) => text(1, name)), ...outputs.map((name) => text(2, name)), text(3, outputs[0]),
            text(4, op), ...Object.entries(attributes).map(attribute), text(7, domain));

/// A constant of any of the types above; `data` is a typed array with its bytes.
export const constant = (name, type, dims, data) =>
    message(5, ...dims.map((extent) => number(1, extent)), number(2, types[type]), text(8, name),
            bytes(9, Buffer.from(data.buffer, data.byteOffset, data.byteLength)));

/// A constant whose bytes are those of `file`, which is beside the model, from `offset` on.
export const external = (name, type, dims, file, offset, size) =>
    message(5, ...dims.map((extent) => number(1, extent)), number(2, types[type]), text(8, name),
            ...Object.entries({location: file, offset, length: size})
                .map(([field, v]) => message(13, text(1, field), text(2, String(v)))), number(14, 1));

const value = (field, [name, type, dims]) =>
    message(field, text(1, name),
            message(2, message(1, number(1, types[type]), message(2, ...dims.map((d) => message(1, number(1, d)))))));

/// A model; inputs and outputs are [name, type, dims].
export const model = ({nodes, constants = [], inputs, outputs}) =>
    Buffer.concat([number(1, 10),
                   message(7, ...nodes, text(2, 'peer'), ...constants, ...inputs.map((v) => value(11, v)),
                           ...outputs.map((v) => value(12, v))),
                   message(8, text(1, ''), number(2, 21)), message(8, text(1, 'com.microsoft'), number(2, 1))]);
