#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the benchmarks beside the limits of the machine and beside peers, and says how they compare.

Writes compare.json, compare.txt (the table, which is also printed) and compare.svg into a folder:
  {"machine": ..., "rows": [{"kernel", "shape", "threads", "unit", "ours", "limit", "limited_by", "percent_of_limit",
                             "peers": {...}}]}

Usage: compare.py --out DIR [--filter REGEX] [--quick] [--first] [--merge] [--models DIR] [--node NODE --onnxruntime DIR]
                  [--torch PYTHON] [--ggml PYTHON] [--llama LLAMA_BENCH --gguf PYTHON] BENCHMARK...
       compare.py --out DIR --readme README.md      (its table is made again from DIR/compare.json)
"""
import argparse
import functools
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
SCALE = {"GB/s": 1e-9, "GFLOP/s": 1e-9, "GOP/s": 1e-9, "tok/s": 1.0, "k/s": 1e-3}
KEY = ("kernel", "shape", "threads")


def key(row):
    return tuple(row[field] for field in KEY)


def run_family(program, flags):
    """The machine, and the rows of one executable; `amount` is what one call does."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "out.json"
        command = [program, *flags, f"--benchmark_out={out}", "--benchmark_out_format=json"]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            sys.exit(f"compare.py: {program} failed: {done.stderr.strip().splitlines()[-1:]}")
        text = out.read_text() if out.exists() else ""
    if not text:
        return None, []  # nothing of it was asked for
    report = json.loads(text)
    rows = []
    for one in report["benchmarks"]:
        kernel, shape, threads = re.match(r"([^/]+)/(.*)/threads:(\d+)/", one["name"]).groups()
        if "error_occurred" in one:
            sys.exit(f"compare.py: {one['name']}: {one['error_message']}")
        unit, _, limited_by = one["label"].partition(", limit: ")
        rows.append({"kernel": kernel, "shape": shape, "threads": int(threads), "unit": unit, "ours": one["ours"],
                     "limit": one.get("limit"), "limited_by": limited_by or None,
                     "percent_of_limit": one.get("percent_of_limit"),
                     "peers": {name[len("peer "):]: value for name, value in one.items() if name.startswith("peer ")},
                     "amount": one["amount"]})
    return report["context"]["machine"], rows


def run_pinned(command, threads, question=None):
    """What a peer prints, with as many threads and as a case of ours: on the last processor for one thread."""
    limited = {**os.environ, "OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
    done = subprocess.run(command, input=question, stdout=subprocess.PIPE, text=True, check=True, env=limited,
                          preexec_fn=lambda: os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:]))
    return done.stdout


def run_peer(command, rows, quick):
    """Adds what a peer needs for the same work: it reads rows, and writes those that it knows with its seconds."""
    for threads in sorted({row["threads"] for row in rows}):
        mine = {key(row): row for row in rows if row["threads"] == threads}
        question = json.dumps({"quick": quick, "rows": [dict(zip(KEY, k)) for k in mine]})
        for answer in json.loads(run_pinned(command, threads, question)):
            row = mine[key(answer)]
            row["peers"][answer["peer"]] = row["amount"] / answer["seconds"] * SCALE[row["unit"]]


def ask_onnxruntime(node, modules, model, kind, models, threads, prompts, quick):
    """Tokens per second of a model that was emitted into models/<model>_<type>: a dictionary by tokens of the prompt."""
    folder = models / f"{model}_{kind}"
    if not folder.exists():
        return None
    command = [node, HERE / "peers" / "ort_model.mjs", modules, folder, str(threads), ",".join(prompts)] + ["quick"] * quick
    answer = json.loads(run_pinned(command, threads))
    return answer["peer"], answer["tokens_per_second"]


def ask_llama(llama_bench, python, model, kind, models, threads, prompts, quick):
    """As above, of random weights in models/<model>_<type>.gguf, which is written when it is missing."""
    config = HERE.parent / "examples" / "exporters" / model / "config.json"
    if kind not in ("int8", "int4") or not config.exists():
        return None
    file = models / f"{model}_{kind}.gguf"
    if not file.exists():
        subprocess.run([python, HERE / "peers" / "gguf_model.py", kind, file], input=config.read_bytes(), check=True)
    sizes = ["-p", ",".join(tokens for tokens in prompts if tokens != "1") or "0", "-n", "16" if "1" in prompts else "0"]
    command = [llama_bench, "-m", file, "-t", str(threads), *sizes, "-r", "1" if quick else "2", "--no-warmup", "-o", "json"]
    answers = json.loads(run_pinned(command, threads))
    return "llama.cpp", {str(one["n_prompt"] or 1): max(one["samples_ts"]) for one in answers}


