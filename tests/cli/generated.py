#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of random weights are ones that exporters take.

Usage: generated.py MAKE_CHECKPOINT EXPORTER CONFIG, where EXPORTER was built for CONFIG.
"""
import array
import json
import math
import pathlib
import struct
import subprocess
import sys
import tempfile
import unittest

MAKE, EXPORTER, CONFIG = sys.argv[1:4]


def call(*words):
    return subprocess.run([str(w) for w in words], capture_output=True, encoding="utf-8", timeout=300)


def read_tensors(path):
    """{name: (dtype, shape, bytes)} of a safetensors file."""
    data = path.read_bytes()
    (size,) = struct.unpack_from("<Q", data)
    entries = json.loads(data[8 : 8 + size])
    return {name: (e["dtype"], e["shape"], data[8 + size + e["data_offsets"][0] : 8 + size + e["data_offsets"][1]])
            for name, e in entries.items() if name != "__metadata__"}


def bf16(data):
    """Floats of bfloat16: the upper halves of f32."""
    out = array.array("f")
    out.frombytes(b"".join(b"\0\0" + data[i : i + 2] for i in range(0, len(data), 2)))
    return out


class Generated(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.scratch = pathlib.Path(scratch.name)

    def make(self, name, *options):
        folder = self.scratch / name
        result = call(MAKE, CONFIG, folder, *options)
        self.assertEqual(result.returncode, 0, result.stderr)
        return folder

    def test_numbers(self):
        folder = self.make("one", "--dense-layers", "2")
        tensors = read_tensors(folder / "model.safetensors")
        self.assertEqual(set(bf16(tensors["model.layers.5.input_layernorm.weight"][2])), {1.0})
        self.assertEqual(set(tensors["model.layers.2.mlp.up_proj.weight"][2]), {0})
        for name in "model.embed_tokens.weight", "model.layers.1.mlp.up_proj.weight":
            values = bf16(tensors[name][2])
            mean = sum(values) / len(values)
            self.assertLess(abs(mean), 5e-4)
            self.assertAlmostEqual(math.sqrt(sum(x * x for x in values) / len(values)), 0.02, delta=2e-4)
        self.assertNotEqual(tensors["model.layers.0.mlp.up_proj.weight"][2],
                            tensors["model.layers.1.mlp.up_proj.weight"][2])

    def test_repeatable(self):
        files = [(self.make(name, "--seed", seed) / "model.safetensors").read_bytes()
                 for name, seed in [("a", 1), ("b", 1), ("c", 2)]]
        self.assertEqual(files[0], files[1])
        self.assertNotEqual(files[0], files[2])

    def test_shards_hold_the_same(self):
        whole = read_tensors(self.make("whole") / "model.safetensors")
        folder = self.make("shards", "--shard-bytes", "300000")
        index = json.loads((folder / "model.safetensors.index.json").read_text())
        self.assertEqual(index["metadata"]["total_size"], sum(len(t[2]) for t in whole.values()))
        shards = {}
        for file in sorted(folder.glob("*.safetensors")):
            for name, tensor in read_tensors(file).items():
                self.assertEqual(index["weight_map"][name], file.name)
                shards[name] = tensor
        self.assertEqual(shards, whole)

    def test_exporter_takes_them(self):
        for dtype in "bf16", "f16", "f32":
            folder = self.make(dtype, "--dtype", dtype, "--shard-bytes", "1000000", "--texts", "2,16")
            dump = self.scratch / f"{dtype}.safetensors"
            result = call(EXPORTER, "run", "--quiet", "--scheme", "w8a16", "--checkpoint", folder, "--calibration",
                          folder / "ids.jsonl", "--decode-steps", "4", "--ids", "5,17,3", "--dump", dump)
            self.assertEqual(result.returncode, 0, result.stderr)
            logits = array.array("f", read_tensors(dump)["logits"][2])
            self.assertTrue(all(map(math.isfinite, logits)))
            self.assertGreater(max(logits) - min(logits), 0.1)

    def test_fewer_layers(self):
        folder = self.make("short", "--layers", "2")
        self.assertEqual(json.loads((folder / "config.json").read_text())["num_hidden_layers"], 2)
        layers = {name.split(".")[2] for name in read_tensors(folder / "model.safetensors") if ".layers." in name}
        self.assertEqual(layers, {"0", "1"})


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
