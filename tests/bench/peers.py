#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime runs what it is asked to be compared with: each kind of kernel, in a small shape. No figure is judged.

Usage: peers.py REPOSITORY NODE
"""
import json
import pathlib
import subprocess
import sys

ROWS = {
    "fake_quant_u8": "8x64, 2 KB", "fake_quant_u16": "8x64, 2 KB", "fake_quant_i8_row": "8x64, 2 KB",
    "fake_quant_i16_column": "8x64, 2 KB", "group_int4": "8x64, 2 KB", "group_int4_128": "8x128, 4 KB",
    "observer_minmax": "8x64, 2 KB", "attention_decode_f32": "16x4x2x64", "attention_decode_f16": "16x4x2x64",
    "attention_prefill_16_f32": "16x4x2x64", "gemm_f32_m8": "64x96", "gemv_int8": "64x96", "gemm_int4_g32_m8": "64x96",
}


def main():
    repository, node = pathlib.Path(sys.argv[1]), sys.argv[2]
    rows = [{"kernel": kernel, "shape": shape, "threads": 1} for kernel, shape in ROWS.items()]
    rows.append({"kernel": "observer_histogram", "shape": "8x64, 2 KB", "threads": 1})  # it has none
    done = subprocess.run([node, repository / "bench" / "peers" / "ort.mjs", repository / "tests" / "engine" / "onnx"],
                          input=json.dumps({"quick": True, "rows": rows}), stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout)
    for answer in found:
        print(answer["kernel"], answer["peer"], answer["seconds"])
        assert answer["shape"] == ROWS[answer["kernel"]] and answer["seconds"] > 0, answer
        assert answer["peer"].startswith("ONNX Runtime "), answer
    # With float and with int8 activations.
    expected = sorted([*ROWS, "gemv_int8", "gemm_int4_g32_m8"])
    assert sorted(answer["kernel"] for answer in found) == expected, found


main()
