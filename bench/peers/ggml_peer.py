#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Times in ggml what our kernels were timed on.

Usage: ggml_peer.py < {"quick": bool, "rows": [{"kernel", "shape", "threads"}]} > the same rows with {"peer", "seconds"}
Rows that ggml has nothing for are left out. It is called through ctypes: any Python that finds libggml will do.
"""
import ctypes
import json
import re
import sys
import time

ggml = ctypes.CDLL("libggml.so.0")  # brings libggml-base along
TYPES = {"f32": 0, "f16": 1, "int4": 2, "int8": 8, "bf16": 30}  # int4 is Q4_0 and int8 Q8_0: blocks of 32
BITS = {"f32": 32, "f16": 16, "bf16": 16, "int8": 8.5, "int4": 4.5}
CPU = 0


class InitParams(ctypes.Structure):
    _fields_ = [("mem_size", ctypes.c_size_t), ("mem_buffer", ctypes.c_void_p), ("no_alloc", ctypes.c_bool)]


def call(name, *arguments, returns=ctypes.c_void_p):
    # ctypes takes numbers for 32-bit ones: what is longer is a pointer.
    function = getattr(ggml, name)
    function.restype = returns
    return function(*(ctypes.c_void_p(a) if isinstance(a, int) and a > 2**31 else a for a in arguments))


def tensor(context, kind, *dims):
    dims = [ctypes.c_int64(d) for d in dims]
    return call(f"ggml_new_tensor_{len(dims)}d", context, TYPES[kind], *dims)


def fake_quant(context, rows, columns):
    x = tensor(context, "f32", columns, rows)
    return [call("ggml_cast", context, call("ggml_cast", context, x, TYPES["int4"]), TYPES["f32"])], []


def attention(context, kind, prompt, total, heads, kv_heads, dim):
    tokens = total if prompt else 1
    q = tensor(context, "f32", dim, tokens, heads)
    k, v = (tensor(context, kind, dim, total, kv_heads) for _ in range(2))
    mask, hidden = (tensor(context, "f16", total, tokens) if prompt else None), []
    if prompt:
        rows = (b"\0\0" * (i + 1) + b"\x00\xfc" * (total - i - 1) for i in range(total))  # 0 and minus infinity
        hidden = [(mask, b"".join(rows))]
    return [call("ggml_flash_attn_ext", context, q, k, v, mask, ctypes.c_float(dim**-0.5), ctypes.c_float(0), ctypes.c_float(0))
            for _ in range(1 if prompt else 4)], hidden


def linear(context, kind, m, k, n, quick):
    # As many matrices as no cache holds, where each is read for one row alone.
    count = 1 if m > 1 or quick else 1 + (384 << 20) // int(n * k * BITS[kind] / 8)
    x = tensor(context, "f32", k, m)
    return [call("ggml_mul_mat", context, tensor(context, kind, k, n), x) for _ in range(count)], []


def results_of(context, kernel, n, quick):
    """Tensors of the same work on the numbers of a shape, and the bytes of those that need some; or None."""
    if kernel == "group_int4":
        return fake_quant(context, *n)
    if match := re.fullmatch(r"attention_(decode|prefill_\d+)_(f32|f16|bf16|int8)", kernel):
        return attention(context, match[2], match[1] != "decode", *n)
    if match := re.fullmatch(r"gem[mv]_(f32|bf16|int8|int4_g32)(?:_int8_activations)?(?:_m(\d+))?", kernel):
        return linear(context, match[1].removesuffix("_g32"), int(match[2] or 1), *n, quick)
    return None


def seconds(backend, kernel, numbers, quick):
    """Of one of the operators: the best of samples that compute all of them."""
    context = call("ggml_init", InitParams(64 << 20, None, True))
    try:
        work = results_of(context, kernel, numbers, quick)
        if work is None:
            return None
        results, contents = work
        graph = call("ggml_new_graph", context)
        for result in results:
            call("ggml_build_forward_expand", graph, result, returns=None)
        memory = call("ggml_backend_alloc_ctx_tensors", context, backend)
        # Numbers that are neither zero nor slow: 0x3c of f16 and of scales is about 1, of f32 about 0.01.
        call("ggml_backend_buffer_clear", memory, 0x3C, returns=None)
        for where, data in contents:
            call("ggml_backend_tensor_set", where, data, ctypes.c_size_t(0), ctypes.c_size_t(len(data)), returns=None)
        best, until = float("inf"), time.perf_counter() + (0.02 if quick else 0.4)
        while best == float("inf") or time.perf_counter() < until:
            start = time.perf_counter()
            call("ggml_backend_graph_compute", backend, graph, returns=ctypes.c_int)
            best = min(best, (time.perf_counter() - start) / len(results))
        call("ggml_backend_buffer_free", memory, returns=None)
        return best
    finally:
        call("ggml_free", context, returns=None)


def main():
    question, found = json.load(sys.stdin), []
    call("ggml_backend_load_all", returns=None)
    backend = call("ggml_backend_init_by_type", CPU, None)
    registry = call("ggml_backend_dev_backend_reg", call("ggml_backend_get_device", backend))
    set_threads = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int)(
        call("ggml_backend_reg_get_proc_address", registry, b"ggml_backend_set_n_threads"))
    peer = "ggml " + call("ggml_version", returns=ctypes.c_char_p).decode()
    for row in question["rows"]:
        shape = re.match(r"\d+(x\d+)*", row["shape"])
        if shape is None:
            continue
        set_threads(backend, row["threads"])
        time_of_one = seconds(backend, row["kernel"], [int(n) for n in shape[0].split("x")], question["quick"])
        if time_of_one is not None:
            found.append({**{name: row[name] for name in ("kernel", "shape", "threads")}, "peer": peer, "seconds": time_of_one})
    print(json.dumps(found))


main()
