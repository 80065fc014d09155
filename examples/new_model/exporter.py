#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The exporter of the hybrid model writes the files, and computes the logits, of the program beside it.

Usage: exporter.py EXPORT_HYBRID OUT, where OUT is what `new_model` wrote.
"""
import array
import json
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile

EXPORTER, OUT = sys.argv[1], pathlib.Path(sys.argv[2])
PROMPT = 70


def call(*words):
    return subprocess.run([EXPORTER, *map(str, words)], capture_output=True, encoding="utf-8", timeout=300)


def done(*words):
    result = call(*words)
    assert result.returncode == 0, result.stderr


def read_tensor(path, name, code):
    data = path.read_bytes()
    (size,) = struct.unpack_from("<Q", data)
    begin, end = json.loads(data[8 : 8 + size])[name]["data_offsets"]
    return array.array(code, data[8 + size + begin : 8 + size + end])


def main():
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        ids = read_tensor(OUT / "standard-f32/tokens.safetensors", "ids", "i").tolist()
        (scratch / "rows.jsonl").write_text("".join(json.dumps({"ids": ids[i : i + 40]}) + "\n" for i in range(0, 30, 10)))

        # The same bytes as the program's, but for what it says about its own session.
        done("export", "--quiet", "--checkpoint", OUT / "checkpoint", "--scheme", "f32", "--out", scratch / "out")
        files = [file for file in (scratch / "out").rglob("*") if file.is_file()]
        assert files
        for file in files:
            written = OUT / "standard-f32" / file.relative_to(scratch / "out")
            assert file.read_bytes() == written.read_bytes(), file
        done("export", "--quiet", "--checkpoint", OUT / "checkpoint", "--scheme", "w8a16", "--calibration",
             scratch / "rows.jsonl", "--decode-steps", 4, "--out", scratch / "quantized")

        # The same logits; sums in another order are all that differs, as in the engine tests.
        done("run", "--checkpoint", OUT / "checkpoint", "--ids", ",".join(map(str, ids[:PROMPT])), "--dump",
             scratch / "dump")
        found = read_tensor(scratch / "dump", "logits", "f")
        wanted = read_tensor(OUT / "standard-f32/session.safetensors", "logits", "f")[: len(found)]
        worst = max(abs(a - b) for a, b in zip(found, wanted, strict=True))
        assert worst <= 1e-5 * max(map(abs, wanted)), worst

        # Configs of another model, or of none.
        for change, words in [({"num_experts": 8}, "num_experts: this exporter was built for 4, found 8"),
                              ({"rotary_dim": 64}, "rotary_dim: expected at most head_dim = 32, found 64"),
                              ({"hidden_size": None}, "hidden_size: expected an integer from 1 to 10000, found null"),
                              ({"model_type": "qwen3"}, 'model_type: expected "hybrid", found "qwen3"'),
                              ({"rope_theta": 5}, "rope_parameters.rope_theta: expected the top-level rope_theta 5")]:
            folder = scratch / "changed"
            shutil.copytree(OUT / "checkpoint", folder, dirs_exist_ok=True)
            config = json.loads((OUT / "checkpoint/config.json").read_text())
            (folder / "config.json").write_text(json.dumps({**config, **change}))
            result = call("run", "--checkpoint", folder, "--ids", "5", "--dump", scratch / "dump")
            assert result.returncode == 1 and f"config.json: {words}" in result.stderr, result.stderr


if __name__ == "__main__":
    main()