def run_models(ask, models, rows, quick):
    """Adds what a peer makes of models of the same shape."""
    asked = {}
    for row in rows:
        match = re.fullmatch(r"model_(decode|prefill_(\d+))_([a-z0-9]+)(_a8)?", row["kernel"])
        if match:
            asked.setdefault((row["shape"], match[3], row["threads"]), []).append((match[2] or "1", row))
    for (model, kind, threads), mine in asked.items():
        prompts = sorted({tokens for tokens, _ in mine}, key=int)
        peer, speeds = ask(model, kind, models, threads, prompts, quick) or (None, {})
        for tokens, row in mine:
            if tokens in speeds:
                row["peers"][peer] = speeds[tokens]


def figure(value):
    return "-" if value is None else f"{value:.3g}" if value < 1000 else f"{value:.0f}"


# The limit and the peer are in the unit of ours.
HEADER = ("kernel", "shape", "threads", "ours", "limit", "percent", "best peer", "ours / peer")


def table(rows):
    """Lines of cells."""
    for row in rows:
        # Loops of our own that were timed for comparison are not what anybody else offers.
        others = [peer for peer in row["peers"].items() if not peer[0].startswith("by hand")]
        best = max(others, key=lambda peer: peer[1], default=None)
        yield (row["kernel"], row["shape"], str(row["threads"]), f"{figure(row['ours'])} {row['unit']}",
               "-" if row["limit"] is None else f"{figure(row['limit'])} ({row['limited_by']})", "-" if row["percent_of_limit"] is None else f"{row['percent_of_limit']:.0f} %",
               f"{figure(best[1])} ({best[0]})" if best else "-", f"{row['ours'] / best[1]:.2f}" if best else "-")


def as_text(rows):
    lines = [HEADER, *table(rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADER))]
    return "".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() + "\n" for line in lines)


def escaped(text):
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def as_svg(machine, rows):
    """A bar for each row, as a part of its limit (or of the largest of ours and the peers); peers are marks on it."""
    line, left, width = 18, 420, 480
    parts = []
    for i, row in enumerate(rows):
        y = 40 + i * line
        whole = row["limit"] or max([row["ours"], *row["peers"].values()])
        at = lambda value: left + width * min(value / whole, 1.1)
        name = f"{row['kernel']}, {row['shape']}, {row['threads']} thread{'s' * (row['threads'] > 1)}"
        parts.append(f'<text x="{left - 8}" y="{y + 12}" text-anchor="end">{escaped(name)}</text>'
                     f'<rect x="{left}" y="{y + 2}" width="{at(row["ours"]) - left:.1f}" height="{line - 5}" fill="#4878a8">'
                     f'<title>{escaped(figure(row["ours"]) + " " + row["unit"])}</title></rect>')
        for peer, value in row["peers"].items():
            title = f"{peer}: {figure(value)} {row['unit']}"
            parts.append(f'<rect x="{at(value) - 1.5:.1f}" y="{y}" width="3" height="{line - 1}" fill="#d06020">'
                         f"<title>{escaped(title)}</title></rect>")
    height = 50 + len(rows) * line
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 80}" height="{height}" font-family="sans-serif" '
            f'font-size="11"><rect width="100%" height="100%" fill="white"/>'
            f'<text x="8" y="20">{escaped(machine)}: bars are parts of the limit (line), marks are peers</text>'
            f'{"".join(parts)}<line x1="{left + width}" y1="36" x2="{left + width}" y2="{height - 8}" stroke="black"/></svg>\n')


# What the README shows, as kernel, shape and threads; all else is in compare.txt.
IN_README = re.compile(r"(fake_quant_(u8|u16|i8_row)|group_int4|observer_(minmax|histogram)) .*, (64 KB|256 MB) 1|"
                       r"attention_decode_(f32|f16|int8) .* 1|attention_prefill_\d+_f32 .* 1|"
                       r"gemm_(f32|int8|int4_g32)_m\d+ 1024x3072 1|gemv_(f32|int8|int4_g32)(_int8_activations)? 1024x3072 1|"
                       r"gemv_(f32|(int8|int4_g32)_int8_activations) 1024x3072 2|"
                       r"model_(decode|prefill_\d+)_(f32|int[48](_a8)?) qwen3-0.6b 2|model_decode_(f32|int[48]_a8) qwen3-0.6b 1|"
                       r"model_(decode|prefill_64)_int8_a8_unfused qwen3-0.6b 2|model_decode_int[48]_a8 qwen3-(1.7b|4b) 2")
