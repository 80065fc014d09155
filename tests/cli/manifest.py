#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that exporters write the same bytes as before, and that their sessions compute the same values to the bit.

Usage: manifest.py EXPORTER DATA MANIFEST COMPILER [--record] SCHEME/TARGET ...

Every scheme and target of the exporter is exported for two checkpoints, with weights per tensor and per channel, and runs
a prompt of 70 tokens and four more. The manifest has the SHA-256 sums. Values of sessions, and files of schemes that are
calibrated, depend on the order in which kernels add, so they are compared only where COMPILER (its name, and native or
generic code) and the machine's vector width are those that they were recorded with; the other files are compared
everywhere. --record writes the manifest anew.
"""
import hashlib
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

MODELS = ["tinyqwen", "tinyqwen-outlier"]
# The widest vectors that -march=native uses, by the name that the kernel gives them.
WIDTHS = [("avx512f", "avx512"), ("avx2", "avx2")]


def vector_width():
    flags = pathlib.Path("/proc/cpuinfo").read_text().split("flags", 1)[-1].split("\n", 1)[0].split()
    return next((name for flag, name in WIDTHS if flag in flags), "other")


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main():
    exporter, data, manifest, compiler = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]), sys.argv[4]
    record = "--record" in sys.argv
    pairs = [word.split("::")[-1].split("/") for word in sys.argv[5:] if word != "--record"]
    if not pairs:
        sys.exit("no pairs")
    known = {} if record else json.loads(manifest.read_text())
    found, wrong, skipped = {"build": f"{compiler} {vector_width()}", "sums": {}}, [], 0
    same_build = record or known["build"] == found["build"]

    def check(key, portable, make):
        nonlocal skipped
        if not portable and not same_build:
            skipped += 1
            return
        found["sums"][key] = make()
        if not record and known["sums"].get(key) != found["sums"][key]:
            wrong.append(key)

    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        texts, out, dump = scratch / "texts.jsonl", scratch / "out", scratch / "dump.safetensors"
        texts.write_text("".join((data / "text" / "calib.jsonl").read_text().splitlines(keepends=True)[:3]))

        def call(command, *words):
            subprocess.run([exporter, command, "--quiet", *map(str, words)], check=True, stdout=subprocess.DEVNULL)

        def export(options):
            call("export", *options, "--out", out)
            files = {str(p.relative_to(out)): digest(p) for p in sorted(out.rglob("*")) if p.is_file()}
            shutil.rmtree(out)
            return hashlib.sha256(json.dumps(files).encode()).hexdigest()

        def run(options):
            ids = ",".join(str(7 * i % 1000 + 3) for i in range(70))
            call("run", *options, "--ids", ids, "--decode", "4", "--dump", dump)
            return digest(dump)

        for model in MODELS:
            for scheme, target in pairs:
                calibrated = "a8" in scheme or "a16" in scheme
                options = ["--checkpoint", data / model, "--scheme", scheme, "--target", target,
                           "--calibration", texts, "--decode-steps", "4"]
                key = f"{model}/{scheme}/{target}"
                check(key, not calibrated, lambda: export(options))
                check(key + "/per-channel", not calibrated, lambda: export([*options, "--per-channel"]))
                check(key + "/session", False, lambda: run([*options, "--per-channel"]))
    if record:
        manifest.write_text(json.dumps(found, indent=0) + "\n")
        return
    print(f"{len(found['sums'])} sums compared, {skipped} left out: recorded with {known['build']}")
    missing = [] if skipped else sorted(set(known["sums"]) - set(found["sums"]))
    if wrong or missing:
        sys.exit("other bytes than in the manifest: " + ", ".join(wrong + missing))


if __name__ == "__main__":
    main()
