#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times in torch what our kernels were timed on.

Usage: torch_peer.py < {"quick": bool, "rows": [{"kernel", "shape", "threads"}]} > the same rows with {"peer", "seconds"}
Rows that torch has nothing for are left out.
"""
import itertools
import json
import re
import sys
import time

import torch

TYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
CODES = {"u8": (0, 255, 128), "i8": (-128, 127, 0), "u16": (0, 65535, 32768), "i16": (-32768, 32767, 0)}


def best_seconds(f, turns, quick):
    """Short samples of calls in a row, the best of them, as for ours."""
    f()
    start = time.perf_counter()
    f()
    best = time.perf_counter() - start
    calls, until = max(turns, round(2e-3 / best)), start + (0.02 if quick else 0.4)
    while time.perf_counter() < until:
        start = time.perf_counter()
        for _ in range(calls):
            f()
        best = min(best, (time.perf_counter() - start) / calls)
    return best


def fake_quant(code, axis, rows, columns):
    x, (low, high, zero) = torch.randn(rows, columns), CODES[code]
    if axis is None:
        return lambda: torch.fake_quantize_per_tensor_affine(x, 0.01, zero, low, high)
    count, dim = (rows, 0) if axis == "row" else (columns, 1)
    scales, zeros = torch.full((count,), 0.01), torch.full((count,), zero, dtype=torch.int32)
    return lambda: torch.fake_quantize_per_channel_affine(x, scales, zeros, dim, low, high)


def group_int4(rows, columns):
    x = torch.randn(rows * columns // 32, 32)
    scales, zeros = torch.full((len(x),), 0.1), torch.zeros(len(x), dtype=torch.int32)
    return lambda: torch.fake_quantize_per_channel_affine(x, scales, zeros, 0, -8, 7)


def attention(kind, prompt, total, heads, kv_heads, dim):
    q = torch.randn(1, heads, total if prompt else 1, dim).to(TYPES[kind])
    # Its fast path wants as many heads of keys as of queries: repeated outside of the clock.
    k, v = (torch.randn(1, kv_heads, total, dim).to(TYPES[kind]).repeat_interleave(heads // kv_heads, 1) for _ in range(2))
    return lambda: torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=prompt)


def linear(kind, m, k, n):
    # As many matrices as no cache holds, where each is read for one row alone.
    x, weights = torch.randn(m, k).to(TYPES[kind]), [torch.randn(n, k).to(TYPES[kind])]
    if m == 1:
        weights += [weights[0].clone() for _ in range((384 << 20) // (weights[0].element_size() * n * k))]
    each = itertools.cycle(weights)
    return lambda: torch.nn.functional.linear(x, next(each)), len(weights)


def call_of(kernel, n):
    """The same work on the numbers of a shape, or None; with it the calls after which data comes again, if these are many."""
    if match := re.fullmatch(r"fake_quant_(u8|u16|i8|i16)(?:_(row|column))?", kernel):
        return fake_quant(*match.groups(), *n)
    if kernel == "group_int4":
        return group_int4(*n)
    if kernel in ("observer_minmax", "observer_histogram"):
        x = torch.randn(*n)
        return (lambda: torch.aminmax(x)) if kernel == "observer_minmax" else (lambda: torch.histc(x, 2048, -4, 4))
    if match := re.fullmatch(r"attention_(decode|prefill_\d+)_(f32|f16|bf16)", kernel):
        return attention(match[2], match[1] != "decode", *n)
    if match := re.fullmatch(r"gem[mv]_(f32|bf16)(?:_m(\d+))?", kernel):
        return linear(match[1], int(match[2] or 1), *n)
    return None


def main():
    question, found = json.load(sys.stdin), []
    with torch.inference_mode():
        for row in question["rows"]:
            torch.set_num_threads(row["threads"])
            shape = re.match(r"\d+(x\d+)*", row["shape"])
            f = call_of(row["kernel"], [int(n) for n in shape[0].split("x")]) if shape else None
            f, turns = f if isinstance(f, tuple) else (f, 1)
            if f is not None:
                fields = {name: row[name] for name in ("kernel", "shape", "threads")}
                found.append({**fields, "peer": f"torch {torch.__version__}",
                              "seconds": best_seconds(f, turns, question["quick"])})
    print(json.dumps(found))


main()