BEGIN, END = "<!-- bench/compare.py: begin -->\n", "<!-- bench/compare.py: end -->"


def refresh(readme, machine, rows):
    text = readme.read_text()
    if BEGIN not in text or END not in text:
        sys.exit(f"compare.py: {readme}: expected the lines {BEGIN.strip()} and {END}")
    shown = [row for row in rows if IN_README.fullmatch(" ".join(map(str, key(row))))]
    lines = [HEADER, ("---",) * len(HEADER), *table(shown)]
    body = f"\nMeasured on: {machine}.\n\n" + "".join("| " + " | ".join(line) + " |\n" for line in lines) + "\n"
    readme.write_text(text[:text.index(BEGIN) + len(BEGIN)] + body + text[text.index(END):])


def write(folder, machine, rows):
    folder.mkdir(parents=True, exist_ok=True)
    result = {"machine": machine, "rows": [{k: v for k, v in row.items() if k != "amount"} for row in rows]}
    for name, text in (("compare.json", json.dumps(result, indent=1) + "\n"), ("compare.txt", f"{machine}\n\n{as_text(rows)}"),
                       ("compare.svg", as_svg(machine, rows))):
        (folder / (name + ".part")).write_text(text)
        os.replace(folder / (name + ".part"), folder / name)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("benchmarks", nargs="*")
    arguments.add_argument("--out", type=pathlib.Path, required=True)
    arguments.add_argument("--filter", default=".", help="of kernel/shape/threads:N")
    arguments.add_argument("--quick", action="store_true", help="a look at everything; figures mean little")
    arguments.add_argument("--first", action="store_true", help="only the first case of each benchmark")
    arguments.add_argument("--merge", action="store_true", help="keep the rows of an earlier run that this one lacks")
    arguments.add_argument("--node", help="times ONNX Runtime too")
    arguments.add_argument("--onnxruntime", help="a folder that has onnxruntime-node in its node_modules")
    arguments.add_argument("--models", type=pathlib.Path, help="a folder of models for peers")
    arguments.add_argument("--torch", help="a Python that has torch")
    arguments.add_argument("--ggml", help="a Python that finds libggml")
    arguments.add_argument("--llama", help="llama-bench")
    arguments.add_argument("--gguf", default=sys.executable, help="a Python that has gguf, for the models of llama-bench")
    arguments.add_argument("--readme", type=pathlib.Path)
    a = arguments.parse_args()

    known = a.out / "compare.json"
    if a.readme is not None:
        earlier = json.loads(known.read_text())
        return refresh(a.readme, earlier["machine"], earlier["rows"])
    flags = [f"--benchmark_filter={a.filter}"] + ["--quick"] * a.quick + ["--first"] * a.first
    machine, rows = None, []
    for program in a.benchmarks:
        found_machine, found = run_family(program, flags)
        machine = found_machine or machine
        if a.node and found:
            run_peer([a.node, HERE / "peers" / "ort.mjs", a.onnxruntime], found, a.quick)
        for python, script in ((a.torch, "torch_peer.py"), (a.ggml, "ggml_peer.py")):
            if python and found:
                run_peer([python, HERE / "peers" / script], found, a.quick)
        if a.models and a.node:
            run_models(functools.partial(ask_onnxruntime, a.node, a.onnxruntime), a.models, found, a.quick)
        if a.models and a.llama:
            run_models(functools.partial(ask_llama, a.llama, a.gguf), a.models, found, a.quick)
        rows += found
    if not rows:
        sys.exit(f"compare.py: no benchmark matches '{a.filter}'")
    if a.merge and known.exists():
        new = {key(row): row for row in rows}
        earlier = json.loads(known.read_text())["rows"]
        rows = [new.pop(key(row), row) for row in earlier] + [row for row in rows if key(row) in new]
    write(a.out, machine, rows)
    print((a.out / "compare.txt").read_text())


main()
